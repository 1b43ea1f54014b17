//go:build unix

package gateway

import (
	"syscall"

	"github.com/rs/zerolog"
)

// spareDescriptors is what the gateway needs beside its connections.
const spareDescriptors = 64

// checkDescriptors compares the descriptor limit, which the Go runtime has
// raised as far as it may, with the number of connections that are allowed, and
// with those that they need at other servers.
func checkDescriptors(log zerolog.Logger, connections, beyond int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if want := uint64(connections) + uint64(beyond) + spareDescriptors; uint64(limit.Cur) < want {
		log.Warn().Uint64("limit", uint64(limit.Cur)).Uint64("wanted", want).Int("to_servers", beyond).
			Msg("too few file descriptors for limits.connections and what they need at other servers: raise the limit (ulimit -Hn, LimitNOFILE=) or lower limits.connections")
	}
}
