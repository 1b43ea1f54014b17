package flv

import (
	"fmt"
	"io"
)

// Writer writes an FLV file. It is not safe for concurrent use.
type Writer struct {
	w   io.Writer
	buf []byte
}

// keepBuffer is what a Writer keeps from one tag to the next, so that a single
// large one does not stay in memory.
const keepBuffer = 256 << 10

// NewWriter returns a Writer to w. It does not buffer: each call is one Write.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// WriteHeader writes the header of the file. It comes first, once.
func (w *Writer) WriteHeader(h Header) error {
	return w.write(AppendHeader(w.buf[:0], h), "header")
}

// WriteTag writes t. The error is ErrTagSize above MaxTagSize, with nothing
// written, or that of the underlying writer.
func (w *Writer) WriteTag(t Tag) error {
	b, err := AppendTag(w.buf[:0], t)
	if err != nil {
		return fmt.Errorf("flv: %w", err)
	}

	return w.write(b, "tag")
}

func (w *Writer) write(b []byte, what string) error {
	if cap(b) <= keepBuffer {
		w.buf = b
	} else {
		w.buf = nil
	}

	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("flv: write %s: %w", what, err)
	}

	return nil
}
