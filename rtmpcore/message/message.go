package message

import (
	"errors"
	"fmt"
	"io"

	"culvert/rtmpcore/amf"
)

// Message type IDs, RTMP 1.0 §5.4 and §7.1.
const (
	TypeSetChunkSize     uint8 = 1
	TypeAbort            uint8 = 2
	TypeAcknowledgement  uint8 = 3
	TypeUserControl      uint8 = 4
	TypeWindowAckSize    uint8 = 5
	TypeSetPeerBandwidth uint8 = 6
	TypeAudio            uint8 = 8
	TypeVideo            uint8 = 9
	TypeDataAMF3         uint8 = 15
	TypeSharedObjectAMF3 uint8 = 16
	TypeCommandAMF3      uint8 = 17
	TypeDataAMF0         uint8 = 18
	TypeSharedObjectAMF0 uint8 = 19
	TypeCommandAMF0      uint8 = 20
	TypeAggregate        uint8 = 22
)

// Message is a typed message. Messages are values and may be shared; what they
// hold must not be modified then.
type Message interface {
	// TypeID returns the message type ID to send it with.
	TypeID() uint8
	// AppendPayload appends the payload to dst. On error, dst is returned at its
	// old length.
	AppendPayload(dst []byte) ([]byte, error)
}

// ErrType: Decode has no typed form for this message type ID.
var ErrType = errors.New("message type has no typed form")

// ErrValue: a field has a value that the specification does not allow.
var ErrValue = errors.New("value not allowed")

// ProtocolError reports a payload that is not what its type ID says. Its cause
// may be ErrValue, io.ErrUnexpectedEOF or an *amf.SyntaxError; payloads beyond
// the limits are an *amf.LimitError in it.
type ProtocolError struct {
	TypeID  uint8
	Section string // of RTMP 1.0
	Err     error
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("message type %d (RTMP 1.0 §%s): %v", e.TypeID, e.Section, e.Err)
}

func (e *ProtocolError) Unwrap() error { return e.Err }

// Decode returns the typed form of a payload. limits apply to commands, data and
// shared objects.
//
// The error is a *ProtocolError, or wraps ErrType for type IDs without a typed
// form (audio, video, aggregates and unknown ones). A Command
// whose name and transaction ID could be read is returned even then, so that it
// can be answered.
//
// Bytes behind a complete control message are ignored. The Decode functions of
// the single types do the same without allocating an interface value.
func Decode(typeID uint8, payload []byte, limits amf.Limits) (Message, error) {
	switch typeID {
	case TypeSetChunkSize:
		return asMessage(DecodeSetChunkSize(payload))
	case TypeAbort:
		return asMessage(DecodeAbort(payload))
	case TypeAcknowledgement:
		return asMessage(DecodeAcknowledgement(payload))
	case TypeUserControl:
		return asMessage(DecodeUserControl(payload))
	case TypeWindowAckSize:
		return asMessage(DecodeWindowAckSize(payload))
	case TypeSetPeerBandwidth:
		return asMessage(DecodeSetPeerBandwidth(payload))
	case TypeCommandAMF0, TypeCommandAMF3:
		c, err := DecodeCommand(typeID, payload, limits)
		if err != nil && c.Name == "" {
			return nil, err
		}

		return c, err
	case TypeDataAMF0, TypeDataAMF3:
		return asMessage(DecodeData(typeID, payload, limits))
	case TypeSharedObjectAMF0, TypeSharedObjectAMF3:
		return asMessage(DecodeSharedObject(typeID, payload, limits))
	default:
		return nil, fmt.Errorf("%w: %d", ErrType, typeID)
	}
}

// asMessage keeps a zero message from travelling next to an error.
func asMessage[M Message](m M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}

	return m, nil
}

func short(typeID uint8, section string) error {
	return &ProtocolError{TypeID: typeID, Section: section, Err: io.ErrUnexpectedEOF}
}
