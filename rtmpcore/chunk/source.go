package chunk

import (
	"io"
	"sync"
)

// readBuffers lends the buffers that connections are read into. A reader holds
// one only while there is something in it.
var readBuffers = sync.Pool{New: func() any {
	b := make([]byte, 64<<10)
	return &b
}}

// lazyReader is the ability of a connection to wait for bytes without holding
// a buffer meanwhile: it takes one from pool when there is something to read,
// reads once into it and returns it with the count. It keeps none on error.
type lazyReader interface {
	LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
}

// heldReader gives any io.Reader that ability's shape; the buffer is held while
// waiting.
type heldReader struct{ io.Reader }

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

// input is the byte stream under a Reader: what is left in the borrowed buffer,
// and in front of it up to a chunk header's bytes that were cut off at the end
// of an earlier one.
type input struct {
	src    lazyReader
	onWait func() error // may be nil
	buf    *[]byte
	r, w   int // unread part of buf

	held  [maxHeader]byte
	nheld int
}

// maxHeader is the longest chunk header: three bytes of basic header, message
// header of type 0, extended timestamp.
const maxHeader = 3 + 11 + 4

func (in *input) buffered() int { return in.nheld + in.w - in.r }

// refill borrows a buffer with at least one new byte. The old one must be used
// up.
func (in *input) refill() (int, error) {
	in.giveBack()
	if in.onWait != nil {
		if err := in.onWait(); err != nil {
			return 0, err
		}
	}
	buf, n, err := in.src.LazyRead(&readBuffers)
	if err != nil {
		return 0, err
	}
	in.buf, in.r, in.w = buf, 0, n
	return n, nil
}

func (in *input) giveBack() {
	if in.buf != nil {
		readBuffers.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}

// drop discards the next n bytes, which an earlier look returned.
func (in *input) drop(n int) {
	if in.nheld > 0 {
		copy(in.held[:], in.held[n:in.nheld])
		in.nheld -= n
		return
	}
	in.r += n
}

// take copies buffered bytes to dst and returns how many: 0 when nothing is
// buffered. The buffer is given back with its last byte.
func (in *input) take(dst []byte) int {
	if in.nheld > 0 {
		n := copy(dst, in.held[:in.nheld])
		in.drop(n)
		return n
	}
	if in.buf == nil {
		return 0
	}
	n := copy(dst, (*in.buf)[in.r:in.w])
	if in.r += n; in.r == in.w {
		in.giveBack() // what is made of the message may wait for long
	}
	return n
}
