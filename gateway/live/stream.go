package live

import (
	"sync"
	"sync/atomic"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// Stream is one live stream.
type Stream struct {
	// set at construction
	hub  *Hub
	key  Key
	opts Options

	users int          // guarded by hub.mu
	size  atomic.Int32 // players that messages are written to

	mu sync.Mutex
	// guarded by mu
	publication *Publication
	fanout      *send.Fanout
	players     map[*Subscription]struct{}
	audience    int    // subscriptions that are no relays, playing or about to
	wantedBy    Source // the first of them
	cache       cache
	video       flv.Codec
	audio       flv.Codec
	width       int
	height      int
	bytes       uint64
	last        chunk.Timestamp // of the last message
	lastAt      time.Time       // when the last publisher left; zero before
}

func newStream(hub *Hub, key Key, opts Options) *Stream {
	s := &Stream{hub: hub, key: key, opts: opts, players: make(map[*Subscription]struct{})}
	s.fanout = send.NewFanout(opts.Gather, &s.mu)
	s.cache.limit = opts.GOPCache
	return s
}

func (s *Stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fanout.Close()
	s.cache.clear()
}

func (s *Stream) published() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publication != nil
}

// admit counts a player in, unless there is nothing to play and it does not wait.
func (s *Stream) admit(req Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !req.Wait && s.publication == nil {
		return false
	}
	if req.Relay {
		return true
	}
	if s.audience++; s.audience == 1 {
		s.wantedBy = req.Source
		s.want()
	}
	return true
}

// want tells the watcher that players wait for a publisher, if they do.
func (s *Stream) want() {
	if s.opts.Watch != nil && s.audience > 0 && s.publication == nil {
		s.opts.Watch.Wanted(s.key, s.wantedBy)
	}
}

func (s *Stream) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := Info{Key: s.key, Live: s.publication != nil, Players: make(map[string]int)}
	for sub := range s.players {
		if !sub.relay {
			info.Players[sub.source.Transport]++
		}
	}
	if p := s.publication; p != nil {
		info.Source, info.Since, info.Bytes = p.source, p.since, s.bytes
		info.Width, info.Height = s.width, s.height
		if s.video != 0 {
			info.VideoCodec = s.video.String()
		}
		if s.audio != 0 {
			info.AudioCodec = s.audio.String()
		}
	}
	return info
}

// publish makes p the publisher and returns the one it replaces, if any.
func (s *Stream) publish(p *Publication, takeover bool) (old *Publication, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.publication
	if old != nil {
		if !takeover {
			return nil, false
		}
		s.reset()
	}
	s.publication = p
	if s.opts.Watch != nil {
		s.opts.Watch.Published(s.key, p.source)
	}
	if old == nil {
		for sub := range s.players {
			sub.player.Published()
		}
	}
	return old, true
}

// unpublish ends p's publication, if it is the present one.
func (s *Stream) unpublish(p *Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != p {
		return
	}
	s.publication = nil
	s.reset()
	for sub := range s.players {
		sub.player.Unpublished()
	}
	if s.opts.Watch != nil {
		s.opts.Watch.Unpublished(s.key)
		s.want()
	}
}

// interrupt makes players wait for p's next keyframe, on a time line that is new to p
// and goes on for them.
func (s *Stream) interrupt(p *Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != p {
		return
	}
	received := s.bytes
	s.reset()
	s.bytes, p.started = received, false
}

// reset forgets what belongs to the publisher that goes. Players stay and go on
// with the next one's first keyframe.
func (s *Stream) reset() {
	s.fanout.Flush()
	s.fanout.AwaitKeyframe()
	s.cache.clear()
	s.video, s.audio, s.width, s.height, s.bytes = 0, 0, 0, 0, 0
	s.lastAt = time.Now()
}

// write takes over a message of the publisher's.
func (s *Stream) write(p *Publication, m *chunk.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != p {
		m.Release()
		return ErrReplaced
	}
	s.bytes += uint64(m.Len())
	switch m.TypeID {
	case message.TypeAudio:
		s.stamp(p, m)
		s.writeAudio(m)
	case message.TypeVideo:
		s.stamp(p, m)
		s.writeVideo(m)
	default:
		s.writeData(p, m)
	}
	return nil
}

