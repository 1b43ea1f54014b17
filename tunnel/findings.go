package tunnel

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Finding is something that a proxy does to the tunnel. Only what is certain is
// found: what a client could do as well, or a slow network, is not.
type Finding uint8

// The findings.
const (
	FindHTTP10       Finding = iota // its requests are HTTP/1.0
	FindCloses                      // it closes its connection to the server after each answer
	FindUnnamed                     // it is trusted and names no client
	FindUntrusted                   // it is near, names clients and is not trusted
	FindShared                      // requests of several sessions share its connections, and it is not trusted
	FindRewrites                    // it changes the method, or drops bodies
	FindBuffers                     // small answers take long to reach a client that asks again at once
	FindRequestLimit                // sessions end after the same number of requests
	FindTimeLimit                   // sessions end after the same time
	FindProxyHeader                 // it sends a PROXY header and is not trusted
	NumFindings
)

// FindingNames names the findings, for metrics.
var FindingNames = [NumFindings]string{
	"http_1_0", "closes", "unnamed", "untrusted", "shared", "rewrites", "buffers", "request_limit", "time_limit", "proxy_header",
}

// Report is a finding and whom it is about.
type Report struct {
	Finding Finding
	Proxy   net.Addr
	Trusted bool
	// Requests is set with FindRequestLimit, Time with FindTimeLimit, and with
	// FindBuffers, where it is the least that an answer took.
	Requests int
	Time     time.Duration
}

// What has to be seen before it is called a finding.
const (
	limitSessions = 3                       // sessions in a row that ended alike, and none that went further
	leastRequests = 50                      // a limit of requests is a multiple of ten and not below
	leastTime     = 10 * time.Second        // a limit of time is a multiple of five seconds and not below
	timeTolerance = time.Second             // plus the round trips between a proxy's clock and ours
	smallAnswer   = 4 << 10                 // bytes that need no time on any network
	slowAnswers   = 6                       // small ones in a row
	slowAnswer    = 1500 * time.Millisecond // more than a satellite and the pauses of all known clients
	maxWatched    = 1024                    // proxies of which endings are remembered
)

// proxyHeader begins the PROXY protocol's header, version 1.
var proxyHeader = []byte("PROXY ")

// found reports a finding about the peer of the connection, once for each
// connection.
func (c *httpConn) found(f Finding) {
	if c.reported&(1<<f) != 0 {
		return
	}
	c.reported |= 1 << f
	c.srv.report(Report{Finding: f, Proxy: c.meta.RemoteAddr, Trusted: c.trusted})
}

func (s *Server) report(r Report) {
	s.counters.findings[r.Finding].Add(1)
	if s.cfg.Found != nil {
		s.cfg.Found(r)
	}
}

// watchRequest looks at a request, whose head was read, for what only a proxy
// does.
func (c *httpConn) watchRequest(post bool) {
	q := &c.q
	ofSession := c.session != nil || post && q.route.op == opOpen
	switch {
	case !ofSession:
		// Who knows the id knows the method. No browser says that it is Flash Player.
		if !post && (q.route.op == opOpen && q.flash || q.route.id != 0 && c.srv.lookup(q.route.id) != nil) {
			c.found(FindRewrites)
		}
		return
	case q.minor == 0:
		c.found(FindHTTP10)
	case q.last && (q.proxied || c.trusted):
		c.found(FindCloses)
	}
	if q.route.op == opOpen {
		if c.trusted && c.from.key == (addrKey{}) {
			c.found(FindUnnamed)
		}
		if !c.trusted && q.naming && isNear(addrPortOf(c.meta.RemoteAddr).Addr()) {
			c.found(FindUntrusted)
		}
	}
	if q.route.op == opSend && q.length == 0 && !q.chunked { // no client sends nothing
		c.found(FindRewrites)
	}
	if c.session == nil || !q.proxied || c.trusted {
		return
	}
	if c.lastID != 0 && c.lastID != q.route.id {
		c.found(FindShared)
	}
	c.lastID = q.route.id
}

// isNear says that a proxy of this address is the operator's own, most likely.
func isNear(a netip.Addr) bool { return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() }

// watch is what is remembered of a session that came through a proxy. The
// atomic ones are also read by the ends of others; the rest is guarded by the
// session's mutex.
type watch struct {
	// set at construction
	proxy   net.Addr
	trusted bool
	quick   bool // the client is one that asks again at once

	requests atomic.Int64 // open included, repeated ones not
	touched  atomic.Int64 // when the last one came
	small    int64        // when a small answer was given, 0 if none was
	slow     int          // small answers in a row that took long
	least    int64        // the least that they took
}

// newWatch begins to watch a session that is being opened, if through a proxy.
func (c *httpConn) newWatch(proxied bool) *watch {
	if !proxied {
		return nil
	}
	w := &watch{proxy: c.meta.RemoteAddr, trusted: c.trusted, quick: c.q.flash}
	w.requests.Store(1)
	w.touched.Store(c.srv.clock())
	return w
}

