package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Dial opens a byte stream to a backend for a client, whose address it may pass on.
// The zero Client stands for the gateway itself. The end of ctx ends the dialling,
// not the connection.
type Dial func(ctx context.Context, to BackendConfig, client Client) (net.Conn, error)

// BackendConfig is one server.
type BackendConfig struct {
	Scheme  string // rtmp, rtmps, rtmpt, rtmpts
	Host    string
	Port    string
	App     Template    // default for [Rewrite].App
	Weight  int         // share of the sessions, at least 1
	Header  Header      // PROXY protocol header that goes before everything
	TLS     *tls.Config // of rtmps and rtmpts
	Drained bool        // gets no new sessions
}

// Header is a version of the PROXY protocol.
type Header uint8

// Versions of the PROXY protocol.
const (
	HeaderNone Header = iota
	HeaderV1
	HeaderV2
)

// Address returns host and port.
func (b BackendConfig) Address() string { return net.JoinHostPort(b.Host, b.Port) }

// URL returns the backend's address, without an app.
func (b BackendConfig) URL() string { return b.Scheme + "://" + b.Address() }

// Backend is the state of one server in one pool.
type Backend struct {
	// set at construction
	cfg   BackendConfig
	app   Template
	eject EjectConfig
	slow  time.Duration
	store *store

	sessions atomic.Int64 // open now
	taken    atomic.Uint64
	failures atomic.Uint64

	mu sync.Mutex
	// guarded by mu
	down    bool // an active check says so
	streak  int  // results of checks in a row that contradict down
	failed  int  // attempts in a row that failed
	until   time.Time
	ejected int // times in a row
	drained bool
	upSince time.Time // zero: from the beginning
	current int       // of the weighted round robin; guarded by the pool's mu
	lastErr string
}

// URL returns the backend's address, without an app.
func (b *Backend) URL() string { return b.cfg.URL() }

// state says what a backend may get.
type state uint8

const (
	stateUp      state = iota
	stateEjected       // failed too often: only when there is no other
	stateDown          // checked and found dead
	stateDrained
)

func (b *Backend) state(now time.Time) state {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.drained:
		return stateDrained
	case b.down:
		return stateDown
	case now.Before(b.until):
		return stateEjected
	}
	return stateUp
}

// slowestShare is the least part of its weight that a backend has which has just
// come back.
const slowestShare = 0.1

// weight is the backend's share at a moment: less than configured for a while
// after it came back.
func (b *Backend) weight(now time.Time) float64 {
	w := float64(b.cfg.Weight)
	if b.slow <= 0 {
		return w
	}
	b.mu.Lock()
	since := b.upSince
	b.mu.Unlock()
	if since.IsZero() {
		return w
	}
	share := float64(now.Sub(since)) / float64(b.slow)
	return w * min(max(share, slowestShare), 1)
}

// maxEjection bounds how the time of ejection grows, in multiples of it.
const maxEjection = 8

// fail notes an attempt that failed and reports whether the backend is ejected for
// it.
func (b *Backend) fail(now time.Time, err error) (ejected bool) {
	b.failures.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastErr = err.Error()
	b.failed++
	if b.eject.Failures <= 0 || b.failed < b.eject.Failures {
		return false
	}
	b.failed = 0
	b.ejected = min(b.ejected+1, maxEjection)
	b.until = now.Add(b.eject.Time * time.Duration(b.ejected))
	b.upSince = b.until
	return true
}

// succeed notes an attempt that went well.
func (b *Backend) succeed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed, b.ejected, b.lastErr = 0, 0, ""
	if !b.until.IsZero() {
		b.until = time.Time{}
	}
}

// checked notes the result of an active check and reports whether the backend went
// up or down for it.
func (b *Backend) checked(now time.Time, err error, rise, fall int) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.lastErr = err.Error()
	} else if !b.down {
		b.lastErr = ""
	}
	if (err != nil) == b.down {
		b.streak = 0
		return false
	}
	b.streak++
	if b.down && b.streak < rise || !b.down && b.streak < fall {
		return false
	}
	b.down, b.streak = !b.down, 0
	if !b.down {
		b.upSince, b.failed, b.until, b.ejected = now, 0, time.Time{}, 0
	}
	return true
}

// drain stops new sessions, or lets them come again.
func (b *Backend) drain(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drained = on
}

// BackendInfo is the state of a backend for people.
type BackendInfo struct {
	Route    string // the route whose pool it is in
	URL      string
	State    string // up, ejected, down, drained
	Sessions int64
	Taken    uint64 // sessions since the start
	Failures uint64 // attempts that failed
	Ready    int    // connections that are kept ready now
	Error    string // of the last failure, "" after a success
}

var stateNames = [...]string{"up", "ejected", "down", "drained"}

func (b *Backend) info(route string, now time.Time) BackendInfo {
	i := BackendInfo{
		Route: route, URL: b.cfg.URL(), State: stateNames[b.state(now)],
		Sessions: b.sessions.Load(), Taken: b.taken.Load(), Failures: b.failures.Load(), Ready: b.store.len(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i.Error = b.lastErr
	return i
}
