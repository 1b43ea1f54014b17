package gateway

import (
	"errors"
	"io"
	"sync/atomic"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// Endings are the reasons for which the gateway itself ends RTMP connections,
// for the metrics.
const (
	endMessageLength = iota // limits.message, limits.command
	endChunkStreams         // limits.chunk_streams
	endPartial              // limits.partial
	endAMF                  // limits.amf_depth, limits.amf_values
	endName                 // a stream name without end
	endProtocol             // bytes that are no RTMP
	endRTMPE                // encryption, which is not served, or whose handshake is wrong
	endRTMPEBusy            // limits.rtmpe_handshakes
	endSWF                  // apps.NAME.swf, limits.swf_timeout
	endNoConnect            // limits.handshake_timeout
	endIdle                 // limits.idle_timeout
	endTooSlow              // limits.queue_close, and four times limits.queue_time
	endStalled              // limits.write_timeout
	endBackend              // no backend can be reached, or it was lost
	endTooLong              // max_time of a route
	numEndings
)

// endingNames are the labels of the endings.
var endingNames = [numEndings]string{
	"message_length", "chunk_streams", "partial_bytes", "amf", "stream_name", "protocol", "rtmpe", "rtmpe_handshakes", "swf", "handshake_timeout", "idle_timeout", "too_slow", "write_timeout",
	"backend", "max_time",
}

// endings counts them.
type endings [numEndings]atomic.Uint64

// endingOf returns the ending behind an error, or -1.
func endingOf(err error) int {
	var over *chunk.LimitError
	switch {
	case err == nil, err == io.EOF: //nolint:errorlint // by far the most frequent ones, without a search
		return -1
	case errors.Is(err, proxy.ErrNoBackend): // the causes behind it are not the client's
		return endBackend
	case errors.Is(err, proxy.ErrTooLong):
		return endTooLong
	case errors.As(err, &over):
		switch over.What {
		case chunk.LimitChunkStreams:
			return endChunkStreams
		case chunk.LimitPartial:
			return endPartial
		}
		return endMessageLength
	case errors.As(err, new(*amf.LimitError)):
		return endAMF
	case errors.Is(err, rtmpcore.ErrName):
		return endName
	case errors.As(err, new(*chunk.ProtocolError)), errors.As(err, new(*message.ProtocolError)), errors.As(err, new(*rtmpcore.ProtocolError)):
		return endProtocol
	case errors.Is(err, handshake.ErrRTMPE), errors.Is(err, handshake.ErrKey), errors.Is(err, handshake.ErrSignature):
		return endRTMPE
	case errors.Is(err, handshake.ErrBusy):
		return endRTMPEBusy
	case errors.Is(err, rtmpcore.ErrSWF):
		return endSWF
	case errors.Is(err, rtmpcore.ErrNoConnect):
		return endNoConnect
	case errors.Is(err, rtmpcore.ErrIdle):
		return endIdle
	case errors.Is(err, send.ErrTooSlow):
		return endTooSlow
	case errors.Is(err, send.ErrStalled):
		return endStalled
	}
	return -1
}
