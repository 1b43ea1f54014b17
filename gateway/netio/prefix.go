package netio

import (
	"crypto/tls"
	"net"
)

// unreader is a conn that takes bytes back itself and so keeps all its abilities.
type unreader interface {
	net.Conn
	Unread(p []byte)
}

type closeWriter interface {
	net.Conn
	CloseWrite() error
}

type tlsStater interface {
	closeWriter
	ConnectionState() tls.ConnectionState
}

// Prefixed returns a conn whose reads give prefix first and then what c gives. A conn
// with an Unread method ([TCPConn], [TLSConn]) is returned itself and keeps all its
// abilities; others are wrapped, and the wrapper has CloseWrite and ConnectionState
// exactly when c has them. The conn keeps prefix until it is read.
func Prefixed(c net.Conn, prefix []byte) net.Conn {
	if len(prefix) == 0 {
		return c
	}
	switch c := c.(type) {
	case unreader:
		c.Unread(prefix)
		return c
	case tlsStater:
		return &prefixedTLS{tlsStater: c, head: prefix}
	case closeWriter:
		return &prefixedHalfCloser{closeWriter: c, head: prefix}
	default:
		return &prefixed{Conn: c, head: prefix}
	}
}

// prefixed wraps a conn of which nothing more is known.
type prefixed struct {
	net.Conn

	head []byte // owned by the reader
}

// NetConn returns the wrapped conn.
func (c *prefixed) NetConn() net.Conn { return c.Conn }

func (c *prefixed) Unread(p []byte) { c.head = unread(p, c.head) }

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		return takeHead(p, &c.head), nil
	}
	return c.Conn.Read(p)
}

// prefixedHalfCloser wraps a conn that can close its writing side alone.
type prefixedHalfCloser struct {
	closeWriter

	head []byte // owned by the reader
}

// NetConn returns the wrapped conn.
func (c *prefixedHalfCloser) NetConn() net.Conn { return c.closeWriter }

func (c *prefixedHalfCloser) Unread(p []byte) { c.head = unread(p, c.head) }

func (c *prefixedHalfCloser) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		return takeHead(p, &c.head), nil
	}
	return c.closeWriter.Read(p)
}

// prefixedTLS wraps a TLS conn.
type prefixedTLS struct {
	tlsStater

	head []byte // owned by the reader
}

// NetConn returns the wrapped conn.
func (c *prefixedTLS) NetConn() net.Conn { return c.tlsStater }

func (c *prefixedTLS) Unread(p []byte) { c.head = unread(p, c.head) }

func (c *prefixedTLS) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		return takeHead(p, &c.head), nil
	}
	return c.tlsStater.Read(p)
}
