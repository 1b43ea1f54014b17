package flv

// FrameType is the kind of a video frame, FLV 10.1 §E.4.3.1. Other values are
// reserved and reported as they come.
type FrameType uint8

// The frame types.
const (
	FrameKey          FrameType = 1
	FrameInter        FrameType = 2
	FrameDisposable   FrameType = 3 // no other frame needs it
	FrameGeneratedKey FrameType = 4 // a keyframe made by a server
	FrameCommand      FrameType = 5 // no frame, see VideoHeader.Command
)

// VideoPacketType is what a video payload holds, E-RTMP "ExVideoTagHeader".
// Legacy headers are translated to it. Values that are not listed are reported
// as they come.
type VideoPacketType uint8

// The packet types.
const (
	VideoSequenceStart VideoPacketType = packetSequenceStart
	VideoCodedFrames   VideoPacketType = packetCodedFrames
	VideoSequenceEnd   VideoPacketType = packetSequenceEnd
	VideoCodedFramesX  VideoPacketType = 3 // coded frames with a composition time of 0
	VideoMetadata      VideoPacketType = 4 // AMF name and value: colorInfo
	VideoMPEG2TSStart  VideoPacketType = 5 // sequence start in the form of MPEG-2 TS
	VideoUnknown       VideoPacketType = packetUnknown
)

// Values of VideoHeader.Command.
const (
	CommandSeekStart = 0 // what follows leads up to the place sought
	CommandSeekEnd   = 1 // the place sought has been reached
)

// VideoHeader is what the beginning of a video payload tells, FLV 10.1 §E.4.3.1
// and E-RTMP "ExVideoTagHeader":
//
//	legacy    0 | frame type (3 bits) | codec id (4 bits)
//	          id 7 and 12: packet type (1) | composition time (3)
//	enhanced  1 | frame type (3 bits) | packet type (4 bits) | modifiers | FourCC (4)
//	          | composition time (3), for coded frames of some codecs
type VideoHeader struct {
	Enhanced   bool
	FrameType  FrameType
	PacketType VideoPacketType
	// Codec is 0 when the tracks have a codec each.
	Codec Codec
	// Command is what a payload of type FrameCommand says; such a payload has no
	// codec, packet type or body, unless it is metadata.
	Command uint8
	// CompositionTime is what to add to the timestamp for presentation, in
	// milliseconds; 0 in multitrack payloads, whose tracks have their own.
	CompositionTime int32
	// NanoOffset is added to the presentation time of this message, in
	// nanoseconds, at most 999,999.
	NanoOffset uint32
	// Multitrack payloads are laid out by Layout.
	Multitrack bool
	Layout     MultitrackType
	// Body is the offset of the media data, or of the first track if Multitrack;
	// at most the length of the payload.
	Body int
	// Truncated says that the payload ends before its header does, as the empty
	// one does. All Is methods are then false.
	Truncated bool
}

// ParseVideo reads the header of a video payload, of which b may be just the
// beginning.
func ParseVideo(b []byte) VideoHeader {
	switch {
	case len(b) == 0:
		return VideoHeader{PacketType: VideoUnknown, Truncated: true}
	case b[0]&0x80 != 0:
		return parseEnhancedVideo(b)
	default:
		return parseLegacyVideo(b)
	}
}

func parseLegacyVideo(b []byte) VideoHeader {
	id := b[0] & 0x0F
	h := VideoHeader{
		FrameType:  FrameType(b[0] >> 4),
		PacketType: VideoCodedFrames,
		Codec:      legacyVideo | Codec(id),
		Body:       1,
	}

	switch id {
	case 7:
		h.Codec = CodecAVC
	case 12:
		h.Codec = CodecHEVC
	}

	if h.FrameType == FrameCommand {
		h.command(b, 1)

		return h
	}

	if !hasCompositionTime(h.Codec) {
		return h
	}

	if len(b) < 2 {
		h.PacketType = VideoUnknown
		h.Truncated = true

		return h
	}

	h.PacketType = VideoPacketType(b[1])
	if h.PacketType > VideoSequenceEnd {
		h.PacketType = VideoUnknown
	}

	h.Body = 2
	h.composition(b)

	return h
}

