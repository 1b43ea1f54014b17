package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

// CheckKind is how far an active check goes.
type CheckKind uint8

// Kinds of checks.
const (
	CheckOff       CheckKind = iota
	CheckTCP                 // the port can be connected to
	CheckHandshake           // RTMP handshake
	CheckConnect             // connect command; a refusal is an answer
	CheckPlay                // a probe stream brings media
)

// CheckConfig says how backends are checked while nobody uses them.
type CheckConfig struct {
	Kind     CheckKind
	Interval time.Duration
	Timeout  time.Duration
	Rise     int    // good checks in a row after which a backend is up again
	Fall     int    // bad checks in a row after which it is down
	App      string // for connect and play
	Stream   string // for play
}

// run checks the pool's backends until ctx ends.
func (p *Pool) run(ctx context.Context, cfg *Config) {
	interval := p.cfg.Check.Interval
	if p.cfg.Check.Kind == CheckOff {
		interval = stickyTime // only to forget
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if p.cfg.Check.Kind != CheckOff {
			p.checkAll(ctx, cfg)
		}
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.forget(now)
		}
	}
}

func (p *Pool) checkAll(ctx context.Context, cfg *Config) {
	var checks sync.WaitGroup
	for _, b := range p.backends {
		checks.Go(func() { p.checkOne(ctx, cfg, b) }) // stopped by its timeout; waited below
	}
	checks.Wait()
}

func (p *Pool) checkOne(ctx context.Context, cfg *Config, b *Backend) {
	c := p.cfg.Check
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err := c.probe(limited, cfg, b)
	if ctx.Err() != nil {
		return
	}
	if b.checked(time.Now(), err, c.Rise, c.Fall) {
		if err != nil {
			p.log.Warn().Str("backend", b.cfg.URL()).Err(err).Msg("backend is down")
		} else {
			p.log.Info().Str("backend", b.cfg.URL()).Msg("backend is up")
		}
	}
}

// probe is one check.
func (c *CheckConfig) probe(ctx context.Context, cfg *Config, b *Backend) error {
	if c.Kind == CheckTCP {
		conn, err := cfg.Dial(ctx, b.cfg, Client{})
		if err != nil {
			return err
		}
		return ignoreClosed(conn.Close())
	}
	app := strings.Trim(c.App, "/")
	l, err := newLeg(ctx, cfg, b, Client{}, hello{object: amf.Object{
		{Key: "app", Value: app},
		{Key: "type", Value: "nonprivate"},
		{Key: "flashVer", Value: "LNX 9,0,124,2"},
		{Key: "tcUrl", Value: b.cfg.URL() + "/" + app},
		{Key: "objectEncoding", Value: 0.0},
		{Key: rtmpcore.ViaProperty, Value: cfg.ID},
	}})
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.Handshake(ctx); err != nil || c.Kind == CheckHandshake {
		return err
	}
	err = l.Connect(ctx)
	if c.Kind == CheckConnect && errors.As(err, new(*rtmpcore.StatusError)) {
		return nil // it is alive and has an opinion
	}
	if err != nil || c.Kind == CheckConnect {
		return err
	}
	if err := l.play(ctx, c.Stream, rtmpcore.PlayRequest{Start: rtmpcore.PlayAny, Duration: -1}); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, l.close)()
	return l.awaitMedia()
}

// awaitMedia waits for audio or video.
func (l *leg) awaitMedia() error {
	for {
		m, err := l.ReadMessage()
		if err != nil {
			return err
		}
		media := m.TypeID == message.TypeAudio || m.TypeID == message.TypeVideo
		m.Release()
		if media {
			return nil
		}
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
