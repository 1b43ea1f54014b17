package flv

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// TagType is the type of a tag in a file; the same numbers as the type IDs of
// RTMP messages.
type TagType uint8

// The tag types. Others are reserved and read as they come.
const (
	TagAudio      TagType = 8
	TagVideo      TagType = 9
	TagScriptAMF3 TagType = 15 // E-RTMP v2
	TagScript     TagType = 18 // AMF0: onMetaData and the like
)

const (
	fileHeaderSize = 9
	tagHeaderSize  = 11
	backPointer    = 4 // size of the field behind each tag: the tag's size

	// MaxTagSize is the most that a tag can hold, in bytes.
	MaxTagSize = 1<<24 - 1

	flagVideo    = 0x01
	flagAudio    = 0x04
	filteredFlag = 0x20
	typeMask     = 0x1F
)

// Errors of Reader and Writer.
var (
	// ErrFormat: the file does not begin as an FLV file does.
	ErrFormat = errors.New("not an FLV file")
	// ErrTagSize: a tag above the limit of the reader or writer.
	ErrTagSize = errors.New("tag too large")
)

// Header is the header of a file, FLV 10.1 §E.2:
//
//	"FLV" | version (1) | flags (1) | size of this header (4) | 0 (4)
type Header struct {
	// Version is 1. Writers need not set it.
	Version uint8
	// Audio and Video say what to expect. Many writers get them wrong.
	Audio bool
	Video bool
}

// Tag is one tag of a file, FLV 10.1 §E.4.1:
//
//	type (1) | data size (3) | timestamp (3) | its upper byte (1) | stream ID, 0 (3)
//	| data | size of all that (4)
type Tag struct {
	Type TagType
	// Timestamp in milliseconds, modulo 2^32.
	Timestamp uint32
	// Filtered tags, the encrypted ones, begin with a filter header (FLV 10.1,
	// annex F), which is part of Data.
	Filtered bool
	// Data is the payload, as in an RTMP message.
	Data []byte
}

// AppendHeader appends the header of a file, with the back pointer of 0 that
// comes before the first tag: 13 bytes.
func AppendHeader(dst []byte, h Header) []byte {
	var flags byte
	if h.Audio {
		flags |= flagAudio
	}

	if h.Video {
		flags |= flagVideo
	}

	return append(dst, 'F', 'L', 'V', max(h.Version, 1), flags, 0, 0, 0, fileHeaderSize, 0, 0, 0, 0)
}

// AppendTagHeader appends the 11 bytes that come before size bytes of data, for
// writers that send the data from where it is. size is at most MaxTagSize.
func AppendTagHeader(dst []byte, typ TagType, timestamp uint32, size int) []byte {
	return append(dst,
		byte(typ),
		byte(size>>16), byte(size>>8), byte(size),
		byte(timestamp>>16), byte(timestamp>>8), byte(timestamp), byte(timestamp>>24),
		0, 0, 0,
	)
}

// AppendTagEnd appends the 4 bytes that come after size bytes of data.
func AppendTagEnd(dst []byte, size int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(tagHeaderSize+size))
}

// AppendTag appends all of t. The error is ErrTagSize.
func AppendTag(dst []byte, t Tag) ([]byte, error) {
	if err := checkSize(len(t.Data), MaxTagSize); err != nil {
		return dst, err
	}

	typ := t.Type & typeMask
	if t.Filtered {
		typ |= filteredFlag
	}

	dst = AppendTagHeader(dst, typ, t.Timestamp, len(t.Data))
	dst = append(dst, t.Data...)

	return AppendTagEnd(dst, len(t.Data)), nil
}

func checkSize(size, limit int) error {
	if size > limit {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTagSize, size, limit)
	}

	return nil
}
