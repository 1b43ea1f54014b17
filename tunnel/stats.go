package tunnel

import (
	"net"
	"sync/atomic"
)

// Reasons for refusing something, the index of Stats.Rejected.
const (
	RejectSessions  = iota // Config.Sessions reached
	RejectAddress          // Config.SessionsPerAddress reached
	RejectUnknown          // session id unknown or expired
	RejectGuesses          // as before, and delayed
	RejectSequence         // sequence number out of range
	RejectLost             // session ended: a request never arrived
	RejectStalled          // session ended: its bytes were not read
	RejectMalformed        // request that is not HTTP or has a smuggling shape
	RejectTooLarge         // body over Config.MaxRequest
	RejectMethod           // method other than POST
	RejectUnread           // connection closed: its client does not read
	RejectSlow             // connection closed: head or body too slow
	RejectReceived         // Config.Received reached
	RejectHead             // request head over Config.MaxHead
	RejectUnused           // session ended: it was opened and not used for Config.OpenTimeout
	RejectExpired          // session ended: no request for Config.IdleTimeout
	RejectClosing          // no new session: the Server shuts down
	numRejects
)

// RejectNames names the reasons, for metrics.
var RejectNames = [numRejects]string{
	"sessions", "address", "unknown", "guesses", "sequence", "lost", "stalled",
	"malformed", "too_large", "method", "unread", "slow", "received", "head", "open_timeout", "idle_timeout", "stopping",
}

// OpNames names the kinds of request, the first index of Stats.Requests.
var OpNames = [numOps]string{"other", "ident", "ident2", "open", "send", "idle", "close"}

// Stats is a snapshot of a Server's counters. The first four are of
// the moment, the others only grow.
type Stats struct {
	Connections int64 // served by ServeConn now
	Sessions    int64 // open now
	Published   int64 // of them, those that publish
	Ended       int64 // sessions remembered for a moment after their end
	Opened      uint64
	// Requests counts answers by kind of request (OpNames) and by status class:
	// [OpSend][2] is the number of sends answered 2xx.
	Requests [numOps][6]uint64
	BytesIn  uint64 // payload of sends
	BytesOut uint64 // payload of answers
	Replays  uint64 // repeated requests answered again
	Parked   uint64 // requests that came too early
	Held     uint64 // idle requests that were held
	Handoffs uint64 // connections given to Fallback
	Rejected [numRejects]uint64
	Findings [NumFindings]uint64 // about proxies, by Finding
}

// counters are the live counterpart of Stats.
type counters struct {
	connections, sessions, published atomic.Int64

	opened, bytesIn, bytesOut, replays, parked, held, handoffs atomic.Uint64

	requests [numOps][6]atomic.Uint64
	rejected [numRejects]atomic.Uint64
	findings [NumFindings]atomic.Uint64
}

func (c *counters) answered(o op, status int) { c.requests[o][status/100].Add(1) }

// reject counts what is refused and has a line about its end.
func (s *Server) reject(reason int, from net.Addr, why error) {
	s.counters.rejected[reason].Add(1)
	if s.cfg.Refused != nil {
		s.cfg.Refused(reason, from, why)
	}
}

// refused counts and logs what is refused without such a line.
func (s *Server) refused(reason int, from net.Addr) {
	s.reject(reason, from, nil)
	s.cfg.Log.Debug().Stringer("remote", from).Str("reason", RejectNames[reason]).Msg("tunnel request refused")
}

// Stats returns the counters. It may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{
		Connections: c.connections.Load(),
		Sessions:    c.sessions.Load(),
		Published:   c.published.Load(),
		Ended:       s.tombs.Load(),
		Opened:      c.opened.Load(),
		BytesIn:     c.bytesIn.Load(),
		BytesOut:    c.bytesOut.Load(),
		Replays:     c.replays.Load(),
		Parked:      c.parked.Load(),
		Held:        c.held.Load(),
		Handoffs:    c.handoffs.Load(),
	}
	for o := range c.requests {
		for class := range c.requests[o] {
			st.Requests[o][class] = c.requests[o][class].Load()
		}
	}
	for i := range c.rejected {
		st.Rejected[i] = c.rejected[i].Load()
	}
	for i := range c.findings {
		st.Findings[i] = c.findings[i].Load()
	}
	return st
}
