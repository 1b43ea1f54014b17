package netio

import (
	"net"
	"sync"
)

const (
	// scratchSize is the plaintext of one full record: small buffers are collected
	// up to it, so that a frame becomes few records.
	scratchSize = 16 << 10
	// pieceSize is how much plaintext goes to crypto/tls at a time, in whole records.
	// It bounds by how much pendingLimit is passed.
	pieceSize = 4 * scratchSize
)

var scratches = sync.Pool{New: func() any { return new([scratchSize]byte) }}

// tlsState is what the abilities of a TLSConn need.
type tlsState struct {
	wire *wire

	reading sync.Mutex // held by Read and LazyRead
	dry     bool       // guarded by reading: the bytes at hand hold no further record

	trying  sync.Mutex // held by TryWritev, before wire.mu
	writing sync.Mutex // held by Write, before trying: one Write after the other
}

func (c *TLSConn) init(tcp *TCPConn) net.Conn {
	c.wire = &wire{tcp: tcp, direct: true}
	return c.wire
}

func (c *TLSConn) gather() { c.setDirect(false) }

func (c *TLSConn) direct() { c.setDirect(true) }

func (c *TLSConn) setDirect(on bool) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.direct = on
}

// TryWritev encrypts bufs as few records and sends them with one non-blocking flush.
// While earlier ciphertext is still refused by the socket it takes nothing. It stops
// taking plaintext when the socket has refused 256 KiB; the result may then be n short
// of the sum. All was taken but not all was sent: n is the sum and the error is
// syscall.EAGAIN. It allocates nothing in the steady state.
func (c *TLSConn) TryWritev(bufs [][]byte) (int, error) {
	c.trying.Lock()
	defer c.trying.Unlock()
	if err := c.wire.begin(); err != nil {
		return 0, err
	}
	n, err := c.encrypt(bufs)
	if endErr := c.wire.end(); err == nil {
		err = endErr
	}
	return n, err
}

// encrypt hands bufs to crypto/tls in whole records as far as possible and returns the
// plaintext taken.
func (c *TLSConn) encrypt(bufs [][]byte) (int, error) {
	scratch := scratches.Get().(*[scratchSize]byte)
	defer scratches.Put(scratch)
	fill, total, off := 0, 0, 0
	for len(bufs) > 0 {
		b := bufs[0][off:]
		var piece []byte
		if fill == 0 && len(b) >= scratchSize {
			piece = b[:min(len(b)-len(b)%scratchSize, pieceSize)]
			off += len(piece)
		} else {
			n := copy(scratch[fill:], b)
			fill += n
			off += n
			if fill == scratchSize {
				piece = scratch[:]
				fill = 0
			}
		}
		if off == len(bufs[0]) {
			bufs, off = bufs[1:], 0
		}
		if piece == nil {
			continue
		}
		if _, err := c.conn.Write(piece); err != nil {
			return total, err
		}
		total += len(piece)
		if err := c.wire.room(); err != nil {
			return total, err
		}
	}
	if fill > 0 {
		if _, err := c.conn.Write(scratch[:fill]); err != nil {
			return total, err
		}
		total += fill
	}
	return total, nil
}

// WaitWritable blocks until the ciphertext that the socket had refused is sent. It
// returns os.ErrDeadlineExceeded (wrapped) after the write deadline, after which it may
// be called again, and net.ErrClosed (wrapped) after Close.
func (c *TLSConn) WaitWritable() error { return c.wire.flushed() }

// Write encrypts p and blocks until the socket has taken it. When the write deadline
// passes, n counts what was encrypted; a later Write or WaitWritable sends what is left
// of it.
func (c *TLSConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.tcp.writeError(); err != nil { // before anything is encrypted
		return 0, err
	}
	total := 0
	for {
		n, err := c.TryWritev([][]byte{p[total:]})
		total += n
		if err != nil && !again(err) {
			return total, err
		}
		if err != nil {
			if err := c.wire.flushed(); err != nil {
				return total, err
			}
		}
		if total == len(p) {
			return total, nil
		}
	}
}

// Read reads from the bytes given back by Unread, then decrypted ones.
func (c *TLSConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.head) > 0 {
		return takeHead(p, &c.head), nil
	}
	c.dry = false
	return c.conn.Read(p)
}

// LazyRead waits for ciphertext without holding a buffer, and takes a *[]byte from pool
// only to decrypt into it. The buffer belongs to the caller, who puts it back. At the
// end of the stream and on any error buf is nil; an end inside a record is
// io.ErrUnexpectedEOF. The buffers of pool must not be empty.
func (c *TLSConn) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.dry {
			c.wire.await()
			c.dry = false
		}
		buf = pool.Get().(*[]byte)
		n, err = c.readAtHand(*buf)
		if n > 0 {
			return buf, n, nil // an error comes again with the next call
		}
		pool.Put(buf)
		if err != errWouldBlock { //nolint:errorlint // crypto/tls hands it through as it is
			return nil, 0, err
		}
	}
}

// readAtHand decrypts into p what has arrived, without waiting.
func (c *TLSConn) readAtHand(p []byte) (n int, err error) {
	if len(p) == 0 {
		panic("netio: LazyRead was given an empty buffer")
	}
	n = takeHead(p, &c.head)
	c.wire.lazy = true
	for n < len(p) && err == nil {
		var got int
		got, err = c.conn.Read(p[n:])
		n += got
	}
	c.wire.lazy = false
	c.dry = err == errWouldBlock //nolint:errorlint // crypto/tls hands it through as it is
	return n, err
}

// SetQuickAck acknowledges what has arrived at once, see [TCPConn.SetQuickAck].
func (c *TLSConn) SetQuickAck() error { return c.tcp.SetQuickAck() }
