package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// readyLife is how long a connection is kept ready: servers give up a client that says
// nothing after the handshake, this one after 10 s.
const readyLife = 8 * time.Second

// readyPause is the time between looks at a backend that is not well.
const readyPause = time.Second

// store keeps connections to one backend that have made their handshake, so that a
// client does not wait for it. Its methods may be called by any goroutine, run once.
type store struct {
	// set at construction
	backend *Backend
	size    int           // 0: none are kept
	timeout time.Duration // of making one
	taken   chan struct{} // has one element: there is something to do
	log     zerolog.Logger

	// owned by run
	said said

	mu sync.Mutex
	// guarded by mu
	legs []spare // the oldest first
}

// said is what the log says last of a store.
type said uint8

const (
	saidNothing said = iota
	saidReady
	saidFailed
)

type spare struct {
	*leg
	until time.Time
}

// newStore returns a backend's store. One that must be told the client's address before
// all else can have nothing ready.
func newStore(b *Backend, cfg PoolConfig, log zerolog.Logger) *store {
	s := &store{backend: b, size: cfg.Ready, timeout: cfg.Timeout, taken: make(chan struct{}, 1), log: log}
	if b.cfg.Header != HeaderNone {
		s.size = 0
	}
	return s
}

// run keeps the store full until ctx ends.
func (s *store) run(ctx context.Context, cfg *Config) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer s.drop(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.taken:
		case <-timer.C:
		}
		timer.Reset(s.fill(ctx, cfg))
	}
}

// fill drops what is too old and makes what is missing. It returns the time until there is
// more to do.
func (s *store) fill(ctx context.Context, cfg *Config) time.Duration {
	if s.backend.state(time.Now()) != stateUp {
		s.drop(nil)
		return readyPause
	}
	now := time.Now()
	s.drop(&now)
	for s.len() < s.size {
		l, err := s.make(ctx, cfg)
		if err != nil {
			if ctx.Err() == nil {
				s.backend.fail(time.Now(), err)
				s.say(saidFailed, s.log.Warn().Err(err), "no connection can be kept ready")
			}
			return readyPause
		}
		s.mu.Lock()
		s.legs = append(s.legs, spare{l, time.Now().Add(readyLife)})
		s.mu.Unlock()
	}
	s.say(saidReady, s.log.Info().Int("ready", s.size), "connections are kept ready")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.legs) == 0 {
		return readyPause
	}
	return min(time.Until(s.legs[0].until), readyPause) // the backend may be drained meanwhile
}

// say logs what has changed since the last time.
func (s *store) say(now said, log *zerolog.Event, text string) {
	if now != s.said {
		log.Str("backend", s.backend.cfg.URL()).Msg(text)
	}
	s.said = now
}

func (s *store) make(ctx context.Context, cfg *Config) (*leg, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	l, err := newLeg(ctx, cfg, s.backend, Client{}, hello{})
	if err != nil {
		return nil, err
	}
	if err := l.Handshake(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (s *store) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.legs)
}

// drop ends those that are too old at a time, or all of them.
func (s *store) drop(now *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.legs) && (now == nil || !now.Before(s.legs[n].until)) {
		s.legs[n].close()
		n++
	}
	s.legs = append(s.legs[:0], s.legs[n:]...)
	clear(s.legs[len(s.legs):cap(s.legs)])
}

// take returns a leg that has made its handshake, or nil.
func (s *store) take() *leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.legs) == 0 {
		return nil
	}
	l := s.legs[0].leg
	s.legs = append(s.legs[:0], s.legs[1:]...)
	clear(s.legs[len(s.legs):cap(s.legs)])
	select {
	case s.taken <- struct{}{}:
	default:
	}
	return l
}

// meet makes a connected leg for a client: of one that is ready, or anew when there is none
// or the backend has given it up meanwhile. use is given each leg
// before it connects.
func (s *Session) meet(ctx context.Context, b *Backend, h hello, use func(*leg)) (*leg, error) {
	if l := b.store.take(); l != nil {
		use(l)
		l.Introduce(h.object, h.args)
		err := l.Connect(ctx)
		if err == nil {
			s.router.ready.Add(1)
			return l, nil
		}
		l.close()
		if statusOf(err) != nil || ctx.Err() != nil {
			return nil, err
		}
	}
	l, err := newLeg(ctx, &s.router.cfg, b, s.client, h)
	if err != nil {
		return nil, err
	}
	use(l)
	if err := l.Connect(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}
