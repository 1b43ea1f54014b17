package rtmpe

import (
	"crypto/rc4" //nolint:gosec // it is what RTMPE uses; the package comment says what it is worth
	"errors"
	"fmt"
	"net"
	"sync"
)

// discarded is how many bytes of each key stream are not used.
const discarded = 1536

// Conn is an encrypted connection. Deadlines, addresses and Close are those of what
// it wraps.
//
// Its methods may be called concurrently, as those of any net.Conn; a write waits for
// one that is under way.
type Conn struct {
	net.Conn

	reading sync.Mutex
	in      rc4.Cipher // guarded by reading

	writing sync.Mutex
	out     rc4.Cipher // guarded by writing
}

// New returns conn with everything decrypted that is read and everything encrypted
// that is written; the keys are those of the handshake, which must have ended. conn
// must not be used directly any more except for its deadlines, for Close and CloseWrite.
//
// The result is a *[Conn]. It has more methods when conn has: TryWritev,
// WaitWritable and LazyRead (packages send and chunk), and with them TryRead, Park
// and Wake (package rtmpcore). An error says that RC4 is not allowed on this machine
// (FIPS 140).
func New(conn net.Conn, in, out [16]byte) (net.Conn, error) {
	c := &Conn{Conn: conn}
	for _, side := range []struct {
		cipher *rc4.Cipher
		key    [16]byte
	}{{&c.in, in}, {&c.out, out}} {
		cipher, err := rc4.NewCipher(side.key[:])
		if err != nil {
			return nil, fmt.Errorf("rtmpe: %w", err)
		}
		*side.cipher = *cipher
		advance(side.cipher, discarded)
	}
	async, ok := conn.(asynchronous)
	if !ok {
		return c, nil
	}
	ac := &asyncConn{c, async}
	if p, ok := conn.(parker); ok {
		return &parkedConn{ac, p}, nil
	}
	return ac, nil
}

// NetConn returns the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// CloseWrite half-closes the connection, if the one beneath can.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("rtmpe: close write: %w", errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// Read reads and decrypts.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.Conn.Read(p)
	c.in.XORKeyStream(p[:n], p[:n])
	return n, err
}

// Write encrypts and writes p, waiting where it must. It may be called again after a
// deadline.
func (c *Conn) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return c.Conn.Write(p)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	b := sealedBlocks.Get().(*sealed)
	defer sealedBlocks.Put(b)
	for len(p) > 0 && err == nil {
		before := c.out
		piece := b.buf[:min(len(p), len(b.buf))]
		c.out.XORKeyStream(piece, p[:len(piece)])
		var m int
		if m, err = c.Conn.Write(piece); m < len(piece) {
			c.rewind(&before, m)
		}
		n += m
		p = p[m:]
	}
	return n, err
}

// rewind takes back what was encrypted since before, except for the first n bytes,
// which are on their way. Caller holds writing.
func (c *Conn) rewind(before *rc4.Cipher, n int) {
	c.out = *before
	advance(&c.out, n)
}

// advance skips n bytes of a key stream.
func advance(cipher *rc4.Cipher, n int) {
	var b [256]byte // on the stack of connections that wait
	for n > 0 {
		piece := b[:min(n, len(b))]
		cipher.XORKeyStream(piece, piece)
		n -= len(piece)
	}
}
