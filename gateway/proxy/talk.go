package proxy

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// talkWait is how long a client's calls wait for a stream to decide about their backend.
const talkWait = 2 * time.Second

// talk is what a client says beside its streams while no backend is there to hear it. Its
// fields are guarded by the session's mu.
type talk struct {
	early      []*chunk.Message // what waits for a backend, the oldest first
	earlyBytes int
	releasing  bool          // early is being passed on: what comes now is behind it
	seeking    bool          // seek runs
	found      chan struct{} // closed when there is a line
	closed     bool
	seekers    sync.WaitGroup
}

// wait keeps a message until there is a line for it, and has one sought. taken is false when
// the message is for the gateway itself, full when there is no room for it. mu is held.
func (s *Session) wait(m *chunk.Message) (taken, full bool) {
	if s.talk.closed || s.common == nil && s.local && !s.uses(m) {
		return false, false
	}
	if len(s.talk.early) == maxHeld || s.talk.earlyBytes+m.Len() > maxHeldBytes {
		return true, true
	}
	s.talk.early = append(s.talk.early, chunk.NewMessage(m.TypeID, m.StreamID, m.Timestamp, m.Bytes()))
	s.talk.earlyBytes += m.Len()
	s.seekLine()
	return true, false
}

// seekLine has a line sought, unless that is under way. mu is held.
func (s *Session) seekLine() {
	if s.talk.seeking || s.talk.closed {
		return
	}
	found, patience := make(chan struct{}), s.patience()
	s.talk.seeking, s.talk.found = true, found
	s.talk.seekers.Go(func() { s.seek(found, patience) }) // stopped by the end of the session's context; waited by Close
}

// seek waits for a stream that brings a line, and makes one without a stream if none comes.
func (s *Session) seek(found <-chan struct{}, pause time.Duration) {
	var limit time.Time
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-found:
			found = nil
		case <-s.ctx.Done():
		}
		timer.Stop()
		route, lost := s.missing()
		if !lost || s.ctx.Err() != nil {
			return
		}
		err := errNoBackend
		if route != nil {
			if limit.IsZero() {
				limit, pause = time.Now().Add(route.Reconnect), firstPause
			}
			if err = s.talkTo(route); err == nil {
				continue
			}
		}
		if route == nil || statusOf(err) != nil || !time.Now().Add(pause).Before(limit) {
			s.giveUp(err)
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// patience is how long a stream may take to bring a line. mu is held.
func (s *Session) patience() time.Duration {
	streams := 0
	for _, l := range s.lines {
		if l.asked {
			streams++
		}
	}
	switch {
	case int(s.active.Load()) > streams: // some look for a backend again
		longest := talkWait
		for _, r := range s.routes {
			longest = max(longest, r.Reconnect)
		}
		return longest
	case len(s.talk.early) == 0: // the client may be about to leave
		return firstPause
	case s.common == nil || len(s.routes) > 1:
		return talkWait
	}
	return 0
}

// missing returns the route on which something waits for a line. route is nil if only a
// stream could decide; lost is false if nothing waits any more, and then seek ends.
func (s *Session) missing() (route *Route, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.shared {
		if sub.line == nil {
			return sub.route, true
		}
	}
	if len(s.talk.early) > 0 && !s.talk.releasing {
		return s.common, true
	}
	s.talk.seeking = false
	return nil, false
}

// talkTo connects to a backend of a route for what is said beside streams.
func (s *Session) talkTo(route *Route) error {
	q := s.base
	_, c, _ := route.mismatch(&q)
	l, err := s.dial(s.ctx, route, &q, c, "")
	if err != nil {
		return err
	}
	s.mu.Lock()
	closed := s.talk.closed
	if !closed {
		if s.ready == nil && route.anyBackend() && len(s.routes) == 1 {
			s.ready = l // a stream may have it
		}
		l.idle.Go(l.listen) // stopped by Interrupt or close; waited by takeReady or Close
	}
	s.mu.Unlock()
	if closed { // the client left meanwhile
		l.close()
	}
	return nil
}

// anyBackend reports whether a stream may be at any backend of the route.
func (r *Route) anyBackend() bool { return r.pool.cfg.Balance < BalanceHash }

// unheard counts a call that no backend hears, and tells its caller.
func (s *Session) unheard(c call) {
	s.router.unheard.Add(1)
	s.tell(c.failure())
}

// giveUp ends a search in vain: calls that wait fail. A client whose shared objects are lost,
// and who has no stream, is let go.
func (s *Session) giveUp(reason error) {
	s.mu.Lock()
	var (
		route *Route
		early []*chunk.Message
	)
	for name, sub := range s.shared {
		if sub.line == nil {
			route = sub.route
			delete(s.shared, name)
		}
	}
	if !s.talk.releasing {
		early, s.talk.early, s.talk.earlyBytes = s.talk.early, nil, 0
	}
	s.talk.seeking = false
	s.mu.Unlock()
	for _, m := range early {
		cmd, _ := message.ReadEnvelope(m.TypeID, m.Bytes()) // a shared object's has none
		s.unheard(call{id: cmd.TransactionID, typeID: m.TypeID})
		m.Release()
	}
	switch {
	case route != nil:
		s.silenced(route, reason)
	case len(early) > 0:
		s.log.Info().Str("app", s.req.App).Err(reason).Msg("calls failed: there is no backend for them")
	}
}

// silenced ends a connection that has lost what its client talked to, unless it has streams.
func (s *Session) silenced(route *Route, err error) {
	log := s.log.Warn().Str("route", route.Name).Str("app", s.req.App).Err(err)
	if s.active.Load() > 0 {
		log.Msg("shared objects lost")
		return
	}
	log.Msg("backend lost")
	s.router.lost.Add(1)
	status := message.Status{Level: message.LevelError, Code: message.StatusConnectClosed, Description: "The server behind this gateway is gone."}
	if b, err := (message.Command{Name: message.NameOnStatus, Args: []any{status.Object()}}).AppendPayload(nil); err == nil {
		s.tell(chunk.NewMessage(message.TypeCommandAMF0, 0, 0, b))
	}
	s.nc.Kick(nil, fmt.Errorf("%w: %w", ErrNoBackend, err))
}

// release passes on what waited, and what comes meanwhile, in order. The caller has set
// releasing.
func (s *Session) release() {
	for {
		s.mu.Lock()
		if len(s.talk.early) == 0 {
			s.talk.releasing = false
			s.mu.Unlock()
			return
		}
		m := s.talk.early[0]
		s.talk.early = slices.Delete(s.talk.early, 0, 1)
		s.talk.earlyBytes -= m.Len()
		l := s.lineFor(m)
		s.mu.Unlock()
		cmd, _ := message.ReadEnvelope(m.TypeID, m.Bytes()) // a shared object's has none
		if l == nil || !s.pass(l, m, cmd) {
			s.unheard(call{id: cmd.TransactionID, typeID: m.TypeID})
		}
		m.Release()
	}
}

// listen reads what a backend says on a line without a stream.
func (l *line) listen() {
	for {
		m, err := l.ReadAny()
		if err != nil {
			l.session.silent(l, err)
			return
		}
		m.Release()
	}
}

// silent notes the end of a line without a stream.
func (s *Session) silent(l *line, err error) {
	s.mu.Lock()
	if l.taken || s.talk.closed {
		s.mu.Unlock()
		return // whoever uses it next finds out, too
	}
	if s.ready == l {
		s.ready = nil
	}
	again := !l.spoken.Load() || l.route.Reconnect > 0
	s.mu.Unlock()
	l.close()
	if !again {
		s.silenced(l.route, err)
	}
}
