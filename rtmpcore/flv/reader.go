package flv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Defaults for zero fields of ReaderConfig, and sizes that are fixed.
const (
	// DefaultMaxTag is the largest tag a Reader accepts unless told otherwise.
	DefaultMaxTag = 8 << 20

	readBuffer = 32 << 10
	growStep   = 64 << 10
	maxHeader  = 64 << 10 // of the file, with what extends it
)

// ReaderConfig sets up a Reader.
type ReaderConfig struct {
	// MaxTag is the most bytes of data a tag may hold, DefaultMaxTag when 0.
	MaxTag int
}

// Reader reads the tags of an FLV file, as they come and without seeking. It
// needs memory for the largest tag, and no more than has been read so far of
// one. It is not safe for concurrent use.
type Reader struct {
	// set at construction
	r      *bufio.Reader
	maxTag int

	header Header
	begun  bool
	head   [tagHeaderSize]byte // of what is being read
	offset int64
	data   []byte
	err    error
}

// NewReader returns a Reader of the file in r. It buffers: the position of r is
// not that of the Reader.
func NewReader(r io.Reader, cfg ReaderConfig) *Reader {
	if cfg.MaxTag == 0 {
		cfg.MaxTag = DefaultMaxTag
	}

	return &Reader{r: bufio.NewReaderSize(r, readBuffer), maxTag: cfg.MaxTag}
}

// Header returns the header of the file, reading it if that has not happened.
// The error wraps ErrFormat, io.EOF for an empty file, or io.ErrUnexpectedEOF.
func (r *Reader) Header() (Header, error) {
	if !r.begun {
		r.begun = true

		if err := r.readHeader(); err != nil {
			r.err = fmt.Errorf("flv: header: %w", err)
		}
	}

	if r.header == (Header{}) {
		return Header{}, r.err
	}

	return r.header, nil
}

func (r *Reader) readHeader() error {
	b := r.head[:fileHeaderSize]
	if err := r.readFull(b); err != nil {
		return err
	}

	size := binary.BigEndian.Uint32(b[5:])
	if string(b[:3]) != "FLV" || size < fileHeaderSize || size > maxHeader {
		return ErrFormat
	}

	n, err := r.r.Discard(int(size) - fileHeaderSize)
	r.offset += int64(n)

	if err != nil {
		return inside(err)
	}

	// The back pointer before the first tag. A file may end instead of it.
	if err := r.skipBackPointer(); err != nil {
		return err
	}

	// Version 0 is not one; keeping it apart from "not read" costs nothing.
	r.header = Header{Version: max(b[3], 1), Audio: b[4]&flagAudio != 0, Video: b[4]&flagVideo != 0}

	return nil
}

// Next returns the next tag, whose Data is valid until the call after this. The
// header of the file is read if that has not happened.
//
// The end of the file between tags is io.EOF, bare; inside one it is
// io.ErrUnexpectedEOF, wrapped. A tag above the limit is ErrTagSize, and the
// file's end for this Reader. Back pointers are not checked, as many are wrong,
// and the last one may be missing or cut off.
func (r *Reader) Next() (Tag, error) {
	if _, err := r.Header(); err != nil {
		return Tag{}, err
	}

	if r.err != nil {
		return Tag{}, r.err
	}

	at := r.offset

	t, err := r.next()
	if err != nil {
		r.err = err
		if !errors.Is(err, io.EOF) {
			r.err = fmt.Errorf("flv: tag at %d: %w", at, err)
		}

		return Tag{}, r.err
	}

	return t, nil
}

// Offset returns the number of bytes from the beginning of the file to the next
// tag.
func (r *Reader) Offset() int64 { return r.offset }

func (r *Reader) next() (Tag, error) {
	b := r.head[:]
	if err := r.readFull(b); err != nil {
		return Tag{}, err
	}

	size := int(uint24(b[1:]))
	if err := checkSize(size, r.maxTag); err != nil {
		return Tag{}, err
	}

	t := Tag{
		Type:      TagType(b[0] & typeMask),
		Filtered:  b[0]&filteredFlag != 0,
		Timestamp: uint24(b[4:]) | uint32(b[7])<<24,
	}

	// The size is only a promise: make room as bytes arrive.
	r.data = r.data[:0]
	for len(r.data) < size {
		n := min(size-len(r.data), growStep)
		r.data = slices.Grow(r.data, n)

		part := r.data[len(r.data) : len(r.data)+n]
		if err := r.readFull(part); err != nil {
			return Tag{}, inside(err)
		}

		r.data = r.data[:len(r.data)+n]
	}

	t.Data = r.data

	return t, r.skipBackPointer()
}

// skipBackPointer passes over what it makes of the back pointer: a file that was
// cut off in it has nothing missing.
func (r *Reader) skipBackPointer() error {
	n, err := r.r.Discard(backPointer)
	r.offset += int64(n)

	if errors.Is(err, io.EOF) {
		return nil
	}

	return err
}

func (r *Reader) readFull(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.offset += int64(n)

	return err
}

// inside turns the end of the file where more has to follow into the error that
// says so.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}

	return err
}
