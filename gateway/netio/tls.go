package netio

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// TLSConn is either side of a TLS connection over a [TCPConn], with the abilities
// of the package comment.
//
// crypto/tls alone cannot write without blocking, and a write that timed out makes it
// unusable. Here it writes into memory: the records of one TryWritev or Write leave
// together with one non-blocking flush, and what the socket refuses waits in a bounded
// queue of ciphertext. A write deadline therefore never breaks the connection, and
// alerts or key updates that crypto/tls sends while reading never block the reader.
//
// Unread must not run concurrently with Read or LazyRead. All others may run concurrently
// with everything; only one goroutine should be in WaitWritable.
type TLSConn struct {
	// set at construction
	conn *tls.Conn
	tcp  *TCPConn

	// owned by the reader
	head []byte // given back by Unread

	tlsState
}

// ServerTLS runs the server handshake on c and returns the encrypted connection. c
// belongs to it from then on; on error c is closed. A timeout above zero bounds the
// handshake, zero leaves the deadlines of c as they are. Cancelling ctx ends the
// handshake, not the connection.
//
// A cfg with DynamicRecordSizingDisabled saves the small records that crypto/tls begins
// a connection with: here they buy nothing, as records leave together.
func ServerTLS(ctx context.Context, c *TCPConn, cfg *tls.Config, timeout time.Duration) (*TLSConn, error) {
	return newTLS(ctx, c, cfg, timeout, tls.Server)
}

// ClientTLS is [ServerTLS] for the client side.
func ClientTLS(ctx context.Context, c *TCPConn, cfg *tls.Config, timeout time.Duration) (*TLSConn, error) {
	return newTLS(ctx, c, cfg, timeout, tls.Client)
}

func newTLS(ctx context.Context, c *TCPConn, cfg *tls.Config, timeout time.Duration, side func(net.Conn, *tls.Config) *tls.Conn) (*TLSConn, error) {
	t := &TLSConn{tcp: c}
	under := t.init(c)
	t.conn = side(under, cfg)
	if timeout > 0 {
		if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("tls handshake: %w", err)
		}
	}
	if err := t.conn.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	if timeout > 0 {
		if err := c.SetDeadline(time.Time{}); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("tls handshake: %w", err)
		}
	}
	t.gather()
	return t, nil
}

// Conn returns the bare crypto/tls connection for consumers that must have one, as
// net/http for HTTP/2. From then on writes block like those of any other conn and
// honour its write deadline; the TLSConn itself must not be used any more, and bytes
// given back by Unread would be lost.
func (c *TLSConn) Conn() *tls.Conn {
	c.direct()
	return c.conn
}

// ConnectionState returns what the handshake negotiated.
func (c *TLSConn) ConnectionState() tls.ConnectionState { return c.conn.ConnectionState() }

// NetConn returns the TCP connection beneath. Reading or writing it breaks the TLS
// connection.
func (c *TLSConn) NetConn() net.Conn { return c.tcp }

// Unread gives p back: the next reads return it before anything else. The connection
// keeps p until it is read; the caller must not change it.
func (c *TLSConn) Unread(p []byte) { c.head = unread(p, c.head) }

// Close sends close_notify if the socket takes it at once, does not wait for the
// peer's, and closes the socket. Ciphertext that the socket had refused is lost: drain
// with WaitWritable first.
func (c *TLSConn) Close() error { return c.conn.Close() }

// CloseWrite sends close_notify; reading remains possible.
func (c *TLSConn) CloseWrite() error { return c.conn.CloseWrite() }

// LocalAddr returns the local address of the socket.
func (c *TLSConn) LocalAddr() net.Addr { return c.tcp.LocalAddr() }

// RemoteAddr returns the remote address of the socket.
func (c *TLSConn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// SetDeadline sets the read and the write deadline.
func (c *TLSConn) SetDeadline(t time.Time) error { return c.tcp.SetDeadline(t) }

// SetReadDeadline bounds Read and LazyRead. Reading may go on after it has passed.
func (c *TLSConn) SetReadDeadline(t time.Time) error { return c.tcp.SetReadDeadline(t) }

// SetWriteDeadline bounds Write and WaitWritable. On Linux writing may go on after it
// has passed, as records are never cut.
func (c *TLSConn) SetWriteDeadline(t time.Time) error { return c.tcp.SetWriteDeadline(t) }
