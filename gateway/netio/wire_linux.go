package netio

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// blockSize is the unit in which ciphertext is kept. A full record needs two,
	// a usual frame one.
	blockSize = 16 << 10
	// pendingLimit is the refused ciphertext at which no more plaintext is taken.
	pendingLimit = 256 << 10
	// pendingMax ends the connection: only a peer that makes crypto/tls answer
	// (key updates) without reading the answers gets there.
	pendingMax = 2 * pendingLimit
	// flushVectors covers pendingMax, so that a flush is one system call.
	flushVectors = pendingMax/blockSize + 2
	// cipherSize is how much is read from the socket at a time.
	cipherSize = 32 << 10
)

var (
	errPendingFull = errors.New("peer makes the server answer and reads nothing")

	blocks = sync.Pool{New: func() any { return new(block) }}

	cipherBuffers = sync.Pool{New: func() any {
		b := make([]byte, cipherSize)
		return &b
	}}
)

// wouldBlock is returned to crypto/tls when the bytes at hand are used up. It is
// temporary, so crypto/tls keeps a part of a record and goes on with the next call.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no more bytes at hand" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock error = wouldBlock{}

// block is a piece of ciphertext, bytes r to w of it.
type block struct {
	buf  [blockSize]byte
	r, w int
}

// wire is the conn beneath crypto/tls. It starts direct, which is the socket itself,
// for the handshake. When it gathers, Write never blocks: ciphertext is kept in blocks
// and flushed when the caller's group is complete.
type wire struct {
	tcp *TCPConn

	// owned by the reader, who holds TLSConn.reading
	lazy   bool    // Read must not block
	in     *[]byte // ciphertext read ahead, bytes inR to inW of it; nil when used up
	inR    int
	inW    int
	inDone error // comes after in, once

	mu sync.Mutex
	// guarded by mu
	direct  bool     // Write is the socket's
	hold    bool     // more of this group comes, do not flush
	waiting int      // goroutines in tcp.WaitWritable, which occupies the socket
	out     []*block // ciphertext the socket has not taken
	size    int      // bytes in out
	err     error    // final
}

// Read gives what was read ahead, then what the socket has. When lazy it never waits.
func (w *wire) Read(p []byte) (int, error) {
	if w.in != nil {
		n := copy(p, (*w.in)[w.inR:w.inW])
		if w.inR += n; w.inR == w.inW {
			cipherBuffers.Put(w.in)
			w.in = nil
		}
		return n, nil
	}
	if err := w.inDone; err != nil {
		w.inDone = nil
		return 0, err
	}
	if w.lazy {
		return 0, errWouldBlock
	}
	return w.tcp.Read(p)
}

// await waits for ciphertext without holding a buffer. What ends the wait otherwise
// reaches crypto/tls through the next Read, which knows whether a record was cut.
func (w *wire) await() {
	buf, n, err := w.tcp.LazyRead(&cipherBuffers)
	if err != nil {
		w.inDone = err
		return
	}
	w.in, w.inR, w.inW = buf, 0, n
}

// Write takes one record from crypto/tls.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.direct {
		w.mu.Unlock()
		return w.tcp.Write(p)
	}
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if w.size+len(p) > pendingMax {
		w.err = errPendingFull
		return 0, w.err
	}
	w.keep(p)
	if !w.hold {
		if err := w.flush(); err != nil && !retry(err) {
			return 0, err
		}
	}
	return len(p), nil
}

// keep appends p to the pending ciphertext. The caller holds mu.
func (w *wire) keep(p []byte) {
	w.size += len(p)
	for len(p) > 0 {
		if len(w.out) == 0 || w.out[len(w.out)-1].w == blockSize {
			w.out = append(w.out, blocks.Get().(*block))
		}
		b := w.out[len(w.out)-1]
		n := copy(b.buf[b.w:], p)
		b.w += n
		p = p[n:]
	}
}

// flush offers the pending ciphertext to the socket. It returns nil when all was
// taken, EAGAIN when not, and a final error otherwise. The caller holds mu.
func (w *wire) flush() error {
	if w.err != nil || w.size == 0 {
		return w.err
	}
	if w.waiting > 0 {
		return errAgain // the waiter flushes as soon as it can
	}
	var vec [flushVectors][]byte
	for i, b := range w.out {
		vec[i] = b.buf[b.r:b.w]
	}
	n, err := w.tcp.TryWritev(vec[:len(w.out)])
	w.drop(n)
	if err != nil && !retry(err) {
		w.err = err
	}
	return err
}

// drop forgets the first n pending bytes. The caller holds mu.
func (w *wire) drop(n int) {
	w.size -= n
	done := 0
	for _, b := range w.out {
		taken := min(n, b.w-b.r)
		b.r += taken
		n -= taken
		if b.r < b.w {
			break
		}
		b.r, b.w = 0, 0
		blocks.Put(b)
		done++
	}
	rest := copy(w.out, w.out[done:])
	clear(w.out[rest:])
	w.out = w.out[:rest]
}

// flushed blocks until nothing is pending or the write deadline has passed.
func (w *wire) flushed() error {
	for {
		w.mu.Lock()
		err := w.flush()
		if err == nil || !again(err) {
			w.mu.Unlock()
			return err
		}
		w.waiting++
		w.mu.Unlock()
		err = w.tcp.WaitWritable()
		w.mu.Lock()
		w.waiting--
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// begin makes the following records one group. It returns an error when earlier
// ciphertext is still refused.
func (w *wire) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.flush(); err != nil {
		return err
	}
	w.hold = true
	return nil
}

// room reports whether a group may go on: so much ciphertext is pending that the
// socket must take some of it first. Nil means that it may.
func (w *wire) room() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size < pendingLimit {
		return w.err
	}
	return w.flush()
}

// end flushes a group.
func (w *wire) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = false
	return w.flush()
}

// Close closes the socket and forgets what it has not taken.
func (w *wire) Close() error {
	err := w.tcp.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = net.ErrClosed
	}
	w.drop(w.size)
	w.out = nil
	return err
}

func (w *wire) LocalAddr() net.Addr  { return w.tcp.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr { return w.tcp.RemoteAddr() }

// NetConn returns the TCP connection beneath.
func (w *wire) NetConn() net.Conn { return w.tcp }

func (w *wire) SetReadDeadline(t time.Time) error { return w.tcp.SetReadDeadline(t) }

// SetWriteDeadline sets the socket's while direct. Afterwards only crypto/tls calls it,
// around the close_notify that here cannot block: the socket's deadline stays the one
// that the user of the connection chose.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.isDirect() {
		return w.tcp.SetWriteDeadline(t)
	}
	return nil
}

func (w *wire) SetDeadline(t time.Time) error {
	if w.isDirect() {
		return w.tcp.SetDeadline(t)
	}
	return w.tcp.SetReadDeadline(t)
}

func (w *wire) isDirect() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.direct
}

// again reports that the socket is full.
func again(err error) bool { return errors.Is(err, errAgain) }

// retry reports that the socket may take the bytes later.
func retry(err error) bool { return again(err) || errors.Is(err, os.ErrDeadlineExceeded) }
