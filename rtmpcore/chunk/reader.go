package chunk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
)

// Limits caps what a peer may make a [Reader] hold. Zero fields take the
// defaults of [DefaultLimits].
type Limits struct {
	Media        int // bytes of an audio, video or aggregate message
	Other        int // bytes of any other message
	ChunkStreams int // chunk stream IDs in use on the connection
	Partial      int // memory of all messages that are not complete, in bytes
}

// DefaultLimits are the caps for zero fields of [Limits].
var DefaultLimits = Limits{Media: 8 << 20, Other: 256 << 10, ChunkStreams: 64, Partial: 16 << 20}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		Media:        cmp.Or(l.Media, d.Media),
		Other:        cmp.Or(l.Other, d.Other),
		ChunkStreams: cmp.Or(l.ChunkStreams, d.ChunkStreams),
		Partial:      cmp.Or(l.Partial, d.Partial),
	}
}

// Message type IDs that this layer must tell apart.
const (
	typeSetChunkSize = 1
	typeAbort        = 2
	typeAudio        = 8
	typeVideo        = 9
	typeAggregate    = 22
)

// defaultChunkSize is the chunk size of both directions until told otherwise.
const defaultChunkSize = 128

// Reader reassembles the messages of one direction of a connection. It is for
// one goroutine, except [Reader.BytesRead].
type Reader struct {
	in        input
	limits    Limits
	noMedia   bool // audio and video are held to the limit of other messages
	chunkSize int
	bytes     atomic.Uint64

	index   [64]uint16 // position+1 in streams of the chunk stream IDs below 64
	streams []*stream
	partial int     // memory of incomplete messages
	current *stream // whose chunk is being read; nil between chunks
	want    int     // payload of that chunk that is still to come
}

// stream is the state of one chunk stream.
type stream struct {
	id        uint32
	timestamp Timestamp
	delta     uint32 // of the next message with a type 3 header
	field     uint32 // timestamp or delta as the last header of type 0, 1 or 2 gave it
	extended  bool   // that header had the extended field
	length    int
	streamID  uint32
	typeID    uint8
	begun     bool // a first header was read

	msg *Message // incomplete
}

// NewReader returns a Reader of src. When src has a LazyRead method (see the
// package's source), no buffer is held while waiting for bytes.
func NewReader(src io.Reader, limits Limits) *Reader {
	r := &Reader{limits: limits.withDefaults(), chunkSize: defaultChunkSize}
	r.SetSource(src)
	return r
}

// SetSource replaces what the Reader reads. Call it before the first ReadMessage.
func (r *Reader) SetSource(src io.Reader) {
	lazy, ok := src.(lazyReader)
	if !ok {
		lazy = heldReader{src}
	}
	r.in.src = lazy
}

// BytesRead returns the number of bytes read so far, for acknowledgements and
// counters. It may be called by any goroutine.
func (r *Reader) BytesRead() uint64 { return r.bytes.Load() }

// ChunkSize returns the peer's chunk size.
func (r *Reader) ChunkSize() int { return r.chunkSize }

// ExpectMedia says whether audio and video may use their own, larger limits. A
// new Reader expects them; a server does only from a client that publishes, so
// that nobody else can make it hold large messages. Call it between messages.
func (r *Reader) ExpectMedia(on bool) { r.noMedia = !on }

// OnWait makes the Reader call f before each read of its source, which may wait,
// also in the middle of a message. An error of f is ReadMessage's. Call it before
// the first ReadMessage.
func (r *Reader) OnWait(f func() error) { r.in.onWait = f }

// Close gives back the Reader's memory. The Reader must not be used again.
func (r *Reader) Close() {
	r.in.giveBack()
	for _, s := range r.streams {
		r.abandon(s)
	}
}

