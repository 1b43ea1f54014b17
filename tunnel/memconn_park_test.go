package tunnel_test

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// parkConn is a memConn that can be parked. Where a real one is served by a poller,
// a parked one here has a goroutine that waits for it.
type parkConn struct {
	*memConn
	woken atomic.Bool
	parks atomic.Int32 // how often it was parked
}

func (c *parkConn) TryRead(pool *sync.Pool) (*[]byte, int, error) {
	h := c.in
	h.mu.Lock()
	ready := len(h.buf) > 0
	var err error
	switch {
	case h.gone:
		err = net.ErrClosed
	case h.expired:
		err = os.ErrDeadlineExceeded
	case !ready && h.eof:
		err = io.EOF
	case !ready:
		err = syscall.EAGAIN
	}
	h.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	return c.LazyRead(pool)
}

func (c *parkConn) Park(step func() bool, left func()) bool {
	c.parks.Add(1)
	go func() { // ends when step says so, at the latest when the connection is closed
		for {
			h := c.in
			h.mu.Lock()
			for len(h.buf) == 0 && !h.eof && !h.gone && !h.expired && !c.woken.Load() {
				h.cond.Wait()
			}
			h.mu.Unlock()
			c.woken.Store(false)
			if !step() {
				left()
				return
			}
		}
	}()
	return true
}

func (c *parkConn) Wake() {
	c.woken.Store(true)
	go func() { // not inline: the caller may hold locks; ends at once
		c.in.mu.Lock()
		c.in.cond.Broadcast()
		c.in.mu.Unlock()
	}()
}

func (c *parkConn) Close() error {
	err := c.memConn.Close()
	c.Wake()
	return err
}
