package rtmpcore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// maxName is the longest stream name with its query, in bytes.
const maxName = 4096

// command runs one command; typeID is the message type it came in.
func (nc *NetConn) command(typeID uint8, streamID uint32, cmd message.Command) error {
	nc.cfg.Log.Debug().Str("command", cmd.Name).Uint32("msid", streamID).Msg("command")
	if !nc.connected {
		if cmd.Name != "connect" {
			return protocolErrorf("%s before connect", cmd.Name)
		}
		nc.commandType = typeID
		return nc.connect(cmd)
	}
	if nc.check.holds(cmd.Name) {
		return nc.hold(typeID, streamID, cmd)
	}
	switch cmd.Name {
	case "createStream":
		return nc.createStream(cmd)
	case "deleteStream":
		return nc.deleteStream(cmd)
	case "releaseStream":
		return nc.result(cmd, amf.Undefined{})
	case "FCPublish":
		return nc.fcAnswer(cmd, "onFCPublish", message.StatusPublishStart)
	case "FCUnpublish":
		return nc.fcUnpublish(cmd)
	case "FCSubscribe":
		return nc.fcAnswer(cmd, "onFCSubscribe", message.StatusPlayStart)
	case "FCUnsubscribe":
		return nc.fcAnswer(cmd, "onFCUnsubscribe", message.StatusPlayStop)
	case "getStreamLength":
		return nc.result(cmd, 0.0) // live
	case "_checkbw":
		return nc.result(cmd, amf.Undefined{})
	case "publish", "play", "pause", "pauseRaw", "seek", "receiveAudio", "receiveVideo", "closeStream":
		return nc.streamCommand(streamID, cmd)
	case message.NameResult, message.NameError, message.NameOnStatus, "setPeerInfo", "secureTokenResponse", "NetStream.Authenticate.UsherToken":
		return nil
	}
	return nc.unknown(cmd)
}

// unknown answers a command that nobody serves, if an answer is waited for.
func (nc *NetConn) unknown(cmd message.Command) error {
	if cmd.TransactionID == 0 {
		return nil
	}
	return nc.failed(cmd, message.StatusCallFailed, fmt.Sprintf("Method not found (%.100s).", cmd.Name))
}

// result answers a command with _result.
func (nc *NetConn) result(cmd message.Command, values ...any) error {
	if cmd.TransactionID == 0 {
		return nil
	}
	return nc.answer(0, nc.reply(message.NameResult, cmd.TransactionID, nil, values...))
}

// failed answers a command with _error.
func (nc *NetConn) failed(cmd message.Command, code, description string) error {
	status := message.Status{Level: message.LevelError, Code: code, Description: description}
	return nc.answer(0, nc.reply(message.NameError, cmd.TransactionID, nil, status.Object()))
}

// reply makes a command of the family that the client uses.
func (nc *NetConn) reply(name string, transactionID float64, object any, args ...any) message.Command {
	return message.Command{
		Name:          name,
		TransactionID: transactionID,
		Object:        object,
		Args:          args,
		AMF3:          nc.commandType == message.TypeCommandAMF3,
	}
}

func (nc *NetConn) onStatus(status message.Status) message.Command {
	return nc.reply(message.NameOnStatus, 0, nil, status.Object())
}

// connect answers in the order of Adobe's server: window, bandwidth, chunk size,
// StreamBegin 0, result.
func (nc *NetConn) connect(cmd message.Command) error {
	object, ok := amf.AsObject(cmd.Object)
	if !ok {
		return protocolErrorf("connect without a command object")
	}
	req := parseConnect(object, cmd.Args)
	session, err := nc.handler.Connect(nc, req)
	var status *StatusError
	if errors.As(err, &status) {
		nc.verdict = err
		return nc.failed(cmd, status.Code, status.Description)
	}
	if err != nil {
		return err
	}
	nc.session, nc.connected = session, true
	if err := nc.setDeadline(time.Time{}); err != nil {
		return err
	}
	err = errors.Join(
		nc.answer(0, message.WindowAckSize{Size: windowSize}),
		nc.answer(0, message.SetPeerBandwidth{Size: windowSize, Limit: message.LimitDynamic}),
		nc.answer(0, message.SetChunkSize{Size: chunk.SegmentSize}),
		nc.answer(0, message.UserControl{Event: message.EventStreamBegin}),
		nc.askSWF(),
		nc.answer(0, connectResult{nc.commandType == message.TypeCommandAMF3, cmd.TransactionID, req.Enhanced}),
	)
	if r, ok := session.(Relayer); ok && err == nil {
		err = nc.flush()
		r.Opened()
	}
	return err
}

// createStream gives out the lowest free message stream ID.
func (nc *NetConn) createStream(cmd message.Command) error {
	if len(nc.streams) >= nc.cfg.Streams {
		return nc.failed(cmd, message.StatusCallFailed, fmt.Sprintf("This connection has %d streams already.", len(nc.streams)))
	}
	id := uint32(1)
	for nc.stream(id) != nil {
		id++
	}
	nc.mu.Lock()
	nc.streams = append(nc.streams, &NetStream{nc: nc, id: id})
	nc.mu.Unlock()
	return nc.result(cmd, float64(id))
}

func (nc *NetConn) deleteStream(cmd message.Command) error {
	id, _ := argument[float64](cmd, 0)
	for i, ns := range nc.streams {
		if float64(ns.id) == id {
			ns.end()
			nc.mu.Lock()
			nc.streams = append(nc.streams[:i:i], nc.streams[i+1:]...)
			nc.mu.Unlock()
			return nil
		}
	}
	return nil
}

