package proxy

import (
	"bytes"
	"context"
	"sync"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// highWater is how many bytes may wait for a side that takes less than it is sent:
// beyond, the other side is not read.
const highWater = 256 << 10

// flushTime bounds the goodbye to a backend.
const flushTime = time.Second

// Pauses between attempts to find a lost stream's backend again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// publication is a client's stream that is published at a backend.
type publication struct {
	*stream
	kind string // live, record, append

	mu sync.Mutex
	// guarded by mu
	line    *line // nil: lost
	closed  bool
	sent    bool         // media has gone out
	waiting bool         // for a frame that a new backend can begin with
	video   bool         // there is some
	kept    send.Headers // what a further backend would need
}

// Publish publishes a client's stream at a backend. ok is false when no route takes it.
func (s *Session) Publish(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (p rtmpcore.Publication, ok bool, err error) {
	st := s.newStream(ns, req.Name, req.Query, UsePublish)
	if st == nil {
		return nil, false, nil
	}
	pub := &publication{stream: st, kind: req.Type}
	pub.ask = func(ctx context.Context, l *line) error { return l.publish(ctx, l.told.name(), pub.kind) }
	l, err := s.stream(pub.stream)
	if err != nil {
		pub.cancel()
		return nil, true, s.refused("publish", message.StatusStreamFailed, pub.route, err)
	}
	pub.line = l
	pub.begun("publishing", l)
	pub.reader.pass, pub.reader.wait, pub.reader.next = pub.listen, pub.relieve, pub.moved
	pub.attend(l)
	return pub, true, nil
}

// Light reports whether a message can be passed on without waiting.
func (p *publication) Light() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line == nil || p.line.Writer().Queued() == 0
}

// WriteMessage implements [rtmpcore.Publication]. It waits while the backend takes
// less than the client sends, but never where Light has just said that it does not.
func (p *publication) WriteMessage(m *chunk.Message) error {
	p.mu.Lock()
	if l := p.line; l != nil && l.Writer().Queued() > highWater {
		p.mu.Unlock()
		_ = l.Flush(p.ctx) // it ends when the connection does, or its write timeout
		p.mu.Lock()
	}
	frame, key := p.look(m)
	l := p.line
	if l == nil {
		p.mu.Unlock()
		m.Release()
		return nil
	}
	if p.waiting {
		if frame && (key || !p.video) {
			p.waiting = false
			p.replay(l, m.Timestamp)
		} else {
			p.mu.Unlock()
			m.Release()
			return nil
		}
	}
	p.sent = p.sent || frame
	p.mu.Unlock()
	m.StreamID, m.Class = l.streamID, chunk.ClassHeader // neither dropped nor moved
	_ = l.Send(m)                                       // listen learns of it
	return nil
}

// look keeps what a further backend would need, and says what a message is.
func (p *publication) look(m *chunk.Message) (frame, key bool) {
	head := m.Head()
	switch m.TypeID {
	case message.TypeVideo:
		h := flv.ParseVideo(head)
		switch {
		case h.IsSequenceHeader():
			p.video = true
			p.kept.Keep(m, send.HeaderKind{}, h.TrackSet(head))
		case h.IsMetadata():
			p.kept.Keep(m, send.HeaderKind{Extra: true}, h.TrackSet(head))
		default:
			frame, key = h.IsFrame(), h.IsKeyframe()
			p.video = p.video || frame
		}
	case message.TypeAudio:
		h := flv.ParseAudio(head)
		switch {
		case h.IsSequenceHeader(), h.IsMultichannelConfig():
			p.kept.Keep(m, send.HeaderKind{Audio: true, Extra: h.IsMultichannelConfig()}, h.TrackSet(head))
		default:
			frame = h.IsFrame()
		}
	default:
		if bytes.Contains(head[:min(len(head), 64)], []byte(message.NameOnMetaData)) {
			p.kept.Metadata(m)
		}
	}
	return frame, key
}

// replay sends what was kept, at the time of the frame that follows.
func (p *publication) replay(l *line, at chunk.Timestamp) {
	kept := p.kept.Append(nil)
	again := make([]*chunk.Message, 0, len(kept))
	for _, k := range kept {
		m := k.Clone(l.streamID)
		m.Timestamp, m.Class = at, chunk.ClassHeader
		again = append(again, m)
	}
	chunk.ReleaseAll(kept)
	_ = l.Send(again...) // listen learns of it
}

// moved returns where the publication goes on after a line has ended, nil when it has.
func (p *publication) moved(l *line, reason error) *line {
	if l = p.replace(l, reason); l != nil {
		p.session.log.Info().Str("route", p.route.Name).Str("backend", l.backend.cfg.URL()).Msg("publishing goes on at a backend")
	}
	return l
}

// listen reads what the backend says.
func (p *publication) listen(l *line) error {
	for {
		m, err := l.ReadMessage()
		if err != nil {
			return err
		}
		m.Release() // nobody asked for media
	}
}

// replace finds another backend for a line that has ended, or ends the publication.
func (p *publication) replace(l *line, reason error) *line {
	p.mu.Lock()
	closed, may := p.closed, !p.sent || p.route.Reconnect > 0
	p.line = nil
	p.mu.Unlock()
	if closed {
		l.close()
		return nil
	}
	next, status := p.again(l, reason, may)
	if next == nil {
		if p.ctx.Err() == nil {
			if status == nil {
				status = &rtmpcore.StatusError{Code: message.StatusStreamFailed, Description: "The server behind this gateway is gone."}
			}
			p.session.lose(p.stream, status, reason)
		}
		return nil
	}
	p.mu.Lock()
	if closed = p.closed; !closed {
		p.line, p.waiting = next, true
		if !p.sent {
			p.waiting = false
			p.replay(next, 0)
		}
	}
	p.mu.Unlock()
	if closed {
		next.close()
		return nil
	}
	return next
}

// again frees a line that has ended and finds another one for its stream, if it may.
func (st *stream) again(l *line, reason error, may bool) (*line, *rtmpcore.StatusError) {
	st.former = l.backend
	backend := l.backend
	l.close()
	if status := statusOf(reason); status != nil {
		return nil, status // the backend has decided
	}
	backend.fail(time.Now(), reason)
	if !may {
		return nil, nil
	}
	limit, pause := time.Now().Add(st.route.Reconnect), firstPause
	for {
		next, err := st.session.open(st.ctx, st, st.ask)
		if err == nil {
			st.session.router.reconnected.Add(1)
			return next, nil
		}
		if st.ctx.Err() != nil || !time.Now().Add(pause).Before(limit) {
			return nil, statusOf(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-st.ctx.Done():
			timer.Stop()
			return nil, nil
		}
		pause = min(2*pause, lastPause)
	}
}

// Close implements [rtmpcore.Publication].
func (p *publication) Close() {
	p.session.active.Add(-1)
	p.mu.Lock()
	l := p.line
	p.closed, p.line = true, nil
	p.kept.Clear()
	p.mu.Unlock()
	if l != nil {
		l.goodbye(p.ctx, l.told.name())
		l.close()
	}
	p.cancel()
	p.reader.ended.Wait()
	p.session.log.Info().Str("app", p.session.req.App).Str("route", p.route.Name).Msg("publishing ended")
}
