package send

import (
	"sync/atomic"
	"time"

	"culvert/rtmpcore/chunk"
)

// SubscriberConfig describes one subscription.
type SubscriberConfig struct {
	StreamID uint32                // message stream ID at the player
	Behind   func() *chunk.Message // makes the message that tells the player that frames were dropped, or nil; may be nil
	Dropped  *atomic.Uint64        // counts dropped frames; may be nil

	// Server says that the peer is a server that is published to. Its chunk size is
	// never raised: nginx-rtmp ends connections that announce more than 10 MiB.
	Server bool
	// Data makes what the peer gets in place of a data message: a message of its own,
	// or nil to send the shared one. It may be nil.
	Data func(m *chunk.Message) *chunk.Message
}

// Subscriber is one player's subscription to a Fanout.
type Subscriber struct {
	w   *Writer
	cfg SubscriberConfig
	at  int // position in the Fanout; guarded by its lock

	// guarded by w.mu
	audio, video bool
	waitKey      bool // no video before the next keyframe
	lost         bool // because frames were dropped
	told         bool // the player was told of them, since the last keyframe
	dropped      uint64
}

// NewSubscriber returns a subscription that writes to w once it is added to a
// Fanout.
func NewSubscriber(w *Writer, cfg SubscriberConfig) *Subscriber {
	return &Subscriber{w: w, cfg: cfg, at: -1, audio: true, video: true}
}

// ReceiveAudio turns the player's audio on or off.
func (s *Subscriber) ReceiveAudio(on bool) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.audio = on
}

// ReceiveVideo turns the player's video on, from the next keyframe, or off.
func (s *Subscriber) ReceiveVideo(on bool) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.waitKey = s.waitKey || on && !s.video
	s.video = on
}

func (s *Subscriber) awaitKeyframe() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.waitKey, s.lost = true, false
}

// write brings a Fanout's pending messages to the player.
func (s *Subscriber) write(f *Fanout) {
	w := s.w
	w.mu.Lock()
	if s.takesAll() && (w.chunkSize == f.chunkSize || !f.split) && (s.cfg.Data == nil || !f.data) {
		w.put(f.iov, f.pending, f.bytes, s)
	} else {
		s.writeSome(f.pending)
	}
	_ = w.unlock() // its session sees the closed conn
}

// takesAll reports whether the shared bytes fit the player as they are.
func (s *Subscriber) takesAll() bool {
	return s.audio && s.video && !s.waitKey && !s.told && s.cfg.StreamID == sharedStreamID
}

// writeSome writes those messages that the player wants, as copies where the
// shared bytes do not fit.
func (s *Subscriber) writeSome(msgs []*chunk.Message) {
	sc := scratches.Get().(*scratch)
	size := 0
	for _, m := range msgs {
		if !s.wants(m) {
			continue
		}
		m = s.own(m)
		sc.msgs = append(sc.msgs, m)
		sc.iov = m.AppendWire(sc.iov)
		size += m.WireLen()
	}
	s.w.put(sc.iov, sc.msgs, size, s)
	sc.msgs = chunk.ReleaseAll(sc.msgs)
	sc.free()
}

// own returns the message as the player gets it, with a reference.
func (s *Subscriber) own(m *chunk.Message) *chunk.Message {
	var c *chunk.Message
	if s.cfg.Data != nil && isData(m) {
		c = s.cfg.Data(m)
	}
	switch {
	case c != nil:
		c.StreamID = s.cfg.StreamID
	case s.fits(m):
		return m.Retain()
	default:
		c = m.Clone(s.cfg.StreamID)
	}
	c.Encode(chunkStreamID(c.TypeID), s.w.chunkSize)
	return c
}

// isData reports whether a message is data: neither audio nor video.
func isData(m *chunk.Message) bool { return m.TypeID == typeDataAMF0 || m.TypeID == typeDataAMF3 }

// fits reports whether the player can read the message's shared bytes: they
// have its stream ID, and they are chunked by its chunk size.
func (s *Subscriber) fits(m *chunk.Message) bool {
	return s.cfg.StreamID == sharedStreamID &&
		(m.Len() <= chunk.SegmentSize || m.Interruptible() == (s.w.chunkSize == chunk.SegmentSize))
}

func (s *Subscriber) wants(m *chunk.Message) bool {
	switch m.Class {
	case chunk.ClassAudio:
		return s.audio
	case chunk.ClassKeyframe:
		if s.video {
			s.waitKey, s.lost, s.told = false, false, false
		}
		return s.video
	case chunk.ClassInterframe:
		if s.waitKey && s.lost {
			s.count(1)
		}
		return s.video && !s.waitKey
	default:
		return true
	}
}

// join writes the messages that bring a new player up to date. The queue's
// limit grows by them: they are there at once, however long they play.
func (s *Subscriber) join(burst []*chunk.Message, startable bool) {
	size := 0
	for _, m := range burst {
		size += m.WireLen()
	}
	w := s.w
	w.mu.Lock()
	if w.queue != nil {
		w.queue.allow += size
	}
	s.waitKey, s.lost = false, false
	behind := w.queue != nil
	s.writeSome(burst)
	if !behind && w.queue != nil {
		w.queue.allow = w.queue.bytes
	}
	s.waitKey = !startable
	_ = w.unlock() // its session sees the closed conn
}

// fellBehind notes that n frames were dropped from the queue, up to the next
// keyframe when waitKey says so, and tells the player once for each gap.
func (s *Subscriber) fellBehind(n int, waitKey bool) {
	s.count(n)
	if waitKey {
		s.waitKey, s.lost = true, true
	}
	if s.told || s.cfg.Behind == nil {
		return
	}
	s.told = true
	m := s.cfg.Behind()
	if m == nil {
		return
	}
	m.Encode(chunkStreamID(m.TypeID), s.w.chunkSize)
	s.w.queue.push(m, nil, time.Now())
	m.Release()
}

// raiseChunkSize announces the Fanout's chunk size to the player.
func (s *Subscriber) raiseChunkSize(size int) {
	if !s.cfg.Server {
		s.w.RaiseChunkSize(size)
	}
}

// Dropped returns the number of frames that the player did not get because it was too
// slow.
func (s *Subscriber) Dropped() uint64 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.dropped
}

func (s *Subscriber) count(n int) {
	s.dropped += uint64(n)
	if s.cfg.Dropped != nil {
		s.cfg.Dropped.Add(uint64(n))
	}
}
