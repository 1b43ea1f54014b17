package tunnel

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// idShards is the number of parts of the session table. A power of two.
const idShards = 128

// sweepers is the number of independent expiry queues. A power of two.
const sweepers = 8

// Server is the tunnel's server side. It takes HTTP connections through
// ServeConn and requests through ServeHTTP, and is a net.Listener towards
// whoever reads the streams: Accept returns one *Conn per session.
//
// All methods may be called concurrently.
type Server struct {
	cfg      Config
	base     time.Time // clock() counts from here
	backlog  chan *Conn
	done     chan struct{} // closed by Close
	guesses  guesses
	watched  watched
	counters counters
	groups   groups
	received meter // bytes of sends that nobody has read yet
	patrol   patrol
	parkAge  int64
	sweep    [sweepers]sweeper
	table    [idShards]struct {
		mu sync.RWMutex
		m  map[uint64]*session
	}
	serial  atomic.Uint64 // names sessions in the log
	tombs   atomic.Int64  // ended sessions still in the table
	serving sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	draining bool               // open is refused
	conns    map[*exit]struct{} // what Close has to close
	perAddr  map[addrKey]int    // sessions per address
}

// exit is a connection or request that Close must end and wait for.
type exit struct {
	close func()
	conn  *httpConn // nil: a request
}

// NewServer returns a Server. It runs until Close.
func NewServer(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg:     cfg,
		base:    time.Now(),
		backlog: make(chan *Conn, cfg.Sessions),
		done:    make(chan struct{}),
		conns:   map[*exit]struct{}{},
		perAddr: map[addrKey]int{},
	}
	s.received.limit = int64(cfg.Received)
	s.patrol.srv, s.parkAge = s, int64(parkAge)
	for i := range s.table {
		s.table[i].m = map[uint64]*session{}
	}
	for i := range s.sweep {
		s.sweep[i].srv = s
	}
	return s
}

// clock is the time since the server was made, in nanoseconds.
func (s *Server) clock() int64 { return int64(time.Since(s.base)) }

// Accept waits for the next session and returns its *Conn. A session arrives
// here with its first send or idle request; one that was only opened costs the
// caller nothing. After Close the error is ErrServerClosed, which is also a
// net.ErrClosed.
func (s *Server) Accept() (net.Conn, error) {
	select {
	case <-s.done:
		return nil, closedError{}
	default:
	}
	select {
	case c := <-s.backlog:
		return c, nil
	case <-s.done:
		return nil, closedError{}
	}
}

// closedError is ErrServerClosed for those who test for net.ErrClosed.
type closedError struct{}

func (closedError) Error() string { return ErrServerClosed.Error() }

func (closedError) Is(target error) bool {
	return target == ErrServerClosed || target == net.ErrClosed
}

// Addr returns Config.Addr, or a placeholder if it is nil.
func (s *Server) Addr() net.Addr {
	if s.cfg.Addr != nil {
		return s.cfg.Addr
	}
	return namedAddr("rtmpt")
}

// Shutdown refuses new sessions, waits until those that exist have ended and
// their last bytes were fetched, or until ctx is done, and then closes the
// server. Whoever accepted the sessions closes them. The error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for err == nil && s.counters.sessions.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	_ = s.Close() // never fails
	return err
}

// Close ends all sessions and connections and returns when every ServeConn and
// ServeHTTP has.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.serving.Wait()
		return nil
	}
	s.closed = true
	close(s.done)
	for e := range s.conns {
		e.close()
	}
	s.mu.Unlock()
	s.patrol.stop()
	for i := range s.sweep {
		s.sweep[i].stop()
	}
	for i := range s.table {
		sh := &s.table[i]
		sh.mu.RLock()
		all := make([]*session, 0, len(sh.m))
		for _, ss := range sh.m {
			all = append(all, ss)
		}
		sh.mu.RUnlock()
		for _, ss := range all {
			ss.mu.Lock()
			ss.end(closedError{})
			ss.bury()
			ss.mu.Unlock()
		}
	}
	s.serving.Wait()
	s.groups.drop()
	for {
		select {
		case c := <-s.backlog: // nobody has accepted it, nor will
			_ = c.Close() // its session has ended
		default:
			return nil
		}
	}
}

