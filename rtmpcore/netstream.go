package rtmpcore

import (
	"errors"
	"sync/atomic"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// NetStream is one message stream of a connection: what createStream gave the
// client, to publish or to play.
type NetStream struct {
	nc *NetConn
	id uint32

	// owned by Serve
	publication Publication
	playback    Playback
	name        string
	light       func() bool // of the publication; nil: it is not light

	use atomic.Uint32 // what it is used for, for other goroutines
}

// Values of NetStream.use.
const (
	unused uint32 = iota
	publishes
	plays
)

// ID returns the message stream ID.
func (ns *NetStream) ID() uint32 { return ns.id }

// Conn returns the stream's connection.
func (ns *NetStream) Conn() *NetConn { return ns.nc }

// Writer returns the sending side of the stream's connection.
func (ns *NetStream) Writer() *send.Writer { return ns.nc.writer }

func (ns *NetStream) active() bool { return ns.use.Load() != unused }

// Notify sends an onStatus behind all that was sent before. A publisher on a
// quiet transport is told only of errors, which end it. Any goroutine may call
// it.
func (ns *NetStream) Notify(status message.Status) {
	if ns.nc.quiet && ns.use.Load() == publishes && status.Level != message.LevelError {
		return
	}
	ns.send(ns.StatusMessage(status))
}

// StreamEOF tells the player that no more media will come for now. Any goroutine
// may call it.
func (ns *NetStream) StreamEOF() { ns.UserControl(message.EventStreamEOF) }

// StreamBegin tells the player that media will come. Any goroutine may call it.
func (ns *NetStream) StreamBegin() { ns.UserControl(message.EventStreamBegin) }

// UserControl sends an event of the stream: StreamBegin, StreamEOF, StreamDry or
// StreamIsRecorded. Any goroutine may call it.
func (ns *NetStream) UserControl(event message.Event) { ns.send(ns.userControl(event)) }

func (ns *NetStream) userControl(event message.Event) *chunk.Message {
	var buf []byte
	m, err := encode(&buf, 0, message.UserControl{Event: event, StreamID: ns.id}, chunk.ClassOrdered)
	if err != nil {
		return nil
	}
	return m
}

func (ns *NetStream) send(m *chunk.Message) {
	if m != nil {
		_ = ns.nc.writer.Send(m) // a failed Writer closes the conn, which ends Serve
	}
}

// StatusMessage returns an onStatus for this stream as a message with one
// reference, nil if it cannot be encoded. Any goroutine may call it.
func (ns *NetStream) StatusMessage(status message.Status) *chunk.Message {
	var buf []byte
	m, err := encode(&buf, ns.id, ns.nc.onStatus(status), chunk.ClassOrdered)
	if err != nil {
		return nil
	}
	return m
}

// goodbye tells the client that the stream ends because the server does.
func (ns *NetStream) goodbye() {
	switch ns.use.Load() {
	case plays:
		ns.StreamEOF()
		ns.Notify(message.Status{Level: message.LevelStatus, Code: message.StatusPlayUnpublishNotify, Description: "The server is shutting down."})
		ns.Notify(message.Status{Level: message.LevelStatus, Code: message.StatusPlayStop, Description: "The server is shutting down."})
	case publishes:
		ns.Notify(message.Status{Level: message.LevelError, Code: message.StatusConnectAppShutdown, Description: "The server is shutting down."})
	}
}

// end ends what the stream is used for.
func (ns *NetStream) end() {
	ns.use.Store(unused)
	if p := ns.publication; p != nil {
		ns.publication = nil
		if t, ok := ns.nc.conn.(publishing); ok {
			t.SetPublishing(false)
		}
		p.Close()
	}
	if p := ns.playback; p != nil {
		ns.playback = nil
		p.Close()
	}
}

// answer queues an onStatus among the answers to the command in hand.
func (ns *NetStream) answer(level, code, description string) error {
	return ns.nc.enqueue(ns.id, ns.nc.onStatus(message.Status{Level: level, Code: code, Description: description}), chunk.ClassOrdered)
}

func (ns *NetStream) publish(req PublishRequest) error {
	ns.end()
	if req.Name == "" {
		return ns.refuse(&StatusError{
			Code:        message.StatusPublishBadName,
			Description: "The stream name is empty: publish to rtmp://HOST/APP/NAME.",
			Close:       true,
		})
	}
	p, err := ns.nc.session.Publish(ns, req)
	if err != nil {
		return ns.refuse(err)
	}
	ns.publication, ns.name, ns.light = p, req.Name, nil
	if l, ok := p.(lightweight); ok {
		ns.light = l.Light
	}
	ns.use.Store(publishes)
	ns.nc.reader.ExpectMedia(true)
	err = errors.Join(
		ns.nc.answer(0, message.UserControl{Event: message.EventStreamBegin, StreamID: ns.id}),
		ns.answer(message.LevelStatus, message.StatusPublishStart, "Started publishing stream."),
		ns.nc.flush(),
	)
	if t, ok := ns.nc.conn.(publishing); ok {
		t.SetPublishing(true) // after the answers, which it must not hurry on
	}
	return err
}

// unpublish ends the publication on the client's wish.
func (ns *NetStream) unpublish() error {
	if ns.publication == nil {
		return nil
	}
	ns.end()
	return ns.answer(message.LevelStatus, message.StatusUnpublishSuccess, "Stopped publishing stream.")
}

func (ns *NetStream) play(req PlayRequest) error {
	ns.end()
	if req.Name == "" {
		return ns.refuse(&StatusError{Code: message.StatusPlayStreamNotFound, Description: "The stream name is empty: play rtmp://HOST/APP/NAME."})
	}
	p, err := ns.nc.session.Play(ns, req)
	if err != nil {
		return ns.refuse(err)
	}
	ns.playback, ns.name = p, req.Name
	ns.use.Store(plays)
	if err := ns.playAnswers(req); err != nil {
		return err
	}
	if err := ns.nc.flush(); err != nil {
		return err
	}
	p.Start()
	return nil
}

// playAnswers queues the answers to play in the order of RTMP 1.0 §7.2.2.1.
func (ns *NetStream) playAnswers(req PlayRequest) error {
	nc := ns.nc
	err := nc.answer(0, message.UserControl{Event: message.EventStreamBegin, StreamID: ns.id})
	if err == nil && req.Reset {
		err = ns.answer(message.LevelStatus, message.StatusPlayReset, "Playing and resetting stream.")
	}
	if err == nil {
		err = ns.answer(message.LevelStatus, message.StatusPlayStart, "Started playing stream.")
	}
	if err == nil {
		err = nc.enqueue(ns.id, message.Data{Name: "|RtmpSampleAccess", Values: []any{true, true}}, chunk.ClassOrdered)
	}
	if err == nil {
		err = nc.enqueue(ns.id, message.Data{
			Name:   "onStatus",
			Values: []any{amf.Object{{Key: "code", Value: message.StatusDataStart}}},
		}, chunk.ClassOrdered)
	}
	return err
}

func (ns *NetStream) pause(paused bool) error {
	if ns.playback == nil {
		return nil
	}
	if paused {
		ns.playback.Pause(true)
		if err := ns.nc.answer(0, message.UserControl{Event: message.EventStreamEOF, StreamID: ns.id}); err != nil {
			return err
		}
		return ns.answer(message.LevelStatus, message.StatusPauseNotify, "Paused stream.")
	}
	err := ns.nc.answer(0, message.UserControl{Event: message.EventStreamBegin, StreamID: ns.id})
	if err == nil {
		err = ns.answer(message.LevelStatus, message.StatusUnpauseNotify, "Resumed stream.")
	}
	if err == nil {
		err = ns.nc.flush()
	}
	if err == nil {
		ns.playback.Pause(false)
	}
	return err
}

// receive turns a kind of media on or off; only "on" is answered (RTMP 1.0
// §7.2.2.4).
func (ns *NetStream) receive(set func(on bool), on bool) error {
	if ns.playback == nil {
		return nil
	}
	if !on {
		set(false)
		return nil
	}
	err := ns.answer(message.LevelStatus, message.StatusSeekNotify, "Receiving.")
	if err == nil {
		err = ns.answer(message.LevelStatus, message.StatusPlayStart, "Started playing stream.")
	}
	if err == nil {
		err = ns.nc.flush()
	}
	set(true)
	return err
}
