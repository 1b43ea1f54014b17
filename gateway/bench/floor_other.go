//go:build !linux

package bench

import (
	"context"
	"net"
)

// loopFloor serves with a goroutine per connection where there is no epoll.
func loopFloor(ctx context.Context, ln net.Listener, hub *floorHub) error {
	return (&netFloor{hub: hub}).serve(ctx, ln)
}