// enter registers something that Close must end and wait for. It returns nil
// if the server is closed.
func (s *Server) enter(closeIt func(), conn *httpConn) *exit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	e := &exit{closeIt, conn}
	s.conns[e] = struct{}{}
	s.serving.Add(1)
	return e
}

func (s *Server) leave(e *exit) {
	s.mu.Lock()
	delete(s.conns, e)
	s.mu.Unlock()
	s.serving.Done()
}

// lookup finds a session, also one that has ended a moment ago.
func (s *Server) lookup(id uint64) *session {
	sh := &s.table[id%idShards]
	sh.mu.RLock()
	ss := sh.m[id]
	sh.mu.RUnlock()
	return ss
}

// open makes a session for a client that meta describes. It returns nil if
// there are too many. Sessions with a zero key are not limited by address. w is
// nil if the session did not come through a proxy.
func (s *Server) open(meta ConnInfo, local net.Addr, key addrKey, w *watch) *session {
	s.mu.Lock()
	reason := -1
	switch {
	case s.closed || s.draining:
		reason = RejectClosing
	case s.counters.sessions.Load() >= int64(s.cfg.Sessions):
		reason = RejectSessions
	case key != addrKey{} && s.perAddr[key] >= s.cfg.SessionsPerAddress:
		reason = RejectAddress
	}
	if reason >= 0 {
		s.mu.Unlock()
		s.refused(reason, meta.RemoteAddr)
		return nil
	}
	s.perAddr[key]++
	s.counters.sessions.Add(1)
	s.counters.opened.Add(1)
	s.mu.Unlock()

	ss := &session{srv: s, key: key, serial: s.serial.Add(1), born: s.clock(), slot: -1}
	ss.quiet, ss.proxied, ss.host, ss.watch = true, meta.Proxied, meta.Host, w
	ss.parkable = true
	ss.in.meter, ss.feed.meter = &s.received, &s.received
	ss.Conn.init(ss, local, meta.RemoteAddr, meta.Transport, s.cfg.QueueBytes, s.cfg.MaxAnswer-1)
	ss.out.twins = &s.groups
	ss.touched = ss.born
	for {
		ss.id = newID()
		sh := &s.table[ss.id%idShards]
		sh.mu.Lock()
		_, taken := sh.m[ss.id]
		if !taken {
			sh.m[ss.id] = ss
		}
		sh.mu.Unlock()
		if !taken {
			break
		}
	}
	ss.mu.Lock()
	ss.wake(ss.born + int64(s.cfg.OpenTimeout))
	select {
	case <-s.done: // Close may have missed it
		ss.end(closedError{})
	default:
	}
	ss.mu.Unlock()
	s.cfg.Log.Debug().Uint64("sid", ss.serial).Stringer("remote", meta.RemoteAddr).Str("transport", meta.Transport).Msg("tunnel session opened")
	return ss
}

// newID returns 18 random decimal digits, the first of them not 0.
func newID() uint64 {
	const least, span = 1e17, 9e17
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		if n := binary.BigEndian.Uint64(b[:]) >> 4; n < span {
			return least + n
		}
	}
}

// ended takes a session out of the counts. The caller holds its mutex.
func (s *Server) ended(ss *session) {
	s.mu.Lock()
	if s.perAddr[ss.key]--; s.perAddr[ss.key] <= 0 {
		delete(s.perAddr, ss.key)
	}
	s.mu.Unlock()
	s.counters.sessions.Add(-1)
	s.tombs.Add(1)
}

// forget takes an ended session out of the table.
func (s *Server) forget(ss *session) {
	sh := &s.table[ss.id%idShards]
	sh.mu.Lock()
	if sh.m[ss.id] == ss {
		delete(sh.m, ss.id)
		s.tombs.Add(-1)
	}
	sh.mu.Unlock()
}