func parseEnhancedVideo(b []byte) VideoHeader {
	e := enhanced{packetType: b[0] & 0x0F}
	frame := FrameType(b[0] >> 4 & 0x07)
	at := e.skipModEx(b, 1)
	command := frame == FrameCommand && e.packetType != uint8(VideoMetadata)

	if !e.truncated && !command {
		e.readCodec(b, at, packetVideoMultitrack)
	}

	h := VideoHeader{
		Enhanced:   true,
		FrameType:  frame,
		PacketType: VideoPacketType(e.packetType),
		Codec:      e.codec,
		NanoOffset: e.nanoOffset,
		Multitrack: e.multitrack,
		Layout:     e.layout,
		Body:       e.body,
		Truncated:  e.truncated,
	}

	switch {
	case h.Truncated:
	case command:
		h.command(b, at)
	case !h.Multitrack && h.PacketType == VideoCodedFrames && hasCompositionTime(h.Codec):
		h.composition(b)
	}

	return h
}

// hasCompositionTime tells whether coded frames of c begin with one.
func hasCompositionTime(c Codec) bool {
	return c == CodecAVC || c == CodecHEVC || c == CodecVVC
}

func (h *VideoHeader) command(b []byte, at int) {
	h.Codec = 0
	h.PacketType = VideoUnknown
	h.Body = min(at+1, len(b))

	if at < len(b) {
		h.Command = b[at]
	} else {
		h.Truncated = true
	}
}

// composition reads the composition time at Body. Writers leave it out at the
// end of a sequence.
func (h *VideoHeader) composition(b []byte) {
	if h.Body+3 > len(b) {
		h.Body = len(b)

		return
	}

	h.CompositionTime = int24(b[h.Body:])
	h.Body += 3
}

// IsSequenceHeader tells whether the payload sets up the decoder, so that later
// players need it first.
func (h VideoHeader) IsSequenceHeader() bool {
	return !h.Truncated && (h.PacketType == VideoSequenceStart || h.PacketType == VideoMPEG2TSStart)
}

// IsSequenceEnd tells whether no more frames follow until the next sequence
// header.
func (h VideoHeader) IsSequenceEnd() bool {
	return !h.Truncated && h.PacketType == VideoSequenceEnd
}

// IsMetadata tells whether the payload describes the picture, such as its colour
// space. Later players need the latest one, after the sequence header.
func (h VideoHeader) IsMetadata() bool {
	return !h.Truncated && h.PacketType == VideoMetadata
}

// IsFrame tells whether the payload holds coded frames.
func (h VideoHeader) IsFrame() bool {
	return !h.Truncated && h.FrameType != FrameCommand &&
		(h.PacketType == VideoCodedFrames || h.PacketType == VideoCodedFramesX)
}

// IsKeyframe tells whether decoding of the payload's tracks can start here.
// Sequence headers are no keyframes though marked as such on the wire. Which
// tracks start tells TrackSet: a GOP of the stream begins where track 0 does.
func (h VideoHeader) IsKeyframe() bool {
	return h.IsFrame() && (h.FrameType == FrameKey || h.FrameType == FrameGeneratedKey)
}

// IsDisposable tells whether no other frame needs this one.
func (h VideoHeader) IsDisposable() bool {
	return h.IsFrame() && h.FrameType == FrameDisposable
}

// Tracks returns an iterator over the tracks of b, the payload that h was read
// from. A payload that is not multitrack has one, with ID 0; commands and
// truncated headers have none.
func (h VideoHeader) Tracks(b []byte) TrackIterator {
	return TrackIterator{
		rest:   b[min(h.Body, len(b)):],
		first:  Track{Codec: h.Codec, CompositionTime: h.CompositionTime},
		layout: h.Layout,
		multi:  h.Multitrack,
		timed:  h.PacketType == VideoCodedFrames,
		done:   h.Truncated || h.FrameType == FrameCommand && !h.IsMetadata(),
	}
}

// TrackSet returns the IDs of the tracks in b, as far as b goes.
func (h VideoHeader) TrackSet(b []byte) TrackSet { return trackSet(h.Tracks(b)) }
