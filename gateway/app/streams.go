package app

import (
	"errors"

	"github.com/rs/zerolog"

	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// publisher is a publishing NetStream.
type publisher struct {
	*live.Publication
	ns  *rtmpcore.NetStream
	log zerolog.Logger
}

var errReplaced = errors.New("another publisher took the stream over")

// Replaced implements [live.Publisher].
func (p *publisher) Replaced() {
	p.ns.Conn().Kick(&rtmpcore.StatusError{
		Code:        message.StatusPublishBadName,
		Description: "Another publisher took the stream over.",
	}, errReplaced)
}

// Close implements [rtmpcore.Publication].
func (p *publisher) Close() {
	p.Publication.Close()
	p.log.Info().Msg("publishing ended")
}

// player is a playing NetStream.
type player struct {
	*live.Subscription
	ns  *rtmpcore.NetStream
	log zerolog.Logger

	late bool // its first dropped frames are in the log; guarded by the lock of its writer
}

func (p *player) notify(level, code, description string) {
	p.ns.Notify(message.Status{Level: level, Code: code, Description: description})
}

// Published implements [live.Player].
func (p *player) Published() {
	p.ns.StreamBegin()
	p.notify(message.LevelStatus, message.StatusPlayPublishNotify, "The stream is published now.")
}

// Unpublished implements [live.Player]. ffmpeg and librtmp end on it, Flash
// players wait for the stream to return.
func (p *player) Unpublished() {
	p.ns.StreamEOF()
	p.notify(message.LevelStatus, message.StatusPlayUnpublishNotify, "The stream is not published any more.")
}

// behind makes the message that tells the player that it lost frames. The log has the
// first ones, and at the end how many there were.
func (p *player) behind() *chunk.Message {
	if !p.late {
		p.late = true
		p.log.Warn().Str("setting", "limits.queue, limits.queue_time").Msg("player reads too slowly: frames are dropped")
	}
	return p.ns.StatusMessage(message.Status{
		Level:       message.LevelWarning,
		Code:        message.StatusPlayInsufficientBW,
		Description: "The connection is too slow for the stream: frames were dropped.",
	})
}

// Close implements [rtmpcore.Playback].
func (p *player) Close() {
	p.Subscription.Close()
	e := p.log.Info()
	if n := p.Dropped(); n > 0 {
		e.Uint64("dropped", n)
	}
	e.Msg("playing ended")
}
