package message

import (
	"encoding/binary"
	"fmt"
)

// Chunk sizes in bytes, RTMP 1.0 §5.4.1.
const (
	// DefaultChunkSize holds in both directions until Set Chunk Size changes it.
	DefaultChunkSize = 128
	// MaxChunkSize is the largest that makes a difference, as no message is
	// longer. Larger ones are legal; whoever applies one uses this instead.
	MaxChunkSize = 0xFFFFFF
)

// SetChunkSize announces the size of the chunks that follow, RTMP 1.0 §5.4.1:
//
//	0 (1 bit) | size (31 bits)
type SetChunkSize struct {
	Size uint32 // in bytes, 1 to 0x7FFFFFFF
}

// Abort drops the message begun on a chunk stream, RTMP 1.0 §5.4.2:
//
//	chunk stream ID (4)
type Abort struct {
	ChunkStreamID uint32
}

// Acknowledgement tells how many bytes have been received so far, modulo 2^32,
// RTMP 1.0 §5.4.3:
//
//	sequence number (4)
type Acknowledgement struct {
	SequenceNumber uint32
}

// WindowAckSize announces how many bytes the sender sends between two
// acknowledgements, RTMP 1.0 §5.4.4:
//
//	size (4)
type WindowAckSize struct {
	Size uint32
}

// Limit is the kind of a SetPeerBandwidth.
type Limit uint8

// The limit types. Others are kept as they come; RTMP 1.0 does not name any.
const (
	LimitHard    Limit = 0
	LimitSoft    Limit = 1 // the smaller of the new and the old limit
	LimitDynamic Limit = 2 // hard if the last one was hard, else to be ignored
)

// SetPeerBandwidth limits how much the peer sends without acknowledgement, RTMP
// 1.0 §5.4.5:
//
//	size (4) | limit type (1)
type SetPeerBandwidth struct {
	Size  uint32
	Limit Limit
}

const (
	sectionSetChunkSize     = "5.4.1"
	sectionAbort            = "5.4.2"
	sectionAcknowledgement  = "5.4.3"
	sectionWindowAckSize    = "5.4.4"
	sectionSetPeerBandwidth = "5.4.5"
)

// DecodeSetChunkSize decodes the payload of type 1. Sizes of 0 and above
// 0x7FFFFFFF are ErrValue.
func DecodeSetChunkSize(payload []byte) (SetChunkSize, error) {
	size, err := uint32At(payload, TypeSetChunkSize, sectionSetChunkSize)
	if err != nil {
		return SetChunkSize{}, err
	}

	m := SetChunkSize{Size: size}

	return m, m.check()
}

func (m SetChunkSize) check() error {
	if m.Size == 0 || m.Size > 0x7FFFFFFF {
		return &ProtocolError{
			TypeID: TypeSetChunkSize, Section: sectionSetChunkSize,
			Err: fmt.Errorf("%w: chunk size %d", ErrValue, m.Size),
		}
	}

	return nil
}

// TypeID returns 1.
func (SetChunkSize) TypeID() uint8 { return TypeSetChunkSize }

// AppendPayload implements Message. Sizes that cannot be decoded are ErrValue.
func (m SetChunkSize) AppendPayload(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}

	return binary.BigEndian.AppendUint32(dst, m.Size), nil
}

// DecodeAbort decodes the payload of type 2.
func DecodeAbort(payload []byte) (Abort, error) {
	id, err := uint32At(payload, TypeAbort, sectionAbort)

	return Abort{ChunkStreamID: id}, err
}

// TypeID returns 2.
func (Abort) TypeID() uint8 { return TypeAbort }

// AppendPayload implements Message; there is no error.
func (m Abort) AppendPayload(dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, m.ChunkStreamID), nil
}

// DecodeAcknowledgement decodes the payload of type 3.
func DecodeAcknowledgement(payload []byte) (Acknowledgement, error) {
	n, err := uint32At(payload, TypeAcknowledgement, sectionAcknowledgement)

	return Acknowledgement{SequenceNumber: n}, err
}

// TypeID returns 3.
func (Acknowledgement) TypeID() uint8 { return TypeAcknowledgement }

// AppendPayload implements Message; there is no error.
func (m Acknowledgement) AppendPayload(dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, m.SequenceNumber), nil
}

// DecodeWindowAckSize decodes the payload of type 5.
func DecodeWindowAckSize(payload []byte) (WindowAckSize, error) {
	size, err := uint32At(payload, TypeWindowAckSize, sectionWindowAckSize)

	return WindowAckSize{Size: size}, err
}

// TypeID returns 5.
func (WindowAckSize) TypeID() uint8 { return TypeWindowAckSize }

// AppendPayload implements Message; there is no error.
func (m WindowAckSize) AppendPayload(dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, m.Size), nil
}

// DecodeSetPeerBandwidth decodes the payload of type 6.
func DecodeSetPeerBandwidth(payload []byte) (SetPeerBandwidth, error) {
	if len(payload) < 5 {
		return SetPeerBandwidth{}, short(TypeSetPeerBandwidth, sectionSetPeerBandwidth)
	}

	return SetPeerBandwidth{Size: binary.BigEndian.Uint32(payload), Limit: Limit(payload[4])}, nil
}

// TypeID returns 6.
func (SetPeerBandwidth) TypeID() uint8 { return TypeSetPeerBandwidth }

// AppendPayload implements Message; there is no error.
func (m SetPeerBandwidth) AppendPayload(dst []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst, m.Size), byte(m.Limit)), nil
}

func uint32At(payload []byte, typeID uint8, section string) (uint32, error) {
	if len(payload) < 4 {
		return 0, short(typeID, section)
	}

	return binary.BigEndian.Uint32(payload), nil
}
