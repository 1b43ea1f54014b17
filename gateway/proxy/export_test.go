package proxy

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// NewPool and its methods below are for tests of what a pool chooses.
func NewPool(cfg PoolConfig) *Pool { return newPool("test", cfg, zerolog.Nop()) }

func (p *Pool) Pick(key string, now time.Time) string {
	b := p.pick(key, nil, now)
	if b == nil {
		return ""
	}
	return b.cfg.Host
}

func (p *Pool) Hold(key string, now time.Time) (host string, release func()) {
	b := p.pick(key, nil, now)
	return b.cfg.Host, p.hold(key, b)
}

func (p *Pool) Fail(i int, now time.Time, err error) bool { return p.backends[i].fail(now, err) }

func (p *Pool) Checked(i int, now time.Time, err error) bool {
	return p.backends[i].checked(now, err, p.cfg.Check.Rise, p.cfg.Check.Fall)
}

func (p *Pool) Drain(i int) { p.backends[i].drain(true) }

func (p *Pool) Succeed(i int) { p.backends[i].succeed() }

func (p *Pool) Forget(now time.Time) { p.forget(now) }

// Known is the number of streams whose place is remembered.
func (p *Pool) Known() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sticky)
}

// Try has f called with the hosts that a session is tried at.
func (p *Pool) Try(ctx context.Context, f func(host string) error) error {
	_, err := p.try(ctx, "", func(_ context.Context, b *Backend) error { return f(b.cfg.Host) })
	return err
}

// TalkTooLate connects to a backend for what is said beside streams of a client who has
// just left.
func (s *Session) TalkTooLate() error {
	s.mu.Lock()
	s.talk.closed = true
	s.mu.Unlock()
	return s.talkTo(s.routes[0])
}

// Up reports whether a backend may be picked like any other.
func (p *Pool) Up(i int, now time.Time) bool { return p.backends[i].state(now) == stateUp }
