package tunnel

import (
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// exchange is a request of a session on its way to its answer. It belongs to
// the connection or handler that received it; the session refers to it from
// request until deliver or detach.
type exchange struct {
	op     op
	seq    uint32
	hasSeq bool
	last   bool // the connection is closed after the answer
	body   chain
	to     answerer
	twins  []*exchange // parked: the same request on other connections
}

// answerer takes the answer of an exchange. deliver is called once per
// request, never waits, and runs with the session's mutex held; it does not
// keep the block.
type answerer interface {
	deliver(x *exchange, a answer)
}

// session is a tunnel session on the server: the engine of its Conn. It
// belongs to the server, requests only borrow it. All fields below the first
// group are guarded by Conn.mu.
type session struct {
	Conn

	// set at construction
	srv    *Server
	key    addrKey
	id     uint64
	serial uint64
	born   int64

	slot     int   // index in the sweeper's queue, -1 if not there; guarded by sweeper.mu
	slotTime int64 // guarded by sweeper.mu

	planned  int64 // when the sweeper will call tick at the latest
	touched  int64 // when the last request came
	lastSend int64 // when the last send came
	started  bool  // expected is valid
	accepted bool  // given to Accept
	over     bool  // ended: kept as a tombstone
	entombed int64 // when it ended
	closedAt int64 // when Close was called
	isPub    bool  // SetPublishing
	expected uint32

	// the request in turn
	open    bool // not answered yet
	unfed   bool // its body waits for room in the input
	turn    op
	due     int64 // when it is answered at the latest
	feed    chain
	targets []*exchange // who gets the answer; none if the connection was lost
	first   [1]*exchange

	parked      []*exchange // came too early
	parkedBytes int
	parkedSince int64

	watch *watch // nil unless it came through a proxy; set at construction

	past      [replayDepth]answer // a ring of the last answers
	newest    int                 // where in past the last one is
	kept      int                 // how many of them there are
	pastBytes int                 // payload in them
	answers   int                 // with data
	delivered int64               // payload bytes
	empties   int                 // idle answers without data in a row
}

// idLine is the body of the answer to open.
func (s *session) idLine() []byte { return append(strconv.AppendUint(nil, s.id, 10), '\n') }

func (s *session) sweeper() *sweeper { return &s.srv.sweep[s.id/idShards%sweepers] }

// wake makes sure that tick is called at or before the given time.
func (s *session) wake(at int64) {
	if s.planned == 0 || at < s.planned {
		s.planned = at
		s.sweeper().add(s, at)
	}
}

// request takes a complete request. It is delivered at once or later.
func (s *session) request(x *exchange) {
	defer s.leave(s.enter())
	s.touched = s.srv.clock()
	if s.watch != nil {
		s.watch.request(s, x)
	}
	switch {
	case x.op == opClose:
		s.clientClose(x)
	case s.over:
		if a, ok := s.recall(x); ok {
			s.replay(x, a)
		} else {
			s.refuse(x, http.StatusNotFound)
		}
	default:
		s.order(x)
		s.advance()
	}
}

// alive notes that a request is under way, whose body takes its time.
func (s *session) alive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = s.srv.clock()
}

// process takes the request whose turn it is. The one before is answered now
// at the latest.
func (s *session) process(x *exchange) {
	if s.open {
		s.answerNow()
		if s.over {
			s.refuse(x, http.StatusNotFound)
			return
		}
	}
	s.expected++
	s.open, s.turn, s.due = true, x.op, 0
	if x.op == opSend {
		s.lastSend = s.touched
	}
	s.first[0] = x
	s.targets = append(s.first[:], x.twins...)
	x.twins = nil
	if !s.accepted {
		s.accepted = true
		if !s.introduce() {
			s.end(ErrStalled)
			return
		}
	}
	if s.closed {
		x.body.drop()
	} else if x.body.n > 0 {
		s.srv.counters.bytesIn.Add(uint64(x.body.n))
		s.feed.take(&x.body)
		s.offer()
	}
	s.settle()
}

// introduce gives the session to whoever reads it. It fails when nobody calls Accept, and
// sessions have ended while they waited for it.
func (s *session) introduce() bool {
	if s.srv.cfg.Handle != nil {
		s.introduction = s.srv.cfg.Handle
		return true
	}
	select {
	case s.srv.backlog <- &s.Conn:
		return true
	default:
		return false
	}
}

// offer gives the body of the request in turn to the reader if there is room.
func (s *session) offer() {
	s.unfed = s.in.n > 0 && s.in.n+s.feed.n > s.srv.cfg.MaxRequest
	if s.unfed {
		s.await(s.srv.cfg.StallTimeout)
		return
	}
	s.in.take(&s.feed)
	s.due = 0
	s.readable.Broadcast()
	s.rouse()
}

// await sets when the request in turn is answered at the latest.
func (s *session) await(d time.Duration) {
	if s.due == 0 {
		s.due = s.srv.clock() + int64(d)
		s.wake(s.due)
	}
}

