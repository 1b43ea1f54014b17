package proxy

import (
	"context"
	"sync"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// playback is a backend's stream that a client plays.
type playback struct {
	*stream
	play rtmpcore.PlayRequest

	// owned by whoever reads
	batch  []*chunk.Message // to be written together
	last   chunk.Timestamp  // that the client was sent
	offset chunk.Timestamp  // added to the backend's
	joined bool             // offset is to be found with the next frame
	raised bool             // the client was told the largest chunk size
	sent   bool             // media has gone out

	mu sync.Mutex
	// guarded by mu
	line   *line
	closed bool
}

var _ interface {
	rtmpcore.Playback
	rtmpcore.Commander
} = (*playback)(nil)

// maxBatch is how many messages are written together at most.
const maxBatch = 64

// Play plays a backend's stream to a client. ok is false when no route takes it.
func (s *Session) Play(ns *rtmpcore.NetStream, req rtmpcore.PlayRequest) (p rtmpcore.Playback, ok bool, err error) {
	st := s.newStream(ns, req.Name, req.Query, UsePlay)
	if st == nil {
		return nil, false, nil
	}
	player := &playback{stream: st, play: req}
	player.ask = func(ctx context.Context, l *line) error { return l.leg.play(ctx, l.told.name(), player.play) }
	l, err := s.stream(player.stream)
	if err != nil {
		player.cancel()
		return nil, true, s.refused("play", message.StatusPlayFailed, player.route, err)
	}
	player.line = l
	player.begun("playing", l)
	return player, true, nil
}

// Start implements [rtmpcore.Playback].
func (p *playback) Start() {
	l := p.line
	l.before = p.flush
	p.reader.pass, p.reader.wait, p.reader.next = p.pass, p.yield, p.moved
	p.attend(l)
}

// moved returns where the playback goes on after a line has ended, nil when it has.
func (p *playback) moved(l *line, reason error) *line {
	_ = p.flush() // if that has failed, there is nowhere to go on
	if l = p.replace(l, reason); l != nil {
		l.before = p.flush
		p.joined = true
		p.session.log.Info().Str("route", p.route.Name).Str("backend", l.backend.cfg.URL()).Msg("playing goes on at a backend")
	}
	return l
}

// pass passes on what a backend sends. Before anything is waited for, all of it is with
// the client's connection.
func (p *playback) pass(l *line) error {
	for {
		m, err := l.ReadAny()
		if err != nil {
			return err
		}
		switch m.TypeID {
		case message.TypeAudio, message.TypeVideo, message.TypeDataAMF0, message.TypeDataAMF3:
			if m.StreamID != l.streamID {
				m.Release()
				continue
			}
			if p.media(m); len(p.batch) >= maxBatch {
				err = p.flush()
			}
		default:
			err = p.other(l, m)
			m.Release()
		}
		if err != nil {
			return err
		}
	}
}

// media adds a message to those that go out next.
func (p *playback) media(m *chunk.Message) {
	if p.joined && m.TypeID != message.TypeDataAMF0 && m.TypeID != message.TypeDataAMF3 {
		p.joined = false
		p.offset = 0
		if d := m.Timestamp.Sub(p.last); d < -maxBack || d > maxAhead {
			p.offset = p.last.Add(step).Add(-int32(m.Timestamp))
		}
	}
	m.Timestamp += p.offset
	if m.TypeID == message.TypeAudio || m.TypeID == message.TypeVideo {
		p.last = m.Timestamp
	}
	m.StreamID, m.Class = p.ns.ID(), chunk.ClassHeader // neither dropped nor moved: the backend does that
	if !p.raised && m.Len() > chunk.SegmentSize && m.Timestamp.NeedsExtendedTimestamp() {
		p.raised = true
		_ = p.flush() // what was gathered goes before; an error comes again
		p.ns.Writer().RaiseChunkSize(chunk.MaxChunkSize)
	}
	p.batch = append(p.batch, m)
}

// Where a stream goes on after its backend was lost, in milliseconds: a time that is
// near the last one is that of the same stream; any other follows the last one.
const (
	maxBack  = 10_000
	maxAhead = 60_000
	step     = 40
)

// yield comes before each wait for the backend.
func (p *playback) yield() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.relieve()
}

// flush writes what was gathered.
func (p *playback) flush() error {
	if len(p.batch) == 0 {
		return nil
	}
	err := p.ns.Writer().Send(p.batch...)
	clear(p.batch)
	p.batch = p.batch[:0]
	p.sent = p.sent || err == nil
	return err
}

// other passes on what is no media: events and statuses of the stream.
func (p *playback) other(l *line, m *chunk.Message) error {
	switch m.TypeID {
	case message.TypeUserControl, message.TypeCommandAMF0, message.TypeCommandAMF3:
	default:
		return nil
	}
	decoded, err := message.Decode(m.TypeID, m.Bytes(), p.session.router.cfg.AMF)
	if err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	switch d := decoded.(type) {
	case message.UserControl:
		if d.StreamID == l.streamID {
			p.ns.UserControl(d.Event)
		}
	case message.Command:
		if d.Name != message.NameOnStatus {
			return nil
		}
		for _, arg := range d.Args {
			if status, ok := message.ParseStatus(arg); ok {
				p.ns.Notify(status)
			}
		}
	}
	return nil
}

// replace finds another backend for a line that has ended, or ends the playback.
func (p *playback) replace(l *line, reason error) *line {
	p.mu.Lock()
	closed, may := p.closed, !p.sent || p.route.Reconnect > 0
	p.line = nil
	p.mu.Unlock()
	if closed || p.ns.Writer().Err() != nil { // the client's side has ended
		l.close()
		return nil
	}
	next, status := p.again(l, reason, may)
	if next == nil {
		if p.ctx.Err() == nil {
			if status == nil {
				status = &rtmpcore.StatusError{Code: message.StatusPlayFailed, Description: "The server behind this gateway is gone."}
			}
			p.ns.StreamEOF()
			p.ns.Notify(message.Status{Level: message.LevelStatus, Code: message.StatusPlayUnpublishNotify, Description: status.Description})
			p.session.lose(p.stream, status, reason)
		}
		return nil
	}
	p.mu.Lock()
	if closed = p.closed; !closed {
		p.line = next
	}
	p.mu.Unlock()
	if closed {
		next.close()
		return nil
	}
	return next
}

// Command implements [rtmpcore.Commander]: the backend pauses, seeks and selects, and
// its answers are passed on.
func (p *playback) Command(cmd message.Command) (handled bool) {
	p.mu.Lock()
	l := p.line
	p.mu.Unlock()
	if l != nil {
		_ = l.Client.Command(l.streamID, message.Command{Name: cmd.Name, TransactionID: cmd.TransactionID, Object: cmd.Object, Args: cmd.Args}) // whoever reads learns of it
	}
	return true
}

// Pause implements [rtmpcore.Playback]; see Command.
func (p *playback) Pause(bool) {}

// ReceiveAudio implements [rtmpcore.Playback]; see Command.
func (p *playback) ReceiveAudio(bool) {}

// ReceiveVideo implements [rtmpcore.Playback]; see Command.
func (p *playback) ReceiveVideo(bool) {}

// Close implements [rtmpcore.Playback].
func (p *playback) Close() {
	p.session.active.Add(-1)
	p.mu.Lock()
	l := p.line
	p.closed, p.line = true, nil
	p.mu.Unlock()
	p.cancel()
	if l != nil {
		l.close() // wakes whoever reads
	}
	p.reader.ended.Wait()
	p.session.log.Info().Str("app", p.session.req.App).Str("route", p.route.Name).Msg("playing ended")
}
