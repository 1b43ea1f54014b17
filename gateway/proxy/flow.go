package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The abilities of a connection that are used where it has them; see package netio.
type (
	lazyReader interface {
		LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
	}
	tryWriter interface {
		TryWritev(bufs [][]byte) (n int, err error)
		WaitWritable() error
	}
	parker interface {
		TryRead(pool *sync.Pool) (buf *[]byte, n int, err error)
		Park(step func() (stay bool), left func()) bool
		Wake()
	}
	halfCloser interface{ CloseWrite() error }
	// tunnelled is a connection that answers requests: what belongs together should
	// be written together.
	tunnelled interface{ Quiet() bool }
)

// buffers are borrowed from when a connection has become readable until the other
// one has taken what was read.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, bufferSize)
	return &b
}}

const bufferSize = 64 << 10

// errFull ends a step because the other side takes nothing at the moment.
var errFull = errors.New("proxy: the other side is full")

// flow passes the bytes of one direction on.
type flow struct {
	// set at construction
	splice *Splice
	src    net.Conn
	dst    net.Conn
	lazy   lazyReader
	try    tryWriter
	park   parker // nil: it has a goroutine
	bytes  atomic.Uint64

	// owned by whoever runs the flow
	parked bool
	full   bool // dst wants to be waited for
	buf    *[]byte
	iov    [1][]byte // what is left of buf
	err    error     // what ended the last step
}

func (f *flow) init(s *Splice, src, dst net.Conn) {
	f.splice, f.src, f.dst = s, src, dst
	var ok bool
	if f.lazy, ok = src.(lazyReader); !ok {
		f.lazy = heldReader{src}
	}
	if f.try, ok = dst.(tryWriter); !ok {
		f.try = waitingWriter{dst}
		return // which would make others wait that are parked too
	}
	f.park, _ = src.(parker)
}

// start runs the flow without a goroutine of its own where that is possible.
func (f *flow) start() {
	if f.park != nil {
		f.park.Wake() // bytes that a sniffer gave back are no event
		f.parked = true
		if f.park.Park(f.step, f.left) {
			return
		}
		f.parked, f.park = false, nil
	}
	go f.serve() // stopped by the end of either connection; whoever called Start waits for ended
}

// serve runs the flow on the calling goroutine until it has ended or is parked.
func (f *flow) serve() {
	for {
		err := f.run()
		if !errors.Is(err, syscall.EAGAIN) {
			f.end(err)
			return
		}
		f.parked = true
		if f.park.Park(f.step, f.left) {
			return
		}
		f.parked, f.park = false, nil
	}
}

// step passes on what is at hand.
func (f *flow) step() (stay bool) {
	f.err = f.run()
	return errors.Is(f.err, syscall.EAGAIN)
}

func (f *flow) left() {
	f.parked = false
	go func() { // stopped by the end of either connection, or as the flow is parked again; whoever called Start waits for ended
		if f.err == errFull { //nolint:errorlint // it is returned as it is
			f.serve()
			return
		}
		f.end(f.err)
	}()
}

// run passes bytes on until there is an error: syscall.EAGAIN when it may be parked
// and nothing is at hand.
func (f *flow) run() error {
	for {
		if f.full {
			if f.parked {
				return errFull
			}
			if err := f.try.WaitWritable(); err != nil {
				return err
			}
			f.full = false
		}
		if f.buf == nil {
			if err := f.read(); err != nil {
				return err
			}
		}
		n, err := f.try.TryWritev(f.iov[:])
		f.bytes.Add(uint64(n))
		f.iov[0] = f.iov[0][n:]
		if len(f.iov[0]) == 0 {
			f.giveBack()
		}
		if err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				return err
			}
			f.full = true
		}
	}
}

func (f *flow) read() (err error) {
	var n int
	if f.park != nil {
		f.buf, n, err = f.park.TryRead(&buffers)
	} else {
		f.buf, n, err = f.lazy.LazyRead(&buffers)
	}
	if err != nil {
		return err
	}
	f.iov[0] = (*f.buf)[:n]
	return nil
}

func (f *flow) giveBack() {
	f.iov[0] = nil
	switch {
	case f.buf == nil:
		return
	case len(*f.buf) == bufferSize:
		buffers.Put(f.buf)
	default:
		answers.Put(f.buf)
	}
	f.buf = nil
}

// end ends the flow: the other side is told when this one has said all it had to.
func (f *flow) end(err error) {
	f.giveBack()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		if half, ok := f.dst.(halfCloser); ok && half.CloseWrite() == nil {
			f.splice.done(f, nil)
			return
		}
		err = io.EOF
	}
	f.splice.done(f, err)
}

// Sizes of a handshake: C0 and C1, and the answer of S0, S1 and S2.
const (
	openSize   = 1 + 1536
	answerSize = 1 + 1536 + 1536
	answerTime = 500 * time.Millisecond
)

// answers are borrowed from while the backend answers the handshake: for long, when it is
// far away.
var answers = sync.Pool{New: func() any {
	b := make([]byte, answerSize+1023) // a size of Go's allocator
	return &b
}}

// first passes on at least n bytes, on the calling goroutine.
func (f *flow) first(n int) error {
	for f.bytes.Load() < uint64(n) {
		var (
			got int
			err error
		)
		if f.buf, got, err = f.lazy.LazyRead(&buffers); err != nil {
			return err
		}
		f.iov[0] = (*f.buf)[:got]
		if err := f.push(); err != nil {
			return err
		}
	}
	return nil
}

// push writes what is in hand, waiting where it must.
func (f *flow) push() error {
	for len(f.iov[0]) > 0 {
		n, err := f.try.TryWritev(f.iov[:])
		f.bytes.Add(uint64(n))
		f.iov[0] = f.iov[0][n:]
		if errors.Is(err, syscall.EAGAIN) {
			err = f.try.WaitWritable()
		}
		if err != nil {
			return err
		}
	}
	f.giveBack()
	return nil
}

// gather passes the backend's answer to the handshake on in one piece, if it comes
// within a short time: a tunnel then has it in one answer, which some clients
// depend on.
func (f *flow) gather() error {
	f.buf = answers.Get().(*[]byte)
	n := 0
	err := f.src.SetReadDeadline(time.Now().Add(answerTime))
	for err == nil && n < answerSize {
		var got int
		got, err = f.src.Read((*f.buf)[n:])
		n += got
	}
	f.iov[0] = (*f.buf)[:n]
	if n == 0 {
		f.giveBack()
	}
	var late net.Error
	if err != nil && !(errors.As(err, &late) && late.Timeout()) && n == 0 {
		return err // else it comes again
	}
	if err := f.src.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return f.push()
}

// heldReader gives any connection the shape of a lazyReader.
type heldReader struct{ net.Conn }

func (h heldReader) LazyRead(pool *sync.Pool) (*[]byte, int, error) {
	buf := pool.Get().(*[]byte)
	for {
		n, err := h.Read(*buf)
		if n > 0 {
			return buf, n, nil
		}
		if err != nil {
			pool.Put(buf)
			return nil, 0, err
		}
	}
}

// waitingWriter gives any connection the shape of a tryWriter that waits.
type waitingWriter struct{ net.Conn }

func (w waitingWriter) TryWritev(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		m, err := w.Write(b)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w waitingWriter) WaitWritable() error { return nil }
