package proxy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"culvert/rtmpcore"
)

// Balance is how a pool chooses a backend.
type Balance uint8

// Balances.
const (
	BalanceRoundRobin Balance = iota // in turn, by weight
	BalanceLeast                     // the one with the fewest sessions for its weight
	BalanceHash                      // always the same for a stream while the backends are the same
	BalanceSticky                    // the one that has the stream already, else the one with the fewest sessions
)

// PoolConfig is a set of backends that are as good as each other.
type PoolConfig struct {
	Backends  []BackendConfig
	Balance   Balance
	Retries   int           // further backends that are tried for a session
	Timeout   time.Duration // of one attempt
	Eject     EjectConfig
	Check     CheckConfig
	Ready     int           // connections per backend that have made their handshake before anybody asks
	SlowStart time.Duration // how long a backend that came back gets less than its share
}

// EjectConfig says when a backend is left alone because sessions failed.
type EjectConfig struct {
	Failures int           // in a row; 0: never
	Time     time.Duration // the first time; it grows with every further one
}

// Pool chooses backends. Its methods may be called by any goroutine.
type Pool struct {
	// set at construction
	cfg      PoolConfig
	name     string
	log      zerolog.Logger
	backends []*Backend

	mu sync.Mutex
	// guarded by mu
	sticky map[string]*stuck
}

// stuck says where a stream is.
type stuck struct {
	backend *Backend
	refs    int
	since   time.Time // the last session ended
}

// stickyTime is how long a stream without sessions is remembered, so that a
// publisher who reconnects finds its players.
const stickyTime = 30 * time.Second

// maxSticky is how many streams are remembered; those beyond are balanced without.
const maxSticky = 1 << 16

func newPool(name string, cfg PoolConfig, log zerolog.Logger) *Pool {
	p := &Pool{cfg: cfg, name: name, log: log.With().Str("route", name).Logger(), sticky: make(map[string]*stuck)}
	for _, b := range cfg.Backends {
		b.Weight = max(b.Weight, 1)
		backend := &Backend{cfg: b, app: b.App, eject: cfg.Eject, slow: cfg.SlowStart, drained: b.Drained}
		backend.store = newStore(backend, cfg, p.log)
		p.backends = append(p.backends, backend)
	}
	return p
}

// errNoBackend says that a pool has nothing that may be tried.
var errNoBackend = errors.New("no backend is up")

// pick chooses a backend that is not among those tried already. A backend that was
// ejected is taken when there is no other.
func (p *Pool) pick(key string, tried []*Backend, now time.Time) *Backend {
	var best []*Backend
	for _, want := range []state{stateUp, stateEjected} {
		for _, b := range p.backends {
			if b.state(now) == want && !slices.Contains(tried, b) {
				best = append(best, b)
			}
		}
		if len(best) > 0 {
			break
		}
	}
	if len(best) == 0 {
		return nil
	}
	switch p.cfg.Balance {
	case BalanceHash:
		return p.byHash(key, best)
	case BalanceLeast:
		return least(best, now)
	case BalanceSticky:
		return p.byStream(key, best, now)
	default:
		return p.inTurn(best, now)
	}
}

// inTurn is a weighted round robin without clusters: each gains its weight, the
// richest is taken and pays the sum.
func (p *Pool) inTurn(from []*Backend, now time.Time) *Backend {
	const scale = 100 // of the weights of backends that start slowly
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *Backend
	sum := 0
	for _, b := range from {
		w := max(int(b.weight(now)*scale), 1)
		b.current += w
		sum += w
		if best == nil || b.current > best.current {
			best = b
		}
	}
	best.current -= sum
	return best
}

func least(from []*Backend, now time.Time) *Backend {
	var best *Backend
	load := math.Inf(1)
	for _, b := range from {
		if l := float64(b.sessions.Load()+1) / b.weight(now); l < load {
			best, load = b, l
		}
	}
	return best
}

// hashSeed is the same in all gateways, so that several in front of the same
// backends agree.
const hashOffset, hashPrime = 14695981039346656037, 1099511628211

// hash is FNV-1a with a final mixing.
func hash(parts ...string) uint64 {
	h := uint64(hashOffset)
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * hashPrime
		}
		h = (h ^ 0xFF) * hashPrime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// byHash is rendezvous hashing: each backend draws a number for the stream, the
// highest wins. When a backend goes, only its own streams move.
func (p *Pool) byHash(key string, from []*Backend) *Backend {
	var best *Backend
	highest := math.Inf(-1)
	for _, b := range from {
		draw := (float64(hash(b.cfg.URL(), key)>>11) + 0.5) / (1 << 53)
		if score := -float64(b.cfg.Weight) / math.Log(draw); score > highest {
			best, highest = b, score
		}
	}
	return best
}

func (p *Pool) byStream(key string, from []*Backend, now time.Time) *Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sticky[key]; s != nil && slices.Contains(from, s.backend) {
		return s.backend
	}
	return least(from, now)
}

// hold notes that a session of a stream is on a backend. The result ends that.
func (p *Pool) hold(key string, b *Backend) (release func()) {
	b.sessions.Add(1)
	b.taken.Add(1)
	if p.cfg.Balance != BalanceSticky {
		return sync.OnceFunc(func() { b.sessions.Add(-1) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sticky[key]
	if s == nil || s.backend != b {
		free := s == nil && len(p.sticky) < maxSticky || s != nil && s.refs == 0
		s = &stuck{backend: b}
		if free { // else the stream is elsewhere, and this session could not go there
			p.sticky[key] = s
		}
	}
	s.refs++
	return sync.OnceFunc(func() {
		b.sessions.Add(-1)
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.refs--; s.refs == 0 {
			s.since = time.Now()
		}
	})
}

// forget drops streams that have had no session for a while.
func (p *Pool) forget(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.sticky {
		if s.refs == 0 && now.Sub(s.since) > stickyTime {
			delete(p.sticky, key)
		}
	}
}

// try calls f with one backend after the other until it succeeds, the retries are
// used up, or the backend has given a definite answer: a *[rtmpcore.StatusError].
func (p *Pool) try(ctx context.Context, key string, f func(ctx context.Context, b *Backend) error) (*Backend, error) {
	var (
		tried []*Backend
		last  error
	)
	for range p.cfg.Retries + 1 {
		b := p.pick(key, tried, time.Now())
		if b == nil {
			break
		}
		tried = append(tried, b)
		err := p.attempt(ctx, b, f)
		if err == nil {
			b.succeed()
			return b, nil
		}
		if errors.As(err, new(*rtmpcore.StatusError)) {
			b.succeed()
			return b, err
		}
		if ctx.Err() != nil {
			return b, context.Cause(ctx)
		}
		last = fmt.Errorf("%s: %w", b.cfg.URL(), err)
		if b.fail(time.Now(), err) {
			p.log.Warn().Str("backend", b.cfg.URL()).Err(err).Msg("backend ejected")
		} else {
			p.log.Debug().Str("backend", b.cfg.URL()).Err(err).Msg("backend failed")
		}
	}
	if last == nil {
		last = errNoBackend
	}
	return nil, last
}

func (p *Pool) attempt(ctx context.Context, b *Backend, f func(ctx context.Context, b *Backend) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	return f(ctx, b)
}
