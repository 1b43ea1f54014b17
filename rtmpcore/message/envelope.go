package message

import (
	"encoding/binary"
	"math"
	"slices"
)

// Envelope is the beginning of a command, which is all that must be known to pass it on
// (RTMP 1.0 §7.2): the rest may be values that nobody here can read.
//
//	[0x00]  type 17 only
//	0x02 length(2) name
//	0x00 transaction ID(8)
type Envelope struct {
	Name          string
	TransactionID float64

	at int // where the transaction ID begins in the payload
}

// ReadEnvelope reads the beginning of a command. ok is false when it is not of AMF0, or
// there is no transaction ID.
func ReadEnvelope(typeID uint8, payload []byte) (e Envelope, ok bool) {
	const marker, number, text = 1, 0, 2
	b := withoutFormat(typeID, payload)
	if len(b) < marker+2 || b[0] != text {
		return Envelope{}, false
	}
	n := int(binary.BigEndian.Uint16(b[marker:]))
	b = b[marker+2:]
	if len(b) < n+marker+8 || b[n] != number {
		return Envelope{}, false
	}
	rest := b[n+marker:]
	e.Name, e.at = string(b[:n]), len(payload)-len(rest)
	e.TransactionID = math.Float64frombits(binary.BigEndian.Uint64(rest))
	return e, true
}

// Readdress returns a copy of the command's payload with another transaction ID.
func (e Envelope) Readdress(payload []byte, transactionID float64) []byte {
	out := slices.Clone(payload)
	binary.BigEndian.PutUint64(out[e.at:], math.Float64bits(transactionID))
	return out
}
