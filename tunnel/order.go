package tunnel

import (
	"fmt"
	"net/http"
	"time"
)

// The order of requests: which one's turn it is, which were answered before,
// and which came early. Everything here runs with the session's mutex held.

// recall finds the answer that a repeated request was given.
func (s *session) recall(x *exchange) (a answer, ok bool) {
	i := int64(int32(s.expected-x.seq)) - 1
	if s.open {
		i-- // the newest request has no answer yet
	}
	if !x.hasSeq || !s.started || i < 0 || i >= int64(s.kept) {
		return a, false
	}
	return *s.pastAnswer(int(i)), true
}

// pastAnswer returns one of the last answers, the newest for 0.
func (s *session) pastAnswer(i int) *answer {
	return &s.past[(s.newest+replayDepth-i)%replayDepth]
}

// remember keeps an answer for repetitions.
func (s *session) remember(a answer) {
	s.forget(replayDepth - 1)
	s.newest = (s.newest + 1) % replayDepth
	s.past[s.newest] = a
	s.pastBytes += sizeOf(a.blks)
	s.kept = min(s.kept+1, replayDepth)
	for s.kept > replayLeast && s.pastBytes > replayBytes {
		s.kept--
		s.forget(s.kept)
	}
}

// forget drops the payload of an answer and returns its list of blocks, empty.
func (s *session) forget(i int) []*block {
	past := s.pastAnswer(i)
	list := past.blks
	if len(list) == 0 {
		return list
	}
	s.pastBytes -= sizeOf(list)
	freeAll(list)
	past.blks = list[:0]
	return past.blks
}

// replay gives a repeated request the answer it was given before.
func (s *session) replay(x *exchange, a answer) {
	x.body.drop()
	s.srv.counters.replays.Add(1)
	s.deliver(x, a)
}

// order puts a request in its place by its sequence number, compared modulo
// 2^32.
func (s *session) order(x *exchange) {
	if !x.hasSeq {
		x.seq = s.expected
	}
	if !s.started {
		s.started = true
		if x.seq == 1 && x.op != opIdle {
			s.expected = 1
		}
	}
	old, answered := s.recall(x)
	switch early := int32(x.seq - s.expected); {
	case early == 0 && !s.unfed:
		s.process(x)
	case early == -1 && s.open:
		s.repeat(x)
	case answered:
		s.replay(x, old)
	case early >= 0 && early <= parkedDistance:
		s.park(x)
	case x.op == opIdle:
		s.refuse(x, http.StatusOK)
	default:
		s.srv.refused(RejectSequence, s.remote)
		s.refuse(x, http.StatusNotFound)
	}
}

// repeat adds a connection to those that wait for the answer of the request in
// turn: its client, or a proxy, has sent it again.
func (s *session) repeat(x *exchange) {
	x.body.drop()
	if len(s.targets) > s.srv.cfg.ParkedRequests {
		s.refuse(x, http.StatusNotFound)
		return
	}
	s.srv.counters.replays.Add(1)
	s.targets = append(s.targets, x)
	s.settle()
}

// patience is how long parked requests wait for the one before them.
func (s *session) patience() time.Duration {
	if s.firstIsLate() {
		return min(firstWait, s.srv.cfg.ParkTimeout)
	}
	return s.srv.cfg.ParkTimeout
}

// park keeps a request that came before its turn.
func (s *session) park(x *exchange) {
	for i, p := range s.parked {
		if p.seq == x.seq { // sent again on another connection: both get the answer
			if len(p.twins) >= s.srv.cfg.ParkedRequests {
				s.refuse(x, http.StatusNotFound)
				return
			}
			s.parkedBytes += x.body.n - p.body.n
			p.body.drop()
			x.twins, p.twins = append(p.twins, p), nil
			s.parked[i] = x
			return
		}
	}
	if len(s.parked) >= s.srv.cfg.ParkedRequests || s.parkedBytes+x.body.n > s.srv.cfg.ParkedBytes {
		s.refuse(x, http.StatusNotFound)
		s.lose("too much waits for it")
		return
	}
	if len(s.parked) == 0 {
		s.parkedSince = s.touched
	}
	s.parked = append(s.parked, x)
	s.parkedBytes += x.body.n
	s.srv.counters.parked.Add(1)
	s.wake(s.parkedSince + int64(s.patience()))
}

// firstIsLate reports whether a session has waited for its request number 0 while
// number 1, an idle, is there: the client begins with 1, or 0 is under way on another
// connection. Number 1 is taken for the first without delay only if it is a send,
// because clients that begin with 1 begin with a send.
func (s *session) firstIsLate() bool {
	if s.accepted || s.expected != 0 {
		return false
	}
	for _, p := range s.parked {
		if p.seq == 1 {
			return true
		}
	}
	return false
}

// lose ends a session of which a request is missing, for a reason.
func (s *session) lose(why string) {
	err := fmt.Errorf("%w: %s", ErrRequestLost, why)
	s.srv.reject(RejectLost, s.remote, err)
	s.end(err)
}

// advance processes the parked requests whose turn has come.
func (s *session) advance() {
	for i := 0; i < len(s.parked) && !s.unfed; i++ {
		x := s.parked[i]
		if x.seq != s.expected {
			continue
		}
		s.parked = append(s.parked[:i], s.parked[i+1:]...)
		s.parkedBytes -= x.body.n
		s.parkedSince = s.touched
		s.process(x)
		i = -1
	}
}
