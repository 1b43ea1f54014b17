package flv

// AudioPacketType is what an audio payload holds, E-RTMP v2 "ExAudioTagHeader".
// Legacy headers are translated to it. Values that are not listed are reported
// as they come.
type AudioPacketType uint8

// The packet types.
const (
	AudioSequenceStart      AudioPacketType = packetSequenceStart
	AudioCodedFrames        AudioPacketType = packetCodedFrames
	AudioSequenceEnd        AudioPacketType = packetSequenceEnd
	AudioMultichannelConfig AudioPacketType = 4
	AudioUnknown            AudioPacketType = packetUnknown
)

// AudioHeader is what the beginning of an audio payload tells, FLV 10.1 §E.4.2.1
// and E-RTMP v2 "ExAudioTagHeader":
//
//	legacy    format (4 bits) | rate (2 bits) | size (1 bit) | channels (1 bit)
//	          format 10: packet type (1)
//	enhanced  9 (4 bits) | packet type (4 bits) | modifiers | FourCC (4)
type AudioHeader struct {
	Enhanced   bool
	PacketType AudioPacketType
	// Codec is 0 when the tracks have a codec each, and for silence.
	Codec Codec
	// Silence is the meaning of an empty payload.
	Silence bool
	// SampleRate in Hz, Bits per sample and Channels as legacy headers have them,
	// 0 in enhanced ones. AAC is always marked 44,100 Hz stereo: its sequence
	// header tells the truth.
	SampleRate int
	Bits       int
	Channels   int
	// NanoOffset is added to the presentation time of this message, in
	// nanoseconds, at most 999,999.
	NanoOffset uint32
	// Multitrack payloads are laid out by Layout.
	Multitrack bool
	Layout     MultitrackType
	// Body is the offset of the media data, or of the first track if Multitrack;
	// at most the length of the payload.
	Body int
	// Truncated says that the payload ends before its header does. All Is methods
	// are then false.
	Truncated bool
}

// ParseAudio reads the header of an audio payload, of which b may be just the
// beginning. An empty payload is complete: it signals silence.
func ParseAudio(b []byte) AudioHeader {
	switch {
	case len(b) == 0:
		return AudioHeader{PacketType: AudioUnknown, Silence: true}
	case b[0]>>4 == 9:
		return parseEnhancedAudio(b)
	default:
		return parseLegacyAudio(b)
	}
}

func parseLegacyAudio(b []byte) AudioHeader {
	format := b[0] >> 4
	h := AudioHeader{
		PacketType: AudioCodedFrames,
		Codec:      legacyAudio | Codec(format),
		SampleRate: 44100 >> (3 - b[0]>>2&3), // 5512, 11025, 22050, 44100
		Bits:       8 << (b[0] >> 1 & 1),
		Channels:   1 + int(b[0]&1),
		Body:       1,
	}

	switch format {
	case 2:
		h.Codec = CodecMP3
	case 14: // MP3 at 8 kHz
		h.Codec = CodecMP3
		h.SampleRate = 8000
	case 4, 11: // Nellymoser at 16 kHz, Speex
		h.SampleRate = 16000
		h.Channels = 1
	case 5: // Nellymoser at 8 kHz
		h.SampleRate = 8000
		h.Channels = 1
	case 10:
		h.Codec = CodecAAC
		h.aacPacketType(b)
	}

	return h
}

func (h *AudioHeader) aacPacketType(b []byte) {
	if len(b) < 2 {
		h.PacketType = AudioUnknown
		h.Truncated = true

		return
	}

	h.Body = 2

	h.PacketType = AudioPacketType(b[1])
	if h.PacketType > AudioCodedFrames {
		h.PacketType = AudioUnknown
	}
}

func parseEnhancedAudio(b []byte) AudioHeader {
	e := enhanced{packetType: b[0] & 0x0F}

	if at := e.skipModEx(b, 1); !e.truncated {
		e.readCodec(b, at, packetAudioMultitrack)
	}

	return AudioHeader{
		Enhanced:   true,
		PacketType: AudioPacketType(e.packetType),
		Codec:      e.codec,
		NanoOffset: e.nanoOffset,
		Multitrack: e.multitrack,
		Layout:     e.layout,
		Body:       e.body,
		Truncated:  e.truncated,
	}
}

// IsSequenceHeader tells whether the payload sets up the decoder, so that later
// players need it first.
func (h AudioHeader) IsSequenceHeader() bool {
	return !h.Truncated && h.PacketType == AudioSequenceStart
}

// IsSequenceEnd tells whether no more frames follow until the next sequence
// header.
func (h AudioHeader) IsSequenceEnd() bool {
	return !h.Truncated && h.PacketType == AudioSequenceEnd
}

// IsMultichannelConfig tells whether the payload maps channels to speakers.
// Later players need the latest one, after the sequence header.
func (h AudioHeader) IsMultichannelConfig() bool {
	return !h.Truncated && h.PacketType == AudioMultichannelConfig
}

// IsFrame tells whether the payload holds coded sound.
func (h AudioHeader) IsFrame() bool {
	return !h.Truncated && h.PacketType == AudioCodedFrames
}

// Tracks returns an iterator over the tracks of b, the payload that h was read
// from. A payload that is not multitrack has one, with ID 0; silence and
// truncated headers have none.
func (h AudioHeader) Tracks(b []byte) TrackIterator {
	return TrackIterator{
		rest:   b[min(h.Body, len(b)):],
		first:  Track{Codec: h.Codec},
		layout: h.Layout,
		multi:  h.Multitrack,
		done:   h.Truncated || h.Silence,
	}
}

// TrackSet returns the IDs of the tracks in b, as far as b goes.
func (h AudioHeader) TrackSet(b []byte) TrackSet { return trackSet(h.Tracks(b)) }
