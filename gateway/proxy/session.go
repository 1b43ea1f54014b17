package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Session is a client's connection in routed mode: one whose streams may be at
// backends. Its methods are for the goroutine that serves the connection.
type Session struct {
	// set at construction
	router *Router
	nc     *rtmpcore.NetConn
	log    zerolog.Logger
	client Client
	req    *rtmpcore.ConnectRequest
	base   Request  // what is known since connect
	routes []*Route // that the connection's streams may take, in order
	common *Route   // the last of them, if every stream takes it that takes none before; else nil
	local  bool     // streams that take no route are served here
	ctx    context.Context
	cancel context.CancelFunc

	active atomic.Int32 // streams at backends
	up     calls        // of the client
	down   calls        // of backends

	mu sync.Mutex
	// guarded by mu
	ready     *line   // connected in advance
	lines     []*line // all that are connected, the oldest first
	opened    bool    // the client knows that it is connected
	held      []*chunk.Message
	heldBytes int
	talk      talk
	shared    map[string]*subscription // by the object's name
}

// line is a leg with its place in a pool.
type line struct {
	*leg
	session *Session
	stream  *stream     // nil: none yet
	asked   bool        // the backend has agreed to the stream; guarded by the session's mu
	taken   bool        // from the session's ready; likewise
	spoken  atomic.Bool // the client has said something on it that a backend may remember
	route   *Route
	told    told
	release func()
	idle    sync.WaitGroup // whoever reads it while it has no stream
	before  func() error   // nil, or what goes to the client before anything else does; for whoever reads
}

func (l *line) close() {
	l.leg.close()
	l.session.forget(l)
	l.release()
}

// Connect prepares a client's connection, or returns nil when no route can take any of
// its streams. When the route is certain already, its backend is connected to: what
// that refuses, the client is refused, with the backend's words. local says that streams
// which take no route are served here, and calls of clients without a stream with them.
func (r *Router) Connect(nc *rtmpcore.NetConn, log zerolog.Logger, client Client, req *rtmpcore.ConnectRequest, local bool) (*Session, error) {
	if len(r.routes) == 0 {
		return nil, nil
	}
	s := &Session{router: r, nc: nc, log: log, client: client, req: req, local: local}
	s.ctx, s.cancel = context.WithCancel(nc.Context())
	if s.client.Host == "" {
		s.client.Host = req.Host()
	}
	s.base = NewRequest(s.client, req.App, "", req.Query, UseAny)
	s.base.named = false
	for _, route := range r.routes {
		if route.Transparent {
			continue
		}
		why, c, known := route.mismatch(&s.base)
		if why != "" {
			continue
		}
		s.routes = append(s.routes, route)
		if !known {
			continue
		}
		s.common = route
		if len(s.routes) == 1 && route.anyBackend() {
			l, err := s.dial(s.ctx, route, &s.base, c, "")
			if err != nil {
				s.cancel()
				return nil, s.refused("connect", message.StatusConnectRejected, route, err)
			}
			s.ready = l
		}
		break
	}
	if len(s.routes) == 0 {
		s.cancel()
		return nil, nil
	}
	return s, nil
}

