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

// aggregate takes an aggregate message apart (RTMP 1.0 §7.1.6) and passes what
// is in it to the publication. The parts keep their distances, the first one is
// at the aggregate's own time. Back pointers are not looked at: their last one
// is often wrong or missing. What is cut off at the end is left out.
func (ns *NetStream) aggregate(m *chunk.Message) error {
	rest := m.Bytes()
	var first chunk.Timestamp
	for i := 0; len(rest) >= aggregateHeader; i++ {
		typeID, size := rest[0], int(rest[1])<<16|int(rest[2])<<8|int(rest[3])
		at := chunk.Timestamp(rest[7])<<24 | chunk.Timestamp(rest[4])<<16 | chunk.Timestamp(rest[5])<<8 | chunk.Timestamp(rest[6])
		rest = rest[aggregateHeader:]
		if size > len(rest) {
			return nil
		}
		if i == 0 {
			first = at
		}
		if isMedia(typeID) {
			part := chunk.NewMessage(typeID, m.StreamID, m.Timestamp.Add(at.Sub(first)), rest[:size])
			if err := ns.publication.WriteMessage(part); err != nil {
				return err
			}
		}
		rest = rest[min(size+aggregatePointer, len(rest)):]
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
