package flv

import "encoding/binary"

// MultitrackType tells how the tracks of one payload are laid out, E-RTMP v2
// "Multitrack Streaming".
type MultitrackType uint8

// The layouts. Values above are reserved and reported as they come; such a
// payload has no tracks that can be told apart.
const (
	OneTrack             MultitrackType = iota // one track, its body runs to the end
	ManyTracks                                 // each track has a size, all have one codec
	ManyTracksManyCodecs                       // each track has a codec and a size
)

// Packet types that audio and video have in common.
const (
	packetSequenceStart = 0
	packetCodedFrames   = 1
	packetSequenceEnd   = 2
	packetModEx         = 7

	packetAudioMultitrack = 5
	packetVideoMultitrack = 6

	// packetUnknown is none of the wire's, which have four bits.
	packetUnknown = 0xFF
)

const (
	modExNanoOffset = 0
	maxNanoOffset   = 999_999
)

// enhanced is what the headers of both kinds share.
type enhanced struct {
	packetType byte
	codec      Codec
	nanoOffset uint32
	multitrack bool
	layout     MultitrackType
	body       int // offset of the body, or of the first track
	truncated  bool
}

// skipModEx reads the packet modifiers that begin at offset at, and returns the
// packet type after them and where what follows begins.
//
//	size-1 (1) | if that is 255: size-1 (2) | data (size) | type (4 bits) | packet type (4 bits)
func (e *enhanced) skipModEx(b []byte, at int) int {
	for e.packetType == packetModEx {
		if at >= len(b) {
			return e.cut(b)
		}

		size := int(b[at]) + 1
		at++

		if size == 256 {
			if at+2 > len(b) {
				return e.cut(b)
			}

			size = int(binary.BigEndian.Uint16(b[at:])) + 1
			at += 2
		}

		if at+size >= len(b) {
			return e.cut(b)
		}

		data, next := b[at:at+size], b[at+size]
		at += size + 1

		if next>>4 == modExNanoOffset && size >= 3 {
			e.nanoOffset = min(uint24(data), maxNanoOffset)
		}

		e.packetType = next & 0x0F
	}

	return at
}

// readCodec reads what precedes the body: the layout of the tracks, if there are
// several, and the codec they share.
func (e *enhanced) readCodec(b []byte, at int, multitrack byte) {
	if e.packetType == multitrack {
		if at >= len(b) {
			e.cut(b)

			return
		}

		e.multitrack = true
		e.layout = MultitrackType(b[at] >> 4)
		e.packetType = b[at] & 0x0F
		at++

		if e.layout == ManyTracksManyCodecs {
			e.body = at

			return
		}
	}

	if at+4 > len(b) {
		e.cut(b)

		return
	}

	e.codec = Codec(binary.BigEndian.Uint32(b[at:]))
	e.body = at + 4
}

func (e *enhanced) cut(b []byte) int {
	e.truncated = true
	e.body = len(b)

	return len(b)
}

func uint24(b []byte) uint32 {
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

// int24 reads a two's complement number.
func int24(b []byte) int32 {
	return int32(uint24(b)<<8) >> 8
}
