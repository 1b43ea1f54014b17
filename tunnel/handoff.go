package tunnel

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// rewound is a connection whose first bytes were read already.
type rewound struct {
	net.Conn
	ahead []byte
	meta  ConnInfo
}

func (c *rewound) Read(b []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(b, c.ahead)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *rewound) RemoteAddr() net.Addr { return c.meta.RemoteAddr }

// ConnInfo is what is known about the connection.
func (c *rewound) ConnInfo() ConnInfo { return c.meta }

// CloseWrite closes the writing side. The error is errors.ErrUnsupported if
// the connection beneath cannot.
func (c *rewound) CloseWrite() error {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return hc.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ReadFrom lets files be sent with as few copies as the connection beneath
// manages.
func (c *rewound) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// rewoundTLS is a rewound connection that arrived over TLS.
type rewoundTLS struct {
	rewound
	state tls.ConnectionState
}

// ConnectionState is what net/http puts into Request.TLS.
func (c *rewoundTLS) ConnectionState() tls.ConnectionState { return c.state }

// rewind returns a connection that reads ahead before nc.
func rewind(nc net.Conn, ahead []byte, meta ConnInfo) net.Conn {
	rw := rewound{Conn: nc, ahead: append([]byte(nil), ahead...), meta: meta}
	if meta.TLS != nil {
		return &rewoundTLS{rw, *meta.TLS}
	}
	return &rw
}
