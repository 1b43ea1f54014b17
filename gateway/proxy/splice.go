package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"culvert/rtmpcore"
)

// Splice is a client's connection passed through to a backend, byte for byte. Its
// methods may be called by any goroutine.
type Splice struct {
	// set by Router.Splice
	client  net.Conn
	route   *Route
	begin   time.Time
	ended   func(error)
	release func() // of the pool
	stop    func() bool

	up   flow // client to backend
	down flow

	mu sync.Mutex
	// guarded by mu
	backend net.Conn // nil until dialled
	open    int      // flows that run
	err     error    // why it ends; nil while it does not
}

// ErrNoBackend ends a client's session for which no backend could be reached, or
// whose backend was lost.
var ErrNoBackend = errors.New("proxy: no backend can be reached")

// ErrTooLong ends a session that has reached its longest life.
var ErrTooLong = errors.New("proxy: the session has lasted as long as one may")

// NewSplice prepares a client's way through; Start begins it.
func (r *Route) NewSplice(c net.Conn) *Splice {
	return &Splice{client: c, route: r, begin: time.Now()}
}

// Start dials a backend and passes bytes until one side ends, or ctx does. It returns
// as soon as the session can wait without a goroutine; why it ended is given to
// ended, once: nil when the client has left.
func (s *Splice) Start(ctx context.Context, client Client, dial Dial, ended func(error)) (backend *Backend) {
	s.ended = ended
	s.stop = context.AfterFunc(ctx, func() { s.Kick(nil, context.Cause(ctx)) })
	key := client.address().String()
	var conn net.Conn
	backend, err := s.route.pool.try(ctx, key, func(ctx context.Context, b *Backend) (err error) {
		conn, err = dial(ctx, b.cfg, client)
		return err
	})
	if err != nil {
		s.stop()
		_ = s.client.Close()
		ended(errors.Join(ErrNoBackend, err))
		return nil
	}
	s.release = s.route.pool.hold(key, backend)
	s.up.init(s, s.client, conn)
	s.down.init(s, conn, s.client)
	s.mu.Lock()
	s.backend, s.open = conn, 2
	if s.err != nil { // kicked while dialling
		_ = conn.Close()
	}
	s.mu.Unlock()
	if t, ok := s.client.(tunnelled); ok && t.Quiet() {
		s.shake()
		return backend
	}
	s.up.start()
	s.down.start()
	return backend
}

// shake passes the handshake's beginning on and its answer back before anything else is
// read: a tunnel answers a request as soon as nobody works on it any more.
func (s *Splice) shake() {
	if err := s.up.first(openSize); err != nil {
		s.up.end(err)
	} else if err := s.down.gather(); err != nil {
		s.down.end(err)
		s.up.start()
		return
	} else {
		s.up.start()
	}
	s.down.start()
}

// done notes that a flow has ended.
func (s *Splice) done(f *flow, err error) {
	s.mu.Lock()
	if err != nil && s.err == nil {
		s.err = err
	}
	s.open--
	last, backend := s.open == 0, s.backend
	err = s.err
	s.mu.Unlock()
	if err != nil || last {
		_ = s.client.Close()
		_ = backend.Close() // wakes the other flow
	}
	if !last {
		return
	}
	s.stop()
	s.release()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	s.ended(err)
}

// Kick ends the session. A client whose bytes are not looked at cannot be told why.
func (s *Splice) Kick(_ *rtmpcore.StatusError, reason error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = reason
	}
	backend := s.backend
	s.mu.Unlock()
	_ = s.client.Close()
	if backend != nil {
		_ = backend.Close()
	}
}

// Shutdown ends the session because the gateway stops.
func (s *Splice) Shutdown() { s.Kick(nil, rtmpcore.ErrShutdown) }

// BytesRead returns the bytes received from the client.
func (s *Splice) BytesRead() uint64 { return s.up.bytes.Load() }

// BytesWritten returns the bytes sent to the client.
func (s *Splice) BytesWritten() uint64 { return s.down.bytes.Load() }

// Limits returns the longest silence, 0 for that of all connections, and the end of
// its life, zero for none.
func (s *Splice) Limits() (idle time.Duration, until time.Time) {
	if s.route.Longest > 0 {
		until = s.begin.Add(s.route.Longest)
	}
	return s.route.Idle, until
}
