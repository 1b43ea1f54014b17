package relay

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"culvert/gateway/live"
)

// State says how far a stream of a relay is.
type State string

// The states.
const (
	Connecting State = "connecting"
	Waiting    State = "waiting" // push: the publisher has left; pull: the origin sends nothing
	Live       State = "live"
	Retrying   State = "retrying" // failed, and waiting for the next attempt
)

// States are all of them, for metrics.
var States = []State{Connecting, Waiting, Live, Retrying}

// Status describes one target or origin.
type Status struct {
	Kind    string // push, pull
	Target  string // its label
	Streams []StreamStatus

	// Since the start.
	Sent, Received uint64 // RTMP bytes
	Dropped        uint64 // frames that a target was too slow for
	Retries        uint64 // attempts after a failure
	Refused        uint64 // players for whom no stream was fetched because there are too many
	Failures       map[string]uint64
	LastReason     string // of the last failure; "": none
	LastError      string
	LastErrorAt    time.Time
}

// StreamStatus describes one stream of a relay.
type StreamStatus struct {
	live.Key
	State State
	Since time.Time // of the state
}

// stats counts for one target or origin.
type stats struct {
	sent, received, dropped, retries, refused atomic.Uint64

	mu sync.Mutex
	// guarded by mu
	failures   map[string]uint64
	lastReason string
	lastError  string
	lastAt     time.Time
}

func newStats() *stats {
	s := &stats{failures: make(map[string]uint64)}
	for _, r := range Reasons {
		s.failures[r] = 0
	}
	return s
}

func (s *stats) failed(reason, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[reason]++
	s.lastReason, s.lastError, s.lastAt = reason, text, time.Now()
}

func (s *stats) status(kind, target string) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Kind: kind, Target: target,
		Sent: s.sent.Load(), Received: s.received.Load(), Dropped: s.dropped.Load(), Retries: s.retries.Load(), Refused: s.refused.Load(),
		Failures: maps.Clone(s.failures), LastReason: s.lastReason, LastError: s.lastError, LastErrorAt: s.lastAt,
	}
}

// Status describes all targets, in the order of the configuration, and the origin.
func (r *Relay) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Status
	for _, t := range r.targets {
		s := t.stats.status("push", t.dest.label)
		for _, p := range t.active {
			s.add(&p.job)
		}
		out = append(out, s.sorted())
	}
	if o := r.origin; o != nil {
		s := o.stats.status("pull", o.dest.label)
		for _, p := range o.active {
			s.add(&p.job)
		}
		out = append(out, s.sorted())
	}
	return out
}

// add counts a stream in. The caller holds the Relay's lock.
func (s *Status) add(j *job) {
	s.Streams = append(s.Streams, StreamStatus{j.key, j.state, j.since})
	if j.client != nil {
		s.Sent += j.client.BytesWritten()
		s.Received += j.client.BytesRead()
	}
}

func (s Status) sorted() Status {
	slices.SortFunc(s.Streams, func(a, b StreamStatus) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Name, b.Name))
	})
	return s
}
