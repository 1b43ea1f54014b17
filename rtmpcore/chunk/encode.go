package chunk

import "encoding/binary"

// MaxChunkSize is the largest chunk size with a meaning: a message is never
// longer (RTMP 1.0 §5.4.1).
const MaxChunkSize = 0xFFFFFF

// Encode writes the message's chunk headers for the given chunk stream, so that
// [Message.AppendWire] gives its bytes on the wire. It must be called before the
// message is shared. Chunk stream IDs are 2 to 63, the range that every peer
// reads (nginx-rtmp refuses 32 and above). chunkSize is what the receivers were
// told: [SegmentSize], or at least the message's length.
//
// The first chunk has a header of type 0 with the absolute timestamp, so that
// the bytes mean the same to every receiver, whatever it received before.
// Continuation chunks of a message with an extended timestamp repeat it (RTMP
// 1.0 §5.3.1.3); librtmp of 2012 does not expect that, which is why senders
// raise the chunk size before such a message: see package send.
func (m *Message) Encode(csid uint8, chunkSize int) {
	m.wire = 0
	if len(m.segs) == 0 {
		m.segs = append(m.segs, newSegment(1))
	}
	for i, s := range m.segs {
		switch {
		case i == 0:
			s.start = m.putHeader(s.buf, csid)
		case m.length <= chunkSize:
			s.start = headroom
		default:
			s.start = m.putContinuation(s.buf, csid)
		}
		m.wire += headroom + s.n - s.start
	}
}

// NeedsExtendedTimestamp reports whether the chunk header of a message at t
// carries the extended field.
func (t Timestamp) NeedsExtendedTimestamp() bool { return t >= extendedTimestamp }

// putHeader writes a type 0 header that ends where the payload begins:
//
//	basic header  1  fmt 0, chunk stream ID
//	timestamp     3  or 0xFFFFFF
//	length        3
//	type ID       1
//	stream ID     4  little-endian
//	extended      4  only with 0xFFFFFF
func (m *Message) putHeader(buf []byte, csid uint8) (start int) {
	field := uint32(m.Timestamp)
	start = headroom - 12
	if m.Timestamp.NeedsExtendedTimestamp() {
		start -= 4
		binary.BigEndian.PutUint32(buf[headroom-4:], field)
		field = extendedTimestamp
	}
	h := buf[start:]
	h[0] = csid
	put24(h[1:], field)
	put24(h[4:], uint32(m.length))
	h[7] = m.TypeID
	binary.LittleEndian.PutUint32(h[8:], m.StreamID)
	return start
}

// putContinuation writes a type 3 header.
func (m *Message) putContinuation(buf []byte, csid uint8) (start int) {
	start = headroom - 1
	if m.Timestamp.NeedsExtendedTimestamp() {
		start -= 4
		binary.BigEndian.PutUint32(buf[headroom-4:], uint32(m.Timestamp))
	}
	buf[start] = 3<<6 | csid
	return start
}

// AppendWire appends the message's chunks to dst, one slice a chunk (or a
// SegmentSize piece of one), valid until the message is released. Only after
// [Message.Encode].
func (m *Message) AppendWire(dst [][]byte) [][]byte {
	for _, s := range m.segs {
		dst = append(dst, s.wire())
	}
	return dst
}

// WireLen returns the number of bytes that AppendWire appends.
func (m *Message) WireLen() int { return m.wire }

// Chunks returns the number of slices that AppendWire appends.
func (m *Message) Chunks() int { return len(m.segs) }

// Chunk returns the i-th of the slices that AppendWire appends.
func (m *Message) Chunk(i int) []byte { return m.segs[i].wire() }

// Interruptible reports whether chunks of other messages may go between the
// slices of this one, as encoded.
func (m *Message) Interruptible() bool {
	return len(m.segs) > 1 && m.segs[1].start < headroom
}

func put24(b []byte, v uint32) {
	b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v)
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
