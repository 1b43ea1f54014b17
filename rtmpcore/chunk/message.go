package chunk

import (
	"sync"
	"sync/atomic"
)

// Class says what a message means to a receiver that cannot keep up: what may
// be dropped for it, and what may be sent ahead of a large frame.
type Class uint8

// Classes of messages.
const (
	ClassOrdered    Class = iota // never dropped, never overtakes: status, metadata, end of stream
	ClassUrgent                  // never dropped, goes between the chunks of a large frame: control, answers
	ClassAudio                   // not dropped while the connection lives, goes between the chunks of a large frame
	ClassHeader                  // never dropped: sequence headers and what else a decoder must see
	ClassKeyframe                // video that a decoder can start at
	ClassInterframe              // video that needs the frames before it
)

// IsVideoFrame reports whether a receiver that fell behind may lose the message
// until the next keyframe.
func (c Class) IsVideoFrame() bool { return c >= ClassKeyframe }

// Message is one RTMP message, complete. Its payload is in pooled memory shared
// by reference. Fields and payload are written only by the goroutine that
// created it and before it is handed to anybody else; from then on everything
// in it is read-only.
type Message struct {
	Timestamp Timestamp
	StreamID  uint32 // message stream ID
	TypeID    uint8  // message type ID
	Class     Class

	length int
	refs   atomic.Int32
	segs   []*segment
	wire   int // bytes on the wire, set by Encode
}

var messages = sync.Pool{New: func() any { return new(Message) }}

// newMessage returns an empty message with one reference.
func newMessage(typeID uint8, streamID uint32, ts Timestamp, length int) *Message {
	m := messages.Get().(*Message)
	m.Timestamp, m.StreamID, m.TypeID, m.Class = ts, streamID, typeID, ClassOrdered
	m.length, m.wire = length, 0
	m.refs.Store(1)
	return m
}

// NewMessage returns a message with a copy of payload and one reference, which
// is the caller's.
func NewMessage(typeID uint8, streamID uint32, ts Timestamp, payload []byte) *Message {
	m := newMessage(typeID, streamID, ts, len(payload))
	m.fill(payload)
	return m
}

// fill appends b to the payload; the message's length was set before and is
// not exceeded.
func (m *Message) fill(b []byte) {
	for len(b) > 0 {
		n := m.append(b)
		b = b[n:]
	}
}

// append takes as much of b as fits the current segment, adding a segment when
// there is none or the last one is full, and returns how much it took.
func (m *Message) append(b []byte) int {
	s := m.room()
	n := copy(s.payload[s.n:], b)
	s.n += n
	return n
}

// room returns the segment that the next payload byte goes to.
func (m *Message) room() *segment {
	filled := 0
	if k := len(m.segs); k > 0 {
		last := m.segs[k-1]
		if last.n < len(last.payload) {
			return last
		}
		filled = k * SegmentSize
	}
	s := newSegment(min(m.length-filled, SegmentSize))
	m.segs = append(m.segs, s)
	return s
}

// received returns how many payload bytes the message has so far.
func (m *Message) received() int {
	k := len(m.segs)
	if k == 0 {
		return 0
	}
	return (k-1)*SegmentSize + m.segs[k-1].n
}

// Len returns the payload's length in bytes.
func (m *Message) Len() int { return m.length }

// Footprint returns the bytes of memory that the message's payload holds, which
// is what caches and queues account for.
func (m *Message) Footprint() int {
	n := 0
	for _, s := range m.segs {
		n += len(s.buf)
	}
	return n
}

// Head returns the first bytes of the payload, up to [SegmentSize] of them,
// without copying: enough for the header of any audio or video tag.
func (m *Message) Head() []byte {
	if len(m.segs) == 0 {
		return nil
	}
	return m.segs[0].payload[:m.segs[0].n]
}

// Bytes returns the whole payload in one slice: the message's own memory when
// it fits one segment, else a copy.
func (m *Message) Bytes() []byte {
	if len(m.segs) <= 1 {
		return m.Head()
	}
	return m.AppendPayload(make([]byte, 0, m.length))
}

// AppendPayload appends the payload to dst.
func (m *Message) AppendPayload(dst []byte) []byte {
	for _, s := range m.segs {
		dst = append(dst, s.payload[:s.n]...)
	}
	return dst
}

// Clone returns a copy of the message for another message stream, with one
// reference and not yet encoded.
func (m *Message) Clone(streamID uint32) *Message {
	c := newMessage(m.TypeID, streamID, m.Timestamp, m.length)
	c.Class = m.Class
	for _, s := range m.segs {
		c.fill(s.payload[:s.n])
	}
	return c
}

// Retain adds a reference and returns m.
func (m *Message) Retain() *Message {
	m.refs.Add(1)
	return m
}

// Release drops a reference. With the last one the memory goes back to its
// pool, and neither the message nor slices of its payload may be used again.
func (m *Message) Release() {
	switch n := m.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("chunk: message released more often than retained")
	}
	for i, s := range m.segs {
		s.free()
		m.segs[i] = nil
	}
	m.segs = m.segs[:0]
	messages.Put(m)
}

// ReleaseAll releases every message of list and clears it for reuse.
func ReleaseAll(list []*Message) []*Message {
	for i, m := range list {
		m.Release()
		list[i] = nil
	}
	return list[:0]
}
