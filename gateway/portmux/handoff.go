package portmux

import (
	"net"
	"sync"
)

// Handoff is a net.Listener whose connections are delivered by a handler: what an
// http.Server needs to serve connections that a Mux accepted. Methods may run
// concurrently.
type Handoff struct {
	// set at construction
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}

	close sync.Once
}

// NewHandoff returns a Handoff that says it listens on addr.
func NewHandoff(addr net.Addr) *Handoff {
	return &Handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Deliver blocks until Accept has taken c and returns nil. After Close it closes c and
// returns net.ErrClosed.
func (h *Handoff) Deliver(c net.Conn) error {
	select {
	case h.conns <- c:
		return nil
	case <-h.done:
		_ = c.Close()
		return net.ErrClosed
	}
}

// Accept returns the next delivered connection, net.ErrClosed after Close.
func (h *Handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Deliver. Accepted connections are not touched.
func (h *Handoff) Close() error {
	h.close.Do(func() { close(h.done) })
	return nil
}

// Addr returns the address given at construction.
func (h *Handoff) Addr() net.Addr { return h.addr }
