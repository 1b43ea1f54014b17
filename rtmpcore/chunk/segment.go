package chunk

import (
	"math/bits"
	"sync"
)

// SegmentSize is the payload of a full segment, and the chunk size that culvert
// announces to its peers. It is the largest that all known clients take: the
// librtmp family breaks above it (Red5 clamps for the same reason).
const SegmentSize = 65536

// headroom is the longest chunk header with a one-byte basic header: basic
// header, message header of type 0, extended timestamp.
const headroom = 1 + 11 + 4

// minClass and maxClass are the logarithms of the smallest and the largest
// payload that segments are pooled for.
const (
	minClass = 8
	maxClass = 16
)

// segment is a piece of a message's payload with room for a chunk header in
// front of it.
type segment struct {
	buf     []byte // headroom and payload
	payload []byte // buf[headroom:], at its wanted length
	n       int    // payload bytes written
	start   int    // where the chunk's bytes begin in buf, set by Encode
}

var segments [maxClass + 1]sync.Pool

// newSegment returns a segment for size payload bytes, 1 to SegmentSize.
func newSegment(size int) *segment {
	class := max(bits.Len(uint(size-1)), minClass)
	s, ok := segments[class].Get().(*segment)
	if !ok {
		s = &segment{buf: make([]byte, headroom+1<<class)}
	}
	s.payload = s.buf[headroom : headroom+size]
	s.n, s.start = 0, headroom
	return s
}

func (s *segment) free() {
	class := bits.Len(uint(len(s.buf) - headroom - 1))
	segments[class].Put(s)
}

// wire returns the segment's chunk as Encode left it.
func (s *segment) wire() []byte { return s.buf[s.start : headroom+s.n] }
