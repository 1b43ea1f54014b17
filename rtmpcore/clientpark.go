package rtmpcore

import (
	"net"
	"sync"
)

// Park gives the calling goroutine's use of the Client up until step returns false, and
// reports whether it did: false means that the connection cannot wait without a
// goroutine. From then on step is called whenever there may be something to read, by one
// goroutine at a time, and at first in any case. In it ReadAny and ReadMessage do not
// wait but return syscall.EAGAIN, after which they may be called again. step must not
// wait either, and returns false to leave; then left is called once, which must not wait.
// After Close ReadAny returns an error, also in a step.
func (c *Client) Park(step func() (stay bool), left func()) bool {
	if c.parker == nil {
		return false
	}
	c.parked = true
	c.parker.Wake() // what was read with an answer is no event
	if c.parker.Park(step, func() { c.parked = false; left() }) {
		return true
	}
	c.parked, c.parker = false, nil
	return false
}

// clientSource is a connection to a server that can be parked.
type clientSource struct {
	net.Conn
	conn   parker
	client *Client
}

func (s clientSource) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	if s.client.parked {
		return s.conn.TryRead(pool)
	}
	return s.conn.LazyRead(pool)
}
