package live

import (
	"sync"

	"culvert/rtmpcore/send"
)

// Subscription is a player's hold on a stream. Its methods are for one
// goroutine.
type Subscription struct {
	stream *Stream
	player Player
	source Source
	relay  bool // see Request.Relay
	sub    *send.Subscriber
	closed sync.Once

	joined bool // guarded by stream.mu
}

// Start begins to send: what brings the player up to date, then what is live.
func (s *Subscription) Start() { s.stream.join(s) }

// Pause stops sending, or goes on at the live edge, from the last keyframe.
func (s *Subscription) Pause(paused bool) {
	s.stream.leave(s)
	if !paused {
		s.stream.join(s)
	}
}

// ReceiveAudio turns the player's audio on or off.
func (s *Subscription) ReceiveAudio(on bool) { s.sub.ReceiveAudio(on) }

// ReceiveVideo turns the player's video on, from the next keyframe, or off.
func (s *Subscription) ReceiveVideo(on bool) { s.sub.ReceiveVideo(on) }

// Dropped returns the number of frames that the player was too slow for.
func (s *Subscription) Dropped() uint64 { return s.sub.Dropped() }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.closed.Do(func() {
		s.stream.forget(s)
		s.stream.hub.release(s.stream)
	})
}
