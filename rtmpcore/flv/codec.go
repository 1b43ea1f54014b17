package flv

import "fmt"

// Codec identifies an audio or video codec. Codecs with a FourCC, used by
// enhanced headers, have its four bytes as big-endian value; the older ones have
// small values that are ours. The legacy ids of H.264, AAC and MP3 are reported
// as their FourCC too, so that one codec has one value.
type Codec uint32

// Video codecs. The zero Codec is no codec, or one not known yet because the
// payload ends before it.
const (
	CodecAVC  Codec = 'a'<<24 | 'v'<<16 | 'c'<<8 | '1' // also legacy id 7
	CodecHEVC Codec = 'h'<<24 | 'v'<<16 | 'c'<<8 | '1' // also id 12, a widespread extension of Chinese encoders
	CodecVVC  Codec = 'v'<<24 | 'v'<<16 | 'c'<<8 | '1'
	CodecAV1  Codec = 'a'<<24 | 'v'<<16 | '0'<<8 | '1'
	CodecVP8  Codec = 'v'<<24 | 'p'<<16 | '0'<<8 | '8'
	CodecVP9  Codec = 'v'<<24 | 'p'<<16 | '0'<<8 | '9'

	CodecJPEG     = legacyVideo | 1
	CodecSorenson = legacyVideo | 2
	CodecScreen   = legacyVideo | 3
	CodecVP6      = legacyVideo | 4
	CodecVP6Alpha = legacyVideo | 5
	CodecScreen2  = legacyVideo | 6
)

// Audio codecs.
const (
	CodecAAC  Codec = 'm'<<24 | 'p'<<16 | '4'<<8 | 'a' // also legacy format 10
	CodecMP3  Codec = '.'<<24 | 'm'<<16 | 'p'<<8 | '3' // also legacy formats 2 and 14
	CodecOpus Codec = 'O'<<24 | 'p'<<16 | 'u'<<8 | 's'
	CodecFLAC Codec = 'f'<<24 | 'L'<<16 | 'a'<<8 | 'C'
	CodecAC3  Codec = 'a'<<24 | 'c'<<16 | '-'<<8 | '3'
	CodecEAC3 Codec = 'e'<<24 | 'c'<<16 | '-'<<8 | '3'

	CodecPCM          = legacyAudio // format 0, in the writer's byte order
	CodecADPCM        = legacyAudio | 1
	CodecPCMLE        = legacyAudio | 3 // little-endian
	CodecNellymoser16 = legacyAudio | 4
	CodecNellymoser8  = legacyAudio | 5
	CodecNellymoser   = legacyAudio | 6
	CodecG711A        = legacyAudio | 7
	CodecG711U        = legacyAudio | 8
	CodecSpeex        = legacyAudio | 11
	CodecDevice       = legacyAudio | 15
)

// Legacy ids have four bits, so that these never meet a FourCC of letters.
const (
	legacyVideo Codec = 0x100
	legacyAudio Codec = 0x200
)

// FourCC returns the four characters of the codec, and false when it has none.
func (c Codec) FourCC() (string, bool) {
	if c < 1<<24 {
		return "", false
	}

	return string([]byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)}), true
}

// String returns the codec's name for people, such as "H.264"; an unknown FourCC
// as it is, quoted; "none" for the zero Codec.
func (c Codec) String() string {
	if name, ok := names[c]; ok {
		return name
	}

	if fourCC, ok := c.FourCC(); ok {
		return fmt.Sprintf("%q", fourCC)
	}

	switch c &^ 0xF {
	case legacyVideo:
		return fmt.Sprintf("video codec %d", uint32(c&0xF))
	case legacyAudio:
		return fmt.Sprintf("audio format %d", uint32(c&0xF))
	default:
		return fmt.Sprintf("codec %#08x", uint32(c))
	}
}

var names = map[Codec]string{
	0:                 "none",
	CodecAVC:          "H.264",
	CodecHEVC:         "HEVC",
	CodecVVC:          "VVC",
	CodecAV1:          "AV1",
	CodecVP8:          "VP8",
	CodecVP9:          "VP9",
	CodecJPEG:         "JPEG",
	CodecSorenson:     "Sorenson H.263",
	CodecScreen:       "Screen Video",
	CodecVP6:          "VP6",
	CodecVP6Alpha:     "VP6 with alpha",
	CodecScreen2:      "Screen Video 2",
	CodecAAC:          "AAC",
	CodecMP3:          "MP3",
	CodecOpus:         "Opus",
	CodecFLAC:         "FLAC",
	CodecAC3:          "AC-3",
	CodecEAC3:         "E-AC-3",
	CodecPCM:          "PCM",
	CodecADPCM:        "ADPCM",
	CodecPCMLE:        "PCM",
	CodecNellymoser16: "Nellymoser",
	CodecNellymoser8:  "Nellymoser",
	CodecNellymoser:   "Nellymoser",
	CodecG711A:        "G.711 A-law",
	CodecG711U:        "G.711 mu-law",
	CodecSpeex:        "Speex",
	CodecDevice:       "device sound",
}
