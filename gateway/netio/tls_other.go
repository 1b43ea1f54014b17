//go:build !linux

package netio

import "net"

// tlsState is empty where the abilities do not exist.
type tlsState struct{}

func (c *TLSConn) init(tcp *TCPConn) net.Conn { return tcp }

func (c *TLSConn) gather() {}

func (c *TLSConn) direct() {}

// Read reads from the bytes given back by Unread, then decrypted ones.
func (c *TLSConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		return takeHead(p, &c.head), nil
	}
	return c.conn.Read(p)
}

// Write encrypts and writes p. After a write deadline has passed nothing more can be
// written.
func (c *TLSConn) Write(p []byte) (int, error) { return c.conn.Write(p) }
