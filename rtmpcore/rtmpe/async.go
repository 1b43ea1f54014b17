package rtmpe

import (
	"io"
	"sync"
)

// asynchronous are the abilities of a connection that need not be waited for.
type asynchronous interface {
	TryWritev(bufs [][]byte) (n int, err error)
	WaitWritable() error
	LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
}

// parker is the ability of a connection to wait for bytes without a goroutine.
type parker interface {
	TryRead(pool *sync.Pool) (buf *[]byte, n int, err error)
	Park(step func() (stay bool), left func()) bool
	Wake()
}

// sealedSize is how much is encrypted before it is offered to the connection: a whole
// group of messages but for the largest, so that a transport with boundaries of its
// own (RTMPT) keeps it together.
const sealedSize = 256 << 10

// sealed is memory for encrypted bytes on their way to the connection.
type sealed struct {
	buf [sealedSize]byte
	vec [1][]byte
}

var sealedBlocks = sync.Pool{New: func() any { return new(sealed) }}

// asyncConn is a Conn on a connection that need not be waited for.
type asyncConn struct {
	*Conn

	async asynchronous
}

// TryWritev encrypts a copy of bufs, which many connections may share, and offers it
// to the connection. What the connection does not take is as if it had not been
// encrypted: the state of the cipher is put back to where the last byte taken left it.
// So nothing waits here, and whoever queues decides about every byte that has not left.
func (c *asyncConn) TryWritev(bufs [][]byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	b := sealedBlocks.Get().(*sealed)
	off := 0
	for len(bufs) > 0 && err == nil {
		before := c.out
		var size, m int
		size, bufs, off = b.fill(c.Conn, bufs, off)
		b.vec[0] = b.buf[:size]
		if m, err = c.async.TryWritev(b.vec[:]); m < size {
			c.rewind(&before, m)
			if err == nil {
				err = io.ErrShortWrite
			}
		}
		n += m
	}
	sealedBlocks.Put(b)
	return n, err
}

// fill encrypts bufs from byte off of the first one, as far as there is room. It
// returns how much that was and what is left.
func (b *sealed) fill(c *Conn, bufs [][]byte, off int) (size int, rest [][]byte, restOff int) {
	for len(bufs) > 0 && size < len(b.buf) {
		p := bufs[0][off:]
		n := min(len(p), len(b.buf)-size)
		c.out.XORKeyStream(b.buf[size:size+n], p[:n])
		size += n
		if off += n; off == len(bufs[0]) {
			bufs, off = bufs[1:], 0
		}
	}
	return size, bufs, off
}

// WaitWritable waits until the connection takes bytes again.
func (c *asyncConn) WaitWritable() error { return c.async.WaitWritable() }

// LazyRead reads and decrypts into a buffer that is taken from pool only when there is
// something to read.
func (c *asyncConn) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	buf, n, err = c.async.LazyRead(pool)
	c.decrypt(buf, n)
	return buf, n, err
}

// decrypt decrypts what was read. Caller holds reading.
func (c *asyncConn) decrypt(buf *[]byte, n int) {
	if buf != nil {
		p := (*buf)[:n]
		c.in.XORKeyStream(p, p)
	}
}

// parkedConn is an asyncConn on a connection that waits without a goroutine.
type parkedConn struct {
	*asyncConn
	parker
}

// TryRead reads and decrypts what is at hand.
func (c *parkedConn) TryRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	buf, n, err = c.parker.TryRead(pool)
	c.decrypt(buf, n)
	return buf, n, err
}
