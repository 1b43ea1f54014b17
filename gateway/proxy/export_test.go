package proxy

import (
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