// fcAnswer answers one of the commands with which Flash Media Live Encoder and
// its likes announce a stream: _result, and a command with the stream's name.
func (nc *NetConn) fcAnswer(cmd message.Command, event, code string) error {
	name, _ := argument[string](cmd, 0)
	name, _ = splitName(name)
	status := message.Status{Level: message.LevelStatus, Code: code, Description: name}
	return errors.Join(
		nc.result(cmd, amf.Undefined{}),
		nc.answer(0, nc.reply(event, 0, nil, status.Object())),
	)
}

func (nc *NetConn) fcUnpublish(cmd message.Command) error {
	name, _ := argument[string](cmd, 0)
	name, _ = splitName(name)
	for _, ns := range nc.streams {
		if ns.publication != nil && ns.name == name {
			ns.end()
		}
	}
	return nc.fcAnswer(cmd, "onFCUnpublish", message.StatusUnpublishSuccess)
}

// streamCommand runs a command on a NetStream.
func (nc *NetConn) streamCommand(streamID uint32, cmd message.Command) error {
	ns := nc.stream(streamID)
	if ns == nil {
		return nc.enqueue(streamID, nc.onStatus(message.Status{
			Level:       message.LevelError,
			Code:        message.StatusStreamFailed,
			Description: fmt.Sprintf("%s on message stream %d, which createStream did not give out.", cmd.Name, streamID),
		}), chunk.ClassOrdered)
	}
	switch cmd.Name {
	case "pause", "pauseRaw", "receiveAudio", "receiveVideo", "seek":
		if c, ok := ns.playback.(Commander); ok && c.Command(cmd) {
			return nil
		}
	}
	switch cmd.Name {
	case "publish":
		return ns.publishCommand(cmd)
	case "play":
		return ns.playCommand(cmd)
	case "pause", "pauseRaw":
		paused, _ := argument[bool](cmd, 0)
		return ns.pause(paused)
	case "receiveAudio":
		on, _ := argument[bool](cmd, 0)
		return ns.receive(func(on bool) { ns.playback.ReceiveAudio(on) }, on)
	case "receiveVideo":
		on, _ := argument[bool](cmd, 0)
		return ns.receive(func(on bool) { ns.playback.ReceiveVideo(on) }, on)
	case "seek":
		return ns.answer(message.LevelError, message.StatusSeekFailed, "A live stream has no position to seek to.")
	default: // closeStream
		if ns.publication != nil {
			return ns.unpublish()
		}
		ns.end()
		return nil
	}
}

func (ns *NetStream) publishCommand(cmd message.Command) error {
	if on, ok := argument[bool](cmd, 0); ok && !on {
		return ns.unpublish()
	}
	name, ok := argument[string](cmd, 0)
	if !ok {
		return ns.refuse(&StatusError{Code: message.StatusPublishBadName, Description: "The stream name is missing.", Close: true})
	}
	if len(name) > maxName {
		return ns.refuseName(message.StatusPublishBadName)
	}
	req := PublishRequest{Type: "live"}
	req.Name, req.Query = splitName(name)
	if kind, ok := argument[string](cmd, 1); ok && kind != "" {
		req.Type = kind
	}
	return ns.publish(req)
}

func (ns *NetStream) playCommand(cmd message.Command) error {
	if on, ok := argument[bool](cmd, 0); ok && !on {
		ns.end()
		return ns.answer(message.LevelStatus, message.StatusPlayStop, "Stopped playing stream.")
	}
	name, ok := argument[string](cmd, 0)
	if !ok {
		return ns.refuse(&StatusError{Code: message.StatusPlayStreamNotFound, Description: "The stream name is missing."})
	}
	if len(name) > maxName {
		return ns.refuseName(message.StatusPlayStreamNotFound)
	}
	req := PlayRequest{Start: PlayAny, Duration: -1, Reset: true}
	req.Name, req.Query = splitName(name)
	if start, ok := argument[float64](cmd, 1); ok {
		req.Start = playStart(start)
	}
	if duration, ok := argument[float64](cmd, 2); ok {
		req.Duration = duration
	}
	switch reset := cmd.Arg(3).(type) {
	case bool:
		req.Reset = reset
	case float64:
		req.Reset = reset != 0
	}
	return ns.play(req)
}

// playStart reads the start argument of play, whose special values come in
// milliseconds or in seconds.
func playStart(v float64) float64 {
	switch v {
	case -2:
		return PlayAny
	case -1:
		return PlayLive
	}
	return v
}

// refuse tells the client why a command was refused and, if the refusal says so,
// ends the connection once it has been told.
func (ns *NetStream) refuse(err error) error {
	var status *StatusError
	if !errors.As(err, &status) {
		return err
	}
	if status.Close {
		ns.nc.verdict = err
	}
	return ns.answer(message.LevelError, status.Code, status.Description)
}

// refuseName refuses a name that is longer than maxName.
func (ns *NetStream) refuseName(code string) error {
	return ns.refuse(fmt.Errorf("%w: %w", ErrName, &StatusError{Code: code, Description: "The stream name is too long.", Close: true}))
}

func argument[T any](cmd message.Command, i int) (T, bool) {
	v, ok := cmd.Arg(i).(T)
	return v, ok
}

// Flush waits until the client's connection has taken all that was sent. Any
// goroutine may call it.
func (nc *NetConn) Flush(ctx context.Context) error { return nc.writer.Flush(ctx) }