// ReadMessage returns the next complete message with one reference, which is
// the caller's. Set Chunk Size and Abort are obeyed and not returned. The error
// is io.EOF at a clean end between messages, io.ErrUnexpectedEOF inside one,
// a *[LimitError], a *[ProtocolError], or what the connection returned. When
// the connection returned syscall.EAGAIN, ReadMessage may be called again and goes
// on where it was.
func (r *Reader) ReadMessage() (*Message, error) {
	for {
		if r.current == nil {
			s, err := r.readHeader()
			if err != nil {
				return nil, err
			}
			r.current = s
			r.want = min(s.msg.length-s.msg.received(), r.chunkSize)
		}
		m, err := r.readPayload()
		if err != nil {
			return nil, noEOF(err)
		}
		if m == nil {
			continue
		}
		switch m.TypeID {
		case typeSetChunkSize:
			err = r.setChunkSize(m.Head())
		case typeAbort:
			err = r.abort(m.Head())
		default:
			return m, nil
		}
		m.Release()
		if err != nil {
			return nil, err
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// look returns the next n bytes, at most maxHeader, without consuming them.
func (r *Reader) look(n int) ([]byte, error) {
	in := &r.in
	if in.nheld == 0 && in.w-in.r >= n {
		return (*in.buf)[in.r : in.r+n], nil
	}
	for in.nheld < n {
		if in.r == in.w {
			got, err := in.refill()
			if err != nil {
				return nil, err
			}
			r.bytes.Add(uint64(got))
			if in.nheld == 0 && got >= n {
				return (*in.buf)[:n], nil
			}
		}
		k := copy(in.held[in.nheld:n], (*in.buf)[in.r:in.w])
		in.nheld += k
		in.r += k
	}
	return in.held[:n], nil
}

// headerLength is the length of the message header by its type.
var headerLength = [4]int{11, 7, 3, 0}

// readHeader reads the header of the next chunk and leaves the input at its
// payload.
func (r *Reader) readHeader() (*stream, error) {
	b, err := r.look(1)
	if err != nil {
		if errors.Is(err, io.EOF) && (r.in.nheld > 0 || r.incomplete()) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	kind, basic := b[0]>>6, 1
	switch b[0] & 0x3F {
	case 0:
		basic = 2
	case 1:
		basic = 3
	}
	n := basic + headerLength[kind]
	if b, err = r.look(n); err != nil {
		return nil, noEOF(err)
	}
	id := uint32(b[0] & 0x3F)
	switch basic {
	case 2:
		id = uint32(b[1]) + 64
	case 3:
		id = uint32(b[1]) + uint32(b[2])<<8 + 64
	}
	s, err := r.stream(id)
	if err != nil {
		return nil, err
	}
	if kind >= 2 && !s.begun {
		return nil, &ProtocolError{"5.3.1.2", "chunk stream begins with a header that refers to an earlier one: bytes were lost"}
	}
	if kind == 3 {
		return s, r.readType3(s, n)
	}
	r.abandon(s)
	h := b[basic:]
	field := uint24(h)
	if kind <= 1 {
		s.length = int(uint24(h[3:]))
		s.typeID = h[6]
	}
	if kind == 0 {
		s.streamID = binary.LittleEndian.Uint32(h[7:])
	}
	if s.extended = field == extendedTimestamp; s.extended {
		if b, err = r.look(n + 4); err != nil {
			return nil, noEOF(err)
		}
		field = binary.BigEndian.Uint32(b[n:])
		n += 4
	}
	r.in.drop(n)
	s.begun = true
	s.field, s.delta = field, field
	if kind == 0 {
		s.timestamp = Timestamp(field)
	} else {
		s.timestamp += Timestamp(field)
	}
	return s, r.begin(s)
}

// readType3 handles a chunk of which the header, n bytes, has no message header:
// the next piece of a message, or a new message like the last one.
func (r *Reader) readType3(s *stream, n int) error {
	if s.extended {
		b, err := r.look(n + 4)
		if err != nil {
			return noEOF(err)
		}
		// Some peers repeat the extended timestamp in the next piece, some do not
		// (librtmp of 2012): it is there when the four bytes are those of the
		// message's header.
		if s.msg == nil || binary.BigEndian.Uint32(b[n:]) == s.field {
			n += 4
		}
	}
	r.in.drop(n)
	if s.msg != nil {
		return nil
	}
	s.timestamp += Timestamp(s.delta)
	return r.begin(s)
}

// stream returns the state of a chunk stream, making it at first use.
func (r *Reader) stream(id uint32) (*stream, error) {
	if id < 64 {
		if i := r.index[id]; i > 0 {
			return r.streams[i-1], nil
		}
	} else {
		for _, s := range r.streams {
			if s.id == id {
				return s, nil
			}
		}
	}
	if len(r.streams) >= r.limits.ChunkStreams {
		return nil, &LimitError{LimitChunkStreams, int64(len(r.streams)) + 1, int64(r.limits.ChunkStreams)}
	}
	s := &stream{id: id}
	r.streams = append(r.streams, s)
	if id < 64 {
		r.index[id] = uint16(len(r.streams))
	}
	return s, nil
}

// begin starts the message that the stream's header announced.
func (r *Reader) begin(s *stream) error {
	limit := r.limits.Other
	switch s.typeID {
	case typeAudio, typeVideo, typeAggregate:
		if !r.noMedia {
			limit = r.limits.Media
		}
	}
	if s.length > limit {
		return &LimitError{LimitMessage, int64(s.length), int64(limit)}
	}
	s.msg = newMessage(s.typeID, s.streamID, s.timestamp, s.length)
	return nil
}

// abandon drops the stream's incomplete message: a new header on the same chunk
// stream, or Abort, says that the rest will not come.
func (r *Reader) abandon(s *stream) {
	if s.msg == nil {
		return
	}
	r.partial -= s.msg.Footprint()
	s.msg.Release()
	s.msg = nil
}

func (r *Reader) incomplete() bool {
	for _, s := range r.streams {
		if s.msg != nil {
			return true
		}
	}
	return false
}

// readPayload reads the payload of the current chunk and returns the message
// when it is complete.
func (r *Reader) readPayload() (*Message, error) {
	s := r.current
	m := s.msg
	for r.want > 0 {
		if r.in.buffered() == 0 {
			n, err := r.in.refill()
			if err != nil {
				return nil, err
			}
			r.bytes.Add(uint64(n))
		}
		before := len(m.segs)
		room := m.room()
		if len(m.segs) > before {
			r.partial += len(room.buf)
			if most := r.partialLimit(); r.partial > most {
				return nil, &LimitError{LimitPartial, int64(r.partial), int64(most)}
			}
		}
		dst := room.payload[room.n:]
		n := r.in.take(dst[:min(len(dst), r.want)])
		room.n += n
		r.want -= n
	}
	r.current = nil
	if m.received() < m.length {
		return nil, nil
	}
	r.partial -= m.Footprint()
	s.msg = nil
	return m, nil
}

// partialLimit returns the memory that incomplete messages may hold: without
// media, that of two messages.
func (r *Reader) partialLimit() int {
	if r.noMedia {
		return min(r.limits.Partial, 2*r.limits.Other)
	}
	return r.limits.Partial
}

// setChunkSize obeys a Set Chunk Size message (RTMP 1.0 §5.4.1): it counts from
// the next chunk on, whatever messages are incomplete.
func (r *Reader) setChunkSize(b []byte) error {
	if len(b) < 4 {
		return &ProtocolError{"5.4.1", "Set Chunk Size is shorter than 4 bytes"}
	}
	size := binary.BigEndian.Uint32(b)
	if size == 0 || size > 0x7FFFFFFF {
		return &ProtocolError{"5.4.1", "Set Chunk Size is not between 1 and 2147483647"}
	}
	r.chunkSize = int(min(size, MaxChunkSize))
	return nil
}

// abort obeys an Abort message (RTMP 1.0 §5.4.2).
func (r *Reader) abort(b []byte) error {
	if len(b) < 4 {
		return &ProtocolError{"5.4.2", "Abort is shorter than 4 bytes"}
	}
	id := binary.BigEndian.Uint32(b)
	for _, s := range r.streams {
		if s.id == id {
			r.abandon(s)
		}
	}
	return nil
}