// settle answers the request in turn if it need not wait, and otherwise sets
// how long it does.
func (s *session) settle() {
	if !s.open || s.unfed || len(s.targets) == 0 {
		return // without a target it waits to be repeated, or for the next request
	}
	full := s.out.n >= s.out.cut || s.writers > 0 && s.out.n > 0
	if s.closed || full || s.isPub && (s.turn == opSend || s.sends()) {
		s.answer()
		return
	}
	if s.turn == opSend {
		switch {
		case s.hungry():
			s.answer()
		case s.answers < setupAnswers:
			s.await(sendWaitSetup)
		default:
			s.await(sendWait)
		}
		return
	}
	cfg := &s.srv.cfg
	hold := cfg.HoldSetup
	if s.delivered >= mediaFlows {
		hold = cfg.Hold
	}
	switch {
	case s.out.n > 0 && cfg.Coalesce <= 0, hold <= 0:
		s.answer()
	case s.out.n > 0:
		if soon := s.srv.clock() + int64(cfg.Coalesce); s.due == 0 || soon < s.due {
			s.due = soon
			s.wake(soon)
		}
	default:
		if s.due == 0 {
			s.srv.counters.held.Add(1)
		}
		s.await(hold)
	}
}

// sends reports whether a client that publishes is busy doing so: it may not be able to
// while an idle request of its is held.
func (s *session) sends() bool { return s.srv.clock()-s.lastSend < int64(publisherBusy) }

// answerNow answers the request in turn although more may come. If its
// connection was lost its answer is empty: nobody would read more.
func (s *session) answerNow() {
	if len(s.targets) > 0 {
		s.answer()
		return
	}
	s.remember(answer{status: http.StatusOK, poll: pollLadder[0]})
	s.open = false
}

// answer answers the request in turn with what there is.
func (s *session) answer() {
	a := answer{status: http.StatusOK, poll: pollLadder[0], blks: s.out.pop(s.spare())}
	switch {
	case len(a.blks) > 0:
		s.answers++
		s.empties = 0
		n := sizeOf(a.blks)
		s.delivered += int64(n)
		s.srv.counters.bytesOut.Add(uint64(n))
		if s.watch != nil {
			s.watch.answered(s, n)
		}
		s.drained()
	case s.closed:
		a.status = http.StatusNotFound
	case s.turn == opIdle:
		s.empties++
		if s.isPub && s.sends() || s.srv.cfg.Hold <= 0 {
			a.poll = pollLadder[min(max(s.empties-ladderStart, 0), len(pollLadder)-1)]
		}
	}
	s.remember(a)
	s.open = false
	for _, x := range s.targets {
		s.deliver(x, a)
	}
	s.clearTargets()
	if s.closed && s.out.n == 0 {
		s.end(nil)
	}
}

// spare returns the memory of the list of blocks of the answer that is forgotten when
// the next one is remembered.
func (s *session) spare() []*block {
	list := s.forget(replayDepth - 1)
	s.pastAnswer(replayDepth - 1).blks = nil
	return list
}

func (s *session) clearTargets() {
	clear(s.targets)
	s.targets = nil
}

func (s *session) deliver(x *exchange, a answer) {
	s.srv.counters.answered(x.op, a.status)
	x.to.deliver(x, a)
}

// refuse answers a request out of turn, with no effect on the session.
func (s *session) refuse(x *exchange, status int) {
	for _, twin := range x.twins {
		s.deliver(twin, answer{status: status, poll: pollLadder[0]})
	}
	x.twins = nil
	x.body.drop()
	s.deliver(x, answer{status: status, poll: pollLadder[0]})
}

// clientClose ends the session for its client. What it sent before can still
// be read.
func (s *session) clientClose(x *exchange) {
	if !s.over {
		if s.unfed {
			s.in.take(&s.feed)
			s.unfed = false
		}
		if s.open {
			s.answerNow()
		}
		s.end(io.EOF)
	}
	x.body.drop()
	s.deliver(x, answer{status: http.StatusOK})
}

// end turns the session into a tombstone. cause is what its reader gets after
// the bytes that are there; nil if the Conn was closed.
func (s *session) end(cause error) {
	if s.over {
		return
	}
	if s.watch != nil {
		s.watch.ended(s, cause)
	}
	s.over = true
	s.entombed = s.srv.clock()
	s.feed.drop()
	s.unfed = false
	if s.open {
		s.open = false
		a := answer{status: http.StatusNotFound}
		s.remember(a)
		for _, x := range s.targets {
			s.deliver(x, a)
		}
		s.clearTargets()
	}
	parked := s.parked
	s.parked, s.parkedBytes = nil, 0
	for _, x := range parked {
		s.refuse(x, http.StatusNotFound)
	}
	s.out.drop()
	write := cause
	if cause == io.EOF { //nolint:errorlint // our own value, never wrapped
		write = ErrSessionEnded
	}
	s.fail(cause, write)
	if s.isPub {
		s.srv.counters.published.Add(-1)
		s.isPub = false
	}
	s.srv.ended(s)
	if s.srv.tombs.Load() > int64(s.srv.cfg.Sessions) { // they come and go too fast to be remembered
		s.bury()
	} else {
		s.wake(s.entombed + int64(tombstone))
	}
	if e := s.srv.cfg.Log.Debug(); e.Enabled() {
		reason := "closed"
		if cause != nil {
			reason = cause.Error()
		}
		e.Uint64("sid", s.serial).Stringer("remote", s.remote).Dur("dur", time.Duration(s.entombed-s.born)).Int64("bytes_out", s.delivered).Str("reason", reason).Msg("tunnel session ended")
	}
}

