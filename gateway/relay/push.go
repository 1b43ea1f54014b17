package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
)

// target is a server that streams are pushed to.
type target struct {
	// set at construction
	relay  *Relay
	dest   destination
	linger time.Duration
	tls    *tls.Config
	stats  *stats

	// guarded by relay.mu
	active map[live.Key]*push
}

func newTarget(r *Relay, d destination, p Push) *target {
	return &target{relay: r, dest: d, linger: p.Linger, tls: p.TLS, stats: newStats(), active: make(map[live.Key]*push)}
}

// push is one stream being pushed to one target.
type push struct {
	job
	target *target

	// guarded by relay.mu
	live bool        // there is a publisher
	end  *time.Timer // ends the push when the publisher does not return; nil: never used
}

// published begins a push, or goes on with one whose publisher has returned. The
// caller holds relay.mu.
func (t *target) published(key live.Key, source live.Source) {
	p := t.active[key]
	if p != nil {
		p.live, p.source = true, source
		if p.state == Waiting {
			p.setLocked(Live)
		}
		p.changed()
		return
	}
	t.begin(key, source)
}

func (t *target) begin(key live.Key, source live.Source) {
	p := &push{job: t.relay.newJob(key, source, t.dest, t.stats, "push"), target: t, live: true}
	t.active[key] = p
	t.relay.running.Go(p.run) // stopped by leave, or by Relay.Close, which waits for it
}

// unpublished gives the publisher time to return. The caller holds relay.mu.
func (t *target) unpublished(key live.Key) {
	p := t.active[key]
	if p == nil || !p.live {
		return
	}
	p.live = false
	if p.state == Live {
		p.setLocked(Waiting)
	}
	if p.end == nil {
		p.end = time.AfterFunc(t.linger, p.gone) // harmless after the end
		return
	}
	p.end.Reset(t.linger)
}

// gone ends the push of a publisher that has not returned.
func (p *push) gone() {
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	if !p.live {
		p.leave()
	}
}

func (p *push) run() {
	p.repeat(p.attempt, p.awaitPublisher)
	p.leave()
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	if p.end != nil {
		p.end.Stop()
	}
	delete(p.target.active, p.key)
	if p.live && !p.relay.closed { // it returned while the target was told of its end
		p.target.begin(p.key, p.source)
	}
}

// awaitPublisher waits while there is nothing to push.
func (p *push) awaitPublisher() {
	for {
		p.relay.mu.Lock()
		present, change := p.live, p.change
		p.relay.mu.Unlock()
		if present {
			return
		}
		select {
		case <-change:
		case <-p.ctx.Done():
			return
		}
	}
}

// attempt pushes over one connection.
func (p *push) attempt() error {
	p.set(Connecting)
	address := p.dest.of(p.key)
	ctx, cancel := p.relay.within(p.ctx)
	defer cancel()
	c, id, err := p.call(ctx, address, p.target.tls)
	if err != nil {
		return err
	}
	p.connected(c)
	if err := c.Publish(ctx, id, address.Name); err != nil {
		return err
	}
	sub, err := p.relay.cfg.Hub.Subscribe(p.key, p.relay.cfg.Live, live.Request{
		Player:   quiet{},
		Source:   live.Source{Transport: "push", Remote: p.dest.label},
		Writer:   c.Writer(),
		StreamID: id,
		Wait:     true,
		Relay:    true,
		Behind:   p.behind(),
		Dropped:  &p.stats.dropped,
	})
	if err != nil {
		return err
	}
	defer func() {
		sub.Close()
		if n := sub.Dropped(); n > 0 {
			p.log.Warn().Uint64("dropped", n).Msg("target has missed frames")
		}
	}()
	p.begun()
	p.log.Info().Msg("relay connected")
	sub.Start()
	done := make(chan struct{})
	go func() { defer close(done); err = listen(c) }() // stopped by the end of the connection; waited below
	select {
	case <-done:
		return err
	case <-p.ctx.Done():
	}
	sub.Close()
	p.farewell(c, id, address.Name)
	p.disconnected()
	<-done
	p.log.Info().Msg("relay ended")
	return nil
}

// behind returns what the log is told by when a connection loses its first frames. How
// many there were it is told at the end. A server is sent no word about it.
func (p *push) behind() func() *chunk.Message {
	late := false // guarded by the lock of the connection's writer
	return func() *chunk.Message {
		if !late {
			late = true
			p.log.Warn().Str("setting", "limits.queue, limits.queue_time").Msg("target reads too slowly: frames are dropped")
		}
		return nil
	}
}

// begun notes that the target takes the stream.
func (p *push) begun() {
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	p.err = nil
	if p.live {
		p.setLocked(Live)
	} else {
		p.setLocked(Waiting)
	}
}

// farewell tells the target that the stream ends here.
func (p *push) farewell(c *rtmpcore.Client, id uint32, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), goodbye)
	defer cancel()
	if c.Unpublish(id, name) == nil {
		_ = c.Flush(ctx) // a target that does not take it sees the end of the connection
	}
}

// listen reads what a server says to a publisher, until it ends the stream.
func listen(c *rtmpcore.Client) error {
	for {
		m, err := c.ReadMessage()
		if errors.Is(err, rtmpcore.ErrEnded) {
			continue // said to players
		}
		if err != nil {
			return err
		}
		m.Release()
	}
}

// quiet is a player who is told nothing: what matters to a push it learns as the
// hub's watcher.
type quiet struct{}

func (quiet) Published()   {}
func (quiet) Unpublished() {}