// request notes a request of the session. Called with its mutex held.
func (w *watch) request(s *session, x *exchange) {
	w.touched.Store(s.touched)
	if x.op == opClose || x.hasSeq && s.started && int32(x.seq-s.expected) < 0 { // the latter was repeated
		return
	}
	w.requests.Add(1)
	if w.small == 0 || !w.quick {
		return
	}
	took := s.touched - w.small
	w.small = 0
	if took < int64(slowAnswer) {
		w.slow = 0
		return
	}
	if w.slow++; w.slow == 1 || took < w.least {
		w.least = took
	}
	if w.slow == slowAnswers {
		s.srv.report(Report{Finding: FindBuffers, Proxy: w.proxy, Trusted: w.trusted, Time: time.Duration(w.least)})
	}
}

// answered notes an answer with n bytes for the client.
func (w *watch) answered(s *session, n int) {
	w.small = 0
	if n <= smallAnswer && !s.isPub { // a publisher asks again when it has something to say
		w.small = s.srv.clock()
	}
}

// endings are how the sessions through one proxy ended.
type endings struct {
	requests     row // of sessions that their client closed or left
	lives        row // of the same
	times        row // of sessions that their client left without a word, one after the other
	mostRequests int64
	longest      int64
	told         bool
}

// row is what the last sessions reached.
type row struct {
	n    int
	last [limitSessions]int64
}

func (r *row) add(v int64) {
	copy(r.last[1:], r.last[:])
	r.last[0] = v
	r.n++
}

// alike reports whether the row is complete and all in it is within tolerance.
func (r *row) alike(tolerance int64) bool {
	return r.n >= limitSessions && slices.Max(r.last[:])-slices.Min(r.last[:]) <= tolerance
}

// watched remembers endings by proxy.
type watched struct {
	mu sync.Mutex
	by map[netip.Addr]*endings
}

// ended looks at how a session has ended, whose mutex is held.
func (w *watch) ended(s *session, cause error) {
	proxy := addrPortOf(w.proxy).Addr()
	if !proxy.IsValid() {
		return
	}
	all := &s.srv.watched
	all.mu.Lock()
	e := all.by[proxy]
	if e == nil && len(all.by) < maxWatched {
		if all.by == nil {
			all.by = map[netip.Addr]*endings{}
		}
		e = &endings{}
		all.by[proxy] = e
	}
	var found *Report
	if e != nil {
		found = e.add(w.requests.Load(), s.touched-s.born, cause)
	}
	all.mu.Unlock()
	if found == nil || s.srv.outlived(s, proxy, found) {
		return
	}
	all.mu.Lock()
	e.told = true
	all.mu.Unlock()
	found.Proxy, found.Trusted = w.proxy, w.trusted
	s.srv.report(*found)
}

// add notes an ending and says what the last ones have in common.
func (e *endings) add(requests, life int64, cause error) *Report {
	e.mostRequests, e.longest = max(e.mostRequests, requests), max(e.longest, life)
	switch {
	case errors.Is(cause, ErrSessionExpired):
		e.requests.add(requests)
		e.lives.add(life)
		e.times.add(life)
	case errors.Is(cause, io.EOF): // ffmpeg still says so after it was cut off
		e.requests.add(requests)
		e.lives.add(life)
		e.times.n = 0
	}
	// Players of one stream poll in step: cut off together they are alike in both, and a number
	// that nobody would set is none that somebody has set.
	inStep := requests%100 != 0 && e.lives.alike(int64(timeTolerance))
	round := time.Duration(e.times.last[0] + int64(timeTolerance)).Truncate(5 * time.Second)
	off := (time.Duration(e.times.last[0]) - round).Abs()
	switch {
	case e.told:
	case e.requests.alike(0) && requests == e.mostRequests && requests >= leastRequests && requests%10 == 0 && !inStep:
		return &Report{Finding: FindRequestLimit, Requests: int(requests)}
	case e.times.alike(int64(timeTolerance)) && e.longest <= int64(round+timeTolerance) && round >= leastTime && off <= timeTolerance:
		return &Report{Finding: FindTimeLimit, Time: round}
	}
	return nil
}

// outlived says that a session through the same proxy has gone further already.
func (s *Server) outlived(ended *session, proxy netip.Addr, r *Report) bool {
	for i := range s.table {
		sh := &s.table[i]
		sh.mu.RLock()
		for _, ss := range sh.m {
			w := ss.watch
			if ss == ended || w == nil || addrPortOf(w.proxy).Addr() != proxy {
				continue
			}
			// Those that were cut off as well, and have not expired yet, have not outlived it.
			if r.Finding == FindRequestLimit && w.requests.Load() > int64(r.Requests) || r.Finding == FindTimeLimit && w.touched.Load()-ss.born > int64(r.Time+2*timeTolerance) {
				sh.mu.RUnlock()
				return true
			}
		}
		sh.mu.RUnlock()
	}
	return false
}
