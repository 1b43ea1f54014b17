package rtmpcore

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Sizes of an aggregate's parts: type (1), size (3), timestamp (3) and its
// upper byte (1), stream ID (3); and the back pointer behind the data.
const (
	aggregateHeader  = 11
	aggregatePointer = 4
)

// aggregate is an aggregate message being taken apart (RTMP 1.0 §7.1.6). The parts
// keep their distances, the first one is at the aggregate's own time. Back pointers are
// not looked at: their last one is often wrong or missing. What is cut off at the end is
// left out. The zero value has no parts.
type aggregate struct {
	m     *chunk.Message
	rest  []byte
	first chunk.Timestamp
	begun bool
}

// newAggregate takes over a reference to the message, which is released with the last
// part.
func newAggregate(m *chunk.Message) aggregate { return aggregate{m: m, rest: m.Bytes()} }

// next returns the next part that is media, with one reference, or nil.
func (a *aggregate) next() *chunk.Message {
	for len(a.rest) >= aggregateHeader {
		b := a.rest
		typeID, size := b[0], int(b[1])<<16|int(b[2])<<8|int(b[3])
		at := chunk.Timestamp(b[7])<<24 | chunk.Timestamp(b[4])<<16 | chunk.Timestamp(b[5])<<8 | chunk.Timestamp(b[6])
		b = b[aggregateHeader:]
		if size > len(b) {
			break
		}
		if !a.begun {
			a.first, a.begun = at, true
		}
		a.rest = b[min(size+aggregatePointer, len(b)):]
		if isMedia(typeID) {
			return chunk.NewMessage(typeID, a.m.StreamID, a.m.Timestamp.Add(at.Sub(a.first)), b[:size])
		}
	}
	a.close()
	return nil
}

func (a *aggregate) close() {
	if a.m != nil {
		a.m.Release()
	}
	*a = aggregate{}
}

// aggregate passes what is in an aggregate message to the publication, and takes over
// the message's reference.
func (ns *NetStream) aggregate(m *chunk.Message) error {
	a := newAggregate(m)
	defer a.close()
	for part := a.next(); part != nil; part = a.next() {
		if err := ns.publication.WriteMessage(part); err != nil {
			return err
		}
	}
	return nil
}

// isMedia reports whether messages of a type are passed on to players.
func isMedia(typeID uint8) bool {
	switch typeID {
	case message.TypeAudio, message.TypeVideo, message.TypeDataAMF0, message.TypeDataAMF3:
		return true
	}
	return false
}