// nudge is called when bytes have arrived on the connection of an exchange:
// its client does not wait for the answer before it goes on.
func (s *session) nudge(x *exchange) {
	defer s.leave(s.enter())
	if s.open && !s.unfed && s.waits(x) >= 0 {
		s.answer()
		s.advance()
	}
}

func (s *session) waits(x *exchange) int {
	for i, t := range s.targets {
		if t == x {
			return i
		}
	}
	return -1
}

// detach takes an exchange back whose connection is gone: it is not delivered
// any more. The request itself stays in force, its client will repeat it.
func (s *session) detach(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.waits(x); i >= 0 {
		s.targets = append(s.targets[:i], s.targets[i+1:]...)
		return
	}
	for i, p := range s.parked {
		if j := slices.Index(p.twins, x); j >= 0 {
			p.twins = slices.Delete(p.twins, j, j+1)
			return
		}
		if last := len(x.twins) - 1; p == x && last >= 0 {
			twin := x.twins[last]
			twin.body.take(&x.body)
			twin.twins, x.twins = x.twins[:last], nil
			s.parked[i] = twin
			return
		}
		if p == x {
			s.parked = append(s.parked[:i], s.parked[i+1:]...)
			s.parkedBytes -= x.body.n
			x.body.drop()
			return
		}
	}
}

// tick does what is due and returns when to be called again, 0 for never.
func (s *session) tick() int64 {
	s.mu.Lock()
	defer s.leave(false)
	cfg := &s.srv.cfg
	now := s.srv.clock()
	if s.open && s.due > 0 && now >= s.due {
		switch {
		case s.unfed:
			s.srv.reject(RejectStalled, s.remote, ErrStalled)
			s.end(ErrStalled)
		case len(s.targets) > 0:
			s.answer()
			s.advance()
		default:
			s.due = 0
		}
	}
	if len(s.parked) > 0 && now >= s.parkedSince+int64(s.patience()) {
		if s.firstIsLate() {
			s.expected = 1
			s.advance()
		} else {
			s.lose("it did not come in time")
		}
	}
	limit, reason := int64(cfg.IdleTimeout), RejectExpired
	if !s.accepted {
		limit, reason = int64(cfg.OpenTimeout), RejectUnused
	}
	switch {
	case s.over:
	case s.closed && now >= s.closedAt+int64(cfg.IdleTimeout): // nobody comes for its last bytes
		s.end(ErrSessionExpired)
	case now >= s.touched+limit:
		s.srv.reject(reason, s.remote, ErrSessionExpired)
		s.end(ErrSessionExpired)
	}
	s.planned = math.MaxInt64
	if s.over {
		if now >= s.entombed+int64(tombstone) {
			s.bury()
			return 0
		}
		s.planned = s.entombed + int64(tombstone)
		return s.planned
	}
	if s.open && s.due > 0 {
		s.planned = min(s.planned, s.due)
	}
	if len(s.parked) > 0 {
		s.planned = min(s.planned, s.parkedSince+int64(s.patience()))
	}
	if s.closed {
		s.planned = min(s.planned, s.closedAt+int64(cfg.IdleTimeout))
	}
	s.planned = min(s.planned, s.touched+limit)
	return s.planned
}

// bury forgets the session.
func (s *session) bury() {
	for i := range replayDepth {
		s.forget(i)
	}
	s.past, s.kept = [replayDepth]answer{}, 0
	s.srv.forget(s)
}

// The engine of the Conn.

func (s *session) starving() {
	if s.unfed {
		s.offer()
	}
	s.settle()
	s.advance()
}

func (s *session) consumed() {
	if s.unfed {
		s.offer()
		s.settle()
		s.advance()
	}
}

func (s *session) queued() {
	if s.turn == opIdle || s.writers > 0 || s.out.n >= s.out.cut {
		s.settle()
		s.advance()
	}
}

func (s *session) publishing(on bool) {
	if s.over || on == s.isPub {
		return
	}
	s.isPub = on
	if on {
		s.srv.counters.published.Add(1)
	} else {
		s.srv.counters.published.Add(-1)
	}
	s.settle()
}

func (s *session) closing() {
	if s.over {
		return
	}
	s.closedAt = s.srv.clock()
	if s.unfed {
		s.feed.drop()
		s.unfed = false
	}
	s.settle()
	s.advance()
	switch {
	case s.over:
	case s.out.n == 0:
		s.end(nil)
	default:
		s.wake(s.closedAt + int64(s.srv.cfg.IdleTimeout))
	}
}

func (s *session) finish() error { return nil }