// Close ends what the connection has at backends beside its streams, which have ended.
func (s *Session) Close() {
	s.mu.Lock()
	s.talk.closed = true
	s.mu.Unlock()
	s.cancel()
	s.talk.seekers.Wait()
	s.mu.Lock()
	lines := slices.Clone(s.lines)
	s.ready = nil
	s.mu.Unlock()
	for _, l := range lines {
		l.close()
		l.idle.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.talk.early = chunk.ReleaseAll(s.held), chunk.ReleaseAll(s.talk.early)
}

// takeReady returns the line that was connected in advance, if it is for a route.
func (s *Session) takeReady(route *Route) *line {
	s.mu.Lock()
	l := s.ready
	if l == nil || l.route != route {
		s.mu.Unlock()
		return nil
	}
	s.ready, l.taken = nil, true
	s.mu.Unlock()
	l.Interrupt()
	l.idle.Wait()
	return l
}

// find returns the route of a stream.
func (s *Session) find(q *Request) (*Route, captures) {
	for _, route := range s.routes {
		if why, c, _ := route.mismatch(q); why == "" {
			return route, c
		}
	}
	return nil, nil
}

func (s *Session) request(name, query string, use Use) Request {
	q := s.base
	q.Stream, q.Use, q.named = name, use, true
	if q.Query = query; query == "" || s.base.Query != "" {
		q.Query = joined(query, s.base.Query)
	}
	return q
}

func joined(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return a + "&" + b
}

// dial connects to a backend of a route.
func (s *Session) dial(ctx context.Context, route *Route, q *Request, c captures, query string) (*line, error) {
	return s.open(ctx, &stream{route: route, req: *q, captures: c, query: query}, nil)
}

// open connects to a backend of a route and asks it for a stream, trying the next one
// as the pool is set up.
func (s *Session) open(ctx context.Context, st *stream, ask func(context.Context, *line) error) (*line, error) {
	var l *line
	key := st.req.key()
	_, err := st.route.pool.try(ctx, key, func(ctx context.Context, b *Backend) error {
		t := st.route.rewrite(&st.req, st.captures, b, st.query)
		_, err := s.meet(ctx, b, newHello(&s.router.cfg, st.route, s.client, s.req, t), func(leg *leg) {
			next := &line{leg: leg, session: s, route: st.route, told: t}
			next.OnOther(func(m *chunk.Message) bool { return s.heard(next, m) })
			l = next
		})
		if err != nil {
			if l != nil {
				s.forget(l)
			}
			return err
		}
		l.release = st.route.pool.hold(key, b)
		if ask != nil {
			l.stream = st
		}
		s.adopt(l)
		if ask == nil {
			return nil
		}
		if err = ask(ctx, l); err != nil {
			l.close()
			return err
		}
		s.agreed(l, st)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// stream gives a stream a line: the one that was connected in advance, else a new one.
func (s *Session) stream(st *stream) (*line, error) {
	if l := s.takeReady(st.route); l != nil {
		l.told = st.route.rewrite(&st.req, st.captures, l.backend, st.query)
		l.stream = st
		ctx, cancel := context.WithTimeout(s.ctx, st.route.pool.cfg.Timeout)
		err := st.ask(ctx, l)
		cancel()
		if err == nil {
			s.agreed(l, st)
			return l, nil
		}
		l.close()
		if errors.As(err, new(*rtmpcore.StatusError)) {
			return nil, err
		}
	}
	return s.open(s.ctx, st, st.ask)
}

// agreed notes that a backend has agreed to a stream, whose commands may go there.
func (s *Session) agreed(l *line, st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.stream, l.asked = st, true
}

// refused logs and counts a refusal, and turns it into what the client is told.
func (s *Session) refused(what, code string, route *Route, err error) error {
	s.router.refused.Add(1)
	var status *rtmpcore.StatusError
	if errors.As(err, &status) {
		s.log.Info().Str("route", route.Name).Str("reason", status.Error()).Msg(what + " refused by the backend")
		return &rtmpcore.StatusError{Code: status.Code, Description: status.Description, Close: true}
	}
	s.log.Warn().Str("route", route.Name).Err(err).Msg(what + " refused: no backend can be reached")
	return &rtmpcore.StatusError{Code: code, Description: "The server behind this gateway cannot be reached. Try again later.", Close: true}
}

// lose tells a client that the backend of its stream is gone for good. It ends the
// connection unless that carries other streams: encoders wait for ever otherwise.
func (s *Session) lose(st *stream, status *rtmpcore.StatusError, err error) {
	s.log.Warn().Str("route", st.route.Name).Str("backend", st.former.cfg.URL()).Str("app", s.req.App).Err(err).Msg("backend lost")
	s.router.lost.Add(1)
	if s.active.Load() > 1 {
		st.ns.Notify(message.Status{Level: message.LevelError, Code: status.Code, Description: status.Description})
		return
	}
	s.nc.Kick(status, fmt.Errorf("%w: %w", ErrNoBackend, err))
}

// stream is what a publication and a playback have in common.
type stream struct {
	session  *Session
	ns       *rtmpcore.NetStream
	route    *Route
	req      Request
	captures captures
	query    string // that came with the stream's name
	ask      func(context.Context, *line) error

	ctx    context.Context // the stream's lifetime
	cancel context.CancelFunc
	reader attendant
	former *Backend // whose line has ended; owned by who replaces it
}

// newStream finds the route of a stream; nil when it is served here.
func (s *Session) newStream(ns *rtmpcore.NetStream, name, query string, use Use) *stream {
	q := s.request(name, query, use)
	route, c := s.find(&q)
	if route == nil {
		return nil
	}
	st := &stream{session: s, ns: ns, route: route, req: q, captures: c, query: query}
	st.ctx, st.cancel = context.WithCancel(s.ctx)
	return st
}

// begun logs the beginning of a stream. Its name may be a key and is not logged.
func (st *stream) begun(what string, l *line) {
	st.session.active.Add(1)
	st.session.log.Info().Str("app", st.session.req.App).Str("route", st.route.Name).Str("backend", l.backend.cfg.URL()).
		Uint32("msid", st.ns.ID()).Msg(what)
}
