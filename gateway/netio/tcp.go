package netio

import (
	"context"
	"net"
	"sync"
	"time"
)

// Keep-alive of accepted connections. Address translators forget a silent flow after
// as little as 15 s, so the first probe goes out well before that.
const (
	// KeepAliveIdle is the silence before the first probe.
	KeepAliveIdle = 10 * time.Second
	// KeepAliveInterval is the time between probes.
	KeepAliveInterval = 5 * time.Second
	// KeepAliveCount is the number of unanswered probes that ends a connection.
	KeepAliveCount = 3
	// UserTimeout bounds how long sent bytes may stay unacknowledged, and how long
	// a peer may keep its receive window closed (Linux only).
	UserTimeout = 30 * time.Second
)

// TCPConn is a TCP connection with the abilities of the package comment.
//
// Reading methods (Read, LazyRead, TryRead, TryReadTo, TryPeek, Unread) must not run
// concurrently with each other. TryWritev and Write may run concurrently with everything but a
// WaitWritable: that one occupies the write side of the socket until it returns,
// so a connection that is being drained belongs to its drain goroutine.
type TCPConn struct {
	stream // a *net.TCPConn, or the socket of a Poller

	// owned by the reader
	head []byte // given back by Unread, comes before the socket's bytes

	// set before the connection is shared
	onClose   func()
	closeOnce sync.Once

	rawTCP
}

// NewTCP wraps a connected c, which must not be used directly afterwards except
// through the TCPConn. It changes no socket option, see [Listen],
// and the connection cannot be parked, see [Poller.Adopt].
func NewTCP(c *net.TCPConn) *TCPConn {
	t := &TCPConn{stream: c}
	t.init(c)
	return t
}

// OnClose makes the first Close call f after the socket was closed. It must be
// called before the connection is shared between goroutines.
func (c *TCPConn) OnClose(f func()) { c.onClose = f }

// Close closes the socket. Blocked methods return an error that is net.ErrClosed.
func (c *TCPConn) Close() error {
	err := c.stream.Close()
	c.Wake()
	c.closeOnce.Do(func() {
		if c.onClose != nil {
			c.onClose()
		}
	})
	return err
}

// Unread gives p back: the next reads return it before anything else. The connection
// keeps p until it is read; the caller must not change it.
func (c *TCPConn) Unread(p []byte) { c.head = unread(p, c.head) }

// Read reads from the bytes given back by Unread, then from the socket.
func (c *TCPConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		return c.takeHead(p), nil
	}
	return c.readSocket(p)
}

// unread puts p before head.
func unread(p, head []byte) []byte {
	if len(head) == 0 {
		return p
	}
	return append(append(make([]byte, 0, len(p)+len(head)), p...), head...)
}

// takeHead moves bytes from *head to p and lets go of *head once it is empty.
func takeHead(p []byte, head *[]byte) int {
	n := copy(p, *head)
	if *head = (*head)[n:]; len(*head) == 0 {
		*head = nil
	}
	return n
}

// Dial connects to host:port with the keep-alive that [Listen] gives accepted
// connections. With a Poller, which may be nil, the connection can be parked; it is no
// newcomer.
func Dial(ctx context.Context, addr string, p *Poller) (*TCPConn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: KeepAliveIdle, Interval: KeepAliveInterval, Count: KeepAliveCount}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := p.Adopt(conn.(*net.TCPConn)) // what DialContext returns for "tcp"
	c.settle()
	return c, nil
}
