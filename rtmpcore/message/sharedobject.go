package message

import (
	"encoding/binary"
	"fmt"
	"io"

	"culvert/rtmpcore/amf"
)

const sectionSharedObject = "7.1.3"

// SharedObject carries events of a shared object, RTMP 1.0 §7.1.3:
//
//	name: length (2) | bytes
//	version (4) | flags (4): 2 is persistent, else 0 | 0 (4)
//	events: type (1) | length (4) | data
//
// What the data of an event means belongs to the layer above. In type 16 its
// values are AMF0 that may switch to AMF3.
type SharedObject struct {
	// AMF3 selects message type 16 instead of 19.
	AMF3    bool
	Name    string
	Version uint32
	Flags   uint32
	Events  []SharedObjectEvent
}

// SharedObjectEvent is one event of a SharedObject. Unknown types are kept: they
// can be skipped, because the length of each is known.
type SharedObjectEvent struct {
	Type uint8
	Data []byte
}

// SharedObjectPersistent is the value of SharedObject.Flags for an object that
// outlives its clients.
const SharedObjectPersistent = 2

// Sizes of the fixed parts.
const (
	sharedObjectFixed = 12 // behind the name
	eventFixed        = 5  // in front of an event's data
)

// DecodeSharedObject decodes the payload of type 19 or 16. Type 16 may leave out
// its leading 0, and is read in the way in which it is complete. limits bound
// the number of events and the bytes. Data is a copy.
func DecodeSharedObject(typeID uint8, payload []byte, limits amf.Limits) (SharedObject, error) {
	if typeID == TypeSharedObjectAMF3 && len(payload) > 0 && payload[0] == 0 {
		if m, err := decodeSharedObject(payload[1:], limits); err == nil {
			m.AMF3 = true
			return m, nil
		}
	}
	m, err := decodeSharedObject(payload, limits)
	if err != nil {
		return SharedObject{}, &ProtocolError{TypeID: typeID, Section: sectionSharedObject, Err: err}
	}
	m.AMF3 = typeID == TypeSharedObjectAMF3
	return m, nil
}

func decodeSharedObject(b []byte, limits amf.Limits) (SharedObject, error) {
	most := limits.Properties
	if most == 0 {
		most = amf.DefaultProperties
	}
	if len(b) < 2 {
		return SharedObject{}, fmt.Errorf("name: %w", io.ErrUnexpectedEOF)
	}
	n := int(binary.BigEndian.Uint16(b))
	if n == 0 {
		return SharedObject{}, fmt.Errorf("empty name: %w", ErrValue)
	}
	if b = b[2:]; len(b) < n+sharedObjectFixed {
		return SharedObject{}, fmt.Errorf("name and flags: %w", io.ErrUnexpectedEOF)
	}
	m := SharedObject{
		Name:    string(b[:n]),
		Version: binary.BigEndian.Uint32(b[n:]),
		Flags:   binary.BigEndian.Uint32(b[n+4:]),
	}
	for b = b[n+sharedObjectFixed:]; len(b) > 0; {
		if len(b) < eventFixed {
			return SharedObject{}, fmt.Errorf("event %d: %w", len(m.Events), io.ErrUnexpectedEOF)
		}
		e, size := SharedObjectEvent{Type: b[0]}, uint64(binary.BigEndian.Uint32(b[1:]))
		if b = b[eventFixed:]; uint64(len(b)) < size {
			return SharedObject{}, fmt.Errorf("event %d: %w", len(m.Events), io.ErrUnexpectedEOF)
		}
		if len(m.Events) >= most {
			return SharedObject{}, &amf.LimitError{What: amf.LimitProperties, Max: most}
		}
		if size > 0 {
			e.Data = append([]byte(nil), b[:size]...)
		}
		m.Events = append(m.Events, e)
		b = b[size:]
	}
	return m, nil
}

// TypeID returns 19, or 16 if AMF3.
func (m SharedObject) TypeID() uint8 {
	if m.AMF3 {
		return TypeSharedObjectAMF3
	}
	return TypeSharedObjectAMF0
}

// AppendPayload implements Message. The error is ErrValue for a name that is
// empty or has more than 65,535 bytes.
func (m SharedObject) AppendPayload(dst []byte) ([]byte, error) {
	if m.Name == "" || len(m.Name) > 0xFFFF {
		return dst, fmt.Errorf("name of %d bytes: %w", len(m.Name), ErrValue)
	}
	if m.AMF3 {
		dst = append(dst, 0)
	}
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(m.Name))), m.Name...)
	dst = binary.BigEndian.AppendUint32(dst, m.Version)
	dst = binary.BigEndian.AppendUint32(dst, m.Flags)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	for _, e := range m.Events {
		dst = append(dst, e.Type)
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(e.Data))), e.Data...)
	}
	return dst, nil
}
