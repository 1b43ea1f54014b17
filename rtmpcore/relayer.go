package rtmpcore

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Relayer is an ability of a Session: it passes on what is not served here. Its methods
// are called by the connection's goroutine.
type Relayer interface {
	// Opened says that the client has been told that its connect succeeded.
	Opened()
	// Relay is given a command that NetConnection and NetStream do not know, or that
	// has but an empty answer here; an answer; or a shared object's message, which has
	// an empty Envelope. It may wait, and reports whether the message was taken. The
	// message remains the caller's.
	Relay(m *chunk.Message, cmd message.Envelope) (taken bool)
}

// relay offers a message to the session.
func (nc *NetConn) relay(m *chunk.Message) (taken bool) {
	r, ok := nc.session.(Relayer)
	if !ok {
		return false
	}
	if isSharedObject(m.TypeID) {
		return r.Relay(m, message.Envelope{})
	}
	cmd, ok := message.ReadEnvelope(m.TypeID, m.Bytes())
	return ok && !serves(cmd.Name) && !nc.check.holds(cmd.Name) && r.Relay(m, cmd)
}

// serves reports whether a command is this side's own business in any session.
func serves(name string) bool {
	switch name {
	case "connect", "createStream", "deleteStream", "closeStream", "close", "releaseStream",
		"FCPublish", "FCUnpublish", "FCSubscribe", "FCUnsubscribe",
		"publish", "play", "pause", "pauseRaw", "seek", "receiveAudio", "receiveVideo", message.NameOnStatus:
		return true
	}
	return false
}

func isSharedObject(typeID uint8) bool {
	return typeID == message.TypeSharedObjectAMF0 || typeID == message.TypeSharedObjectAMF3
}

// Hushed reports whether the client publishes over a transport on which it must not be
// sent what it did not ask for. Any goroutine may call it.
func (nc *NetConn) Hushed() bool { return nc.quiet && nc.has(publishes) }