// stamp puts audio or video on the stream's time line.
func (s *Stream) stamp(p *Publication, m *chunk.Message) {
	if !p.started {
		p.started = true
		p.offset = s.continuation(m.Timestamp)
	}
	m.Timestamp += p.offset
	s.last = m.Timestamp
}

// continuation returns what to add to a publisher's timestamps so that, for
// players that stayed from the publisher before, time goes on.
func (s *Stream) continuation(first chunk.Timestamp) chunk.Timestamp {
	if s.lastAt.IsZero() || len(s.players) == 0 {
		return 0
	}
	gap := time.Since(s.lastAt).Milliseconds() + 1
	return s.last + chunk.Timestamp(gap) - first
}

func (s *Stream) writeAudio(m *chunk.Message) {
	head := m.Head()
	h := flv.ParseAudio(head)
	if h.Codec != 0 {
		s.audio = h.Codec
	}
	m.Class = chunk.ClassAudio
	if h.IsSequenceHeader() || h.IsMultichannelConfig() {
		m.Class = chunk.ClassHeader
	}
	s.forward(m)
	if m.Class == chunk.ClassHeader {
		s.cache.headers.Keep(m, send.HeaderKind{Audio: true, Extra: h.IsMultichannelConfig()}, h.TrackSet(head))
	}
	m.Release()
}

func (s *Stream) writeVideo(m *chunk.Message) {
	head := m.Head()
	h := flv.ParseVideo(head)
	if h.Codec != 0 {
		s.video = h.Codec
	}
	tracks := h.TrackSet(head)
	switch {
	case h.IsSequenceHeader(), h.IsMetadata():
		m.Class = chunk.ClassHeader
	case h.IsKeyframe() && tracks.Has(0):
		m.Class = chunk.ClassKeyframe
		s.cache.keyframe(m.Timestamp)
	case h.IsFrame():
		m.Class = chunk.ClassInterframe
	default:
		m.Class = chunk.ClassOrdered
	}
	s.forward(m)
	if m.Class == chunk.ClassHeader {
		s.cache.headers.Keep(m, send.HeaderKind{Extra: h.IsMetadata()}, tracks)
	}
	m.Release()
}

func (s *Stream) writeData(p *Publication, m *chunk.Message) {
	d := readData(m)
	at := m.Timestamp + p.offset
	m.Release()
	if !p.started {
		at = s.last // the publisher's time line is not known yet
	}
	if d.msg != nil {
		d.msg.Timestamp = at
		s.forward(d.msg)
	}
	if d.metadata {
		s.cache.headers.Metadata(d.msg) // nil: cleared
		s.width, s.height = d.width, d.height
	}
	if d.msg != nil {
		d.msg.Release()
	}
}

// forward sends a message to the players and keeps it for those to come. The
// caller keeps its reference.
func (s *Stream) forward(m *chunk.Message) {
	s.fanout.Write(m.Retain())
	s.cache.append(m)
}

// join adds a player: first what brings it up to date, then what is live.
func (s *Stream) join(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.players[sub] = struct{}{}
	burst := s.cache.burst(s.fanout, s.last)
	s.fanout.Add(sub.sub, burst, s.cache.open)
	s.size.Add(1)
	sub.joined = true
}

// leave removes a player.
func (s *Stream) leave(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sub)
}

// drop stops writing to a player. The caller holds mu.
func (s *Stream) drop(sub *Subscription) {
	if sub.joined {
		s.fanout.Remove(sub.sub)
		s.size.Add(-1)
		sub.joined = false
	}
}

// forget removes a player for good.
func (s *Stream) forget(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sub)
	delete(s.players, sub)
	if sub.relay {
		return
	}
	if s.audience--; s.audience == 0 && s.opts.Watch != nil {
		s.opts.Watch.Unwanted(s.key)
	}
}
