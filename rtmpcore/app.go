package rtmpcore

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Handler is the server's side of connect.
type Handler interface {
	// Connect decides on a client's connect command. A *[StatusError] refuses
	// it and is told to the client.
	Connect(nc *NetConn, req *ConnectRequest) (Session, error)
}

// Session is one client's connection to an application. Its methods are called
// by the connection's goroutine, one at a time. If it has a method Close, that is
// called when the connection has ended.
type Session interface {
	// Publish decides on a publish command. A *[StatusError] refuses it.
	Publish(ns *NetStream, req PublishRequest) (Publication, error)
	// Play decides on a play command. A *[StatusError] refuses it. Media may
	// flow only after Playback.Start.
	Play(ns *NetStream, req PlayRequest) (Playback, error)
}

// Publication takes what a client publishes.
type Publication interface {
	// WriteMessage takes over a reference to an audio, video or data message. An
	// error ends the connection.
	WriteMessage(m *chunk.Message) error
	// Close ends the publication.
	Close()
}

// Playback is a stream being played to a client.
type Playback interface {
	// Start begins to send, after the client was told that play succeeded.
	Start()
	// Pause stops sending, or goes on at the live edge.
	Pause(paused bool)
	// ReceiveAudio and ReceiveVideo turn a kind of media on or off.
	ReceiveAudio(on bool)
	ReceiveVideo(on bool)
	// Close ends the playback.
	Close()
}

// Commander is an ability of a Playback: it obeys commands of the player itself
// (pause, pauseRaw, seek, receiveAudio, receiveVideo) and has them answered.
type Commander interface {
	// Command reports whether the command was taken. If not, it is obeyed as for any
	// other Playback.
	Command(cmd message.Command) (handled bool)
}

// PublishRequest is a publish command (RTMP 1.0 §7.2.2.6).
type PublishRequest struct {
	Name  string // stream name without its query
	Query string // what followed the name after "?"
	Type  string // "live", "record", "append", "appendWithGap"
}

// PlayRequest is a play command (RTMP 1.0 §7.2.2.1).
type PlayRequest struct {
	Name  string // stream name without its query
	Query string // what followed the name after "?"
	// Start is where to begin, in milliseconds; below zero it says what may be
	// played: PlayLive, or PlayAny.
	Start    float64
	Duration float64 // milliseconds; below zero: to the end
	Reset    bool    // replaces what was played
}

// Values of PlayRequest.Start. On the wire they are in milliseconds (ffmpeg,
// librtmp, Flash Player) or in seconds (the specification's text).
const (
	PlayAny  = -2000 // live, or recorded when nothing is live
	PlayLive = -1000 // live only
)
