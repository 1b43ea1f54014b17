package message

import (
	"encoding/binary"
	"slices"
)

// Event is the event type of a UserControl message, RTMP 1.0 §7.1.7. The numbers
// above 7 are not in it: they are those of Adobe's servers.
type Event uint16

// The events.
const (
	EventStreamBegin      Event = 0  // server: the stream is ready; StreamID
	EventStreamEOF        Event = 1  // server: playback has ended; StreamID
	EventStreamDry        Event = 2  // server: no data for a while; StreamID
	EventSetBufferLength  Event = 3  // client: StreamID and buffer in ms as Value
	EventStreamIsRecorded Event = 4  // server: not live; StreamID
	EventPingRequest      Event = 6  // server: time in ms as Value
	EventPingResponse     Event = 7  // client: the request's Value
	EventSWFVerifyRequest Event = 26 // server: asks for Data of event 27
	EventSWFVerifyReply   Event = 27 // client: hash of its SWF file as Data
	EventBufferEmpty      Event = 31 // server: all that the client may buffer has been sent; StreamID
	EventBufferReady      Event = 32 // server: sending again; StreamID
)

// String returns the name of the event, "unknown" if it has none.
func (e Event) String() string {
	switch e {
	case EventStreamBegin:
		return "StreamBegin"
	case EventStreamEOF:
		return "StreamEOF"
	case EventStreamDry:
		return "StreamDry"
	case EventSetBufferLength:
		return "SetBufferLength"
	case EventStreamIsRecorded:
		return "StreamIsRecorded"
	case EventPingRequest:
		return "PingRequest"
	case EventPingResponse:
		return "PingResponse"
	case EventSWFVerifyRequest:
		return "SWFVerifyRequest"
	case EventSWFVerifyReply:
		return "SWFVerifyReply"
	case EventBufferEmpty:
		return "BufferEmpty"
	case EventBufferReady:
		return "BufferReady"
	default:
		return "unknown"
	}
}

// UserControl is a user control message, RTMP 1.0 §6.2 and §7.1.7:
//
//	event (2) | StreamID (4), Value (4), both or Data, as the event wants it
type UserControl struct {
	Event Event
	// StreamID is the message stream the event is about.
	StreamID uint32
	// Value is a buffer length or a time, in milliseconds.
	Value uint32
	// Data is what follows events 26, 27 and unknown ones.
	Data []byte
}

const sectionUserControl = "7.1.7"

// eventFields tells what follows an event.
func eventFields(e Event) (streamID, value bool) {
	switch e {
	case EventStreamBegin, EventStreamEOF, EventStreamDry, EventStreamIsRecorded, EventBufferEmpty, EventBufferReady:
		return true, false
	case EventSetBufferLength:
		return true, true
	case EventPingRequest, EventPingResponse:
		return false, true
	case EventSWFVerifyRequest, EventSWFVerifyReply:
		return false, false
	default:
		return false, false
	}
}

// DecodeUserControl decodes the payload of type 4. Data is a copy.
func DecodeUserControl(payload []byte) (UserControl, error) {
	if len(payload) < 2 {
		return UserControl{}, short(TypeUserControl, sectionUserControl)
	}

	m := UserControl{Event: Event(binary.BigEndian.Uint16(payload))}
	rest := payload[2:]

	streamID, value := eventFields(m.Event)
	if !streamID && !value {
		if len(rest) > 0 {
			m.Data = slices.Clone(rest)
		}

		return m, nil
	}

	for _, f := range [...]struct {
		is    bool
		field *uint32
	}{{streamID, &m.StreamID}, {value, &m.Value}} {
		if !f.is {
			continue
		}

		if len(rest) < 4 {
			return UserControl{}, short(TypeUserControl, sectionUserControl)
		}

		*f.field = binary.BigEndian.Uint32(rest)
		rest = rest[4:]
	}

	return m, nil
}

// TypeID returns 4.
func (UserControl) TypeID() uint8 { return TypeUserControl }

// AppendPayload implements Message; there is no error. Fields that the event
// does not have are left out.
func (m UserControl) AppendPayload(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Event))

	streamID, value := eventFields(m.Event)
	if streamID {
		dst = binary.BigEndian.AppendUint32(dst, m.StreamID)
	}

	if value {
		dst = binary.BigEndian.AppendUint32(dst, m.Value)
	}

	if !streamID && !value {
		dst = append(dst, m.Data...)
	}

	return dst, nil
}
