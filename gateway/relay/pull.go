package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

const (
	// patience is how long a player who does not wait for a publisher waits for the
	// origin.
	patience = 5 * time.Second
	// silence is how long an origin may send nothing in the middle of a stream.
	silence = 10 * time.Second
)

// origin is a server that streams are pulled from.
type origin struct {
	// set at construction
	relay *Relay
	cfg   Pull
	dest  destination
	stats *stats

	// guarded by relay.mu
	active map[live.Key]*pull
}

func newOrigin(r *Relay, d destination, cfg Pull) *origin {
	return &origin{relay: r, cfg: cfg, dest: d, stats: newStats(), active: make(map[live.Key]*pull)}
}

// pull is one stream being pulled.
type pull struct {
	job
	origin *origin

	// guarded by relay.mu
	wanted    bool
	displaced bool              // somebody publishes the stream here
	pub       *live.Publication // nil: nothing is published
	away      bool              // the origin was lost, pub is interrupted
	end       *time.Timer       // ends the pull when no player returns; nil: never used
	lost      *time.Timer       // ends the publication when the origin does not return; nil: never used
}

// wanted begins a pull, or keeps it. The caller holds relay.mu.
func (o *origin) wanted(key live.Key, source live.Source) {
	p := o.active[key]
	switch {
	case p != nil:
		p.wanted, p.displaced = true, false
	case len(o.active) >= o.cfg.Streams:
		o.stats.refused.Add(1)
	default:
		o.begin(key, source)
	}
}

func (o *origin) begin(key live.Key, source live.Source) {
	p := &pull{job: o.relay.newJob(key, source, o.dest, o.stats, "pull"), origin: o, wanted: true}
	o.active[key] = p
	o.relay.running.Go(p.run) // stopped by leave, or by Relay.Close, which waits for it
}

// unwanted gives players time to return. A pull that has brought nothing ends: one
// that has failed only after its pause, so that nobody can make the gateway try faster.
// The caller holds relay.mu.
func (o *origin) unwanted(key live.Key) {
	p := o.active[key]
	if p == nil {
		return
	}
	p.wanted = false
	switch {
	case p.pub != nil && p.end == nil:
		p.end = time.AfterFunc(o.cfg.Idle, p.idle) // harmless after the end
	case p.pub != nil:
		p.end.Reset(o.cfg.Idle)
	case p.err == nil:
		p.leave()
	}
}

// displaced ends a pull because somebody publishes the stream here. The caller holds
// relay.mu.
func (o *origin) displaced(key live.Key) {
	if p := o.active[key]; p != nil {
		p.displaced = true
		p.leave()
	}
}

// idle ends the pull of a stream whose players have not returned.
func (p *pull) idle() {
	p.relay.mu.Lock()
	over := !p.wanted
	if over {
		p.leave()
	}
	p.relay.mu.Unlock()
	if over {
		p.unpublish() // at once: closing the connection may take time, and a player may come
	}
}

// errNotThere is what a player is told, who need not know of the origin.
func errNotThere(key live.Key) error {
	return fmt.Errorf("nobody publishes stream %.100q", key.Name)
}

// Await returns nil when a stream that is pulled is there, and if the player is ready
// to wait, when it may come. A player who is not ready waits for the origin's answer,
// for some seconds at most. The player has subscribed before.
func (r *Relay) Await(ctx context.Context, key live.Key, wait bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		r.mu.Lock()
		p := r.origin.active[key]
		if p == nil {
			r.mu.Unlock()
			if r.cfg.Hub.Published(key) {
				return nil
			}
			return errNotThere(key)
		}
		there, failed, change := p.pub != nil || p.displaced, p.err != nil, p.change
		r.mu.Unlock()
		switch {
		case there, wait:
			return nil
		case failed:
			return errNotThere(key)
		}
		select {
		case <-change:
		case <-ctx.Done():
			return errNotThere(key)
		case <-r.ctx.Done():
			return errNotThere(key)
		}
	}
}

func (p *pull) run() {
	p.repeat(p.attempt, p.giveUp)
	p.leave()
	p.unpublish()
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	for _, t := range []*time.Timer{p.end, p.lost} {
		if t != nil {
			t.Stop()
		}
	}
	delete(p.origin.active, p.key)
	p.changed()
	if p.wanted && !p.displaced && !p.relay.closed { // somebody came meanwhile
		p.origin.begin(p.key, p.source)
	}
}

// giveUp ends the pull of a stream that failed and that nobody wants any more.
func (p *pull) giveUp() {
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	if !p.wanted && p.pub == nil {
		p.leave()
	}
}

// attempt pulls over one connection.
func (p *pull) attempt() error {
	p.set(Connecting)
	address := p.dest.of(p.key)
	ctx, cancel := p.relay.within(p.ctx)
	defer cancel()
	c, id, err := p.call(ctx, address, p.origin.cfg.TLS)
	if err != nil {
		return err
	}
	p.connected(c)
	if err := c.Play(ctx, id, address.Name); err != nil {
		return err
	}
	p.playing()
	f := &flow{pull: p, client: c}
	defer f.close()
	var ended error // valid once done is closed
	done := make(chan struct{})
	go func() { defer close(done); ended = f.run() }() // stopped by the end of the connection; waited below
	tick := time.NewTicker(silence)
	defer tick.Stop()
	for heard := uint64(0); ; {
		select {
		case <-done:
			p.broken()
			return ended
		case <-p.ctx.Done():
			p.disconnected()
			<-done
			p.log.Info().Msg("relay ended")
			return nil
		case <-tick.C:
		}
		n := c.BytesRead()
		if n == heard && f.live.Load() {
			p.disconnected()
			<-done
			p.broken()
			return errStalled
		}
		heard = n
	}
}

// playing notes that the origin has accepted.
func (p *pull) playing() {
	p.log.Info().Msg("relay connected")
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	p.err = nil
	p.setLocked(Waiting)
	if !p.wanted && p.pub == nil {
		p.leave() // the players left meanwhile
	}
}

// broken keeps the players while the origin is away.
func (p *pull) broken() {
	p.relay.mu.Lock()
	pub := p.pub
	if pub == nil || p.away {
		p.relay.mu.Unlock()
		return
	}
	p.away = true
	if p.lost == nil {
		p.lost = time.AfterFunc(p.origin.cfg.Lost, p.abandon) // harmless after the end
	} else {
		p.lost.Reset(p.origin.cfg.Lost)
	}
	p.relay.mu.Unlock()
	pub.Interrupt()
}

// abandon tells the players that the origin has not returned.
func (p *pull) abandon() {
	p.takeDown(func() bool { return p.away })
}

// unpublish tells the players that the stream has ended.
func (p *pull) unpublish() {
	p.takeDown(func() bool { return true })
}

// takeDown ends the publication, if due says so with the Relay locked.
func (p *pull) takeDown(due func() bool) {
	p.relay.mu.Lock()
	if !due() {
		p.relay.mu.Unlock()
		return
	}
	pub := p.pub
	p.pub, p.away = nil, false
	if p.state == Live {
		p.setLocked(Waiting)
	}
	p.relay.mu.Unlock()
	if pub != nil {
		pub.Close()
	}
}

// flow is what comes over one connection to the origin.
type flow struct {
	// set at construction
	pull   *pull
	client *rtmpcore.Client

	live atomic.Bool // audio and video are coming

	// owned by run
	pub  *live.Publication // nil: nothing is published
	meta *chunk.Message    // came before audio and video; nil: none
}

func (f *flow) close() {
	if f.meta != nil {
		f.meta.Release()
	}
}

// run publishes what comes until the connection ends.
func (f *flow) run() error {
	for {
		m, err := f.client.ReadMessage()
		if errors.Is(err, rtmpcore.ErrEnded) {
			f.ended()
			continue
		}
		if err == nil {
			err = f.write(m)
		}
		if err != nil {
			return err
		}
	}
}

// write takes over a message from the origin.
func (f *flow) write(m *chunk.Message) error {
	media := m.TypeID == message.TypeAudio || m.TypeID == message.TypeVideo
	if !media && forPlayer(m) {
		m.Release()
		return nil
	}
	if f.pub == nil {
		if !media {
			f.close()
			f.meta = m // the last one before audio and video is the stream's
			return nil
		}
		if err := f.publish(); err != nil {
			m.Release()
			return err
		}
	}
	return f.pub.WriteMessage(m)
}

// forPlayer reports whether a data message is about the session of the player, which
// ends here, and no part of the stream.
func forPlayer(m *chunk.Message) bool {
	head := m.Head()
	return bytes.HasPrefix(head, []byte("\x02\x00\x08"+message.NameOnStatus)) || bytes.HasPrefix(head, []byte("\x02\x00\x11"+message.NameSampleAccess))
}

// publish begins, or goes on with, the publication.
func (f *flow) publish() error {
	p, r := f.pull, f.pull.relay
	r.mu.Lock()
	pub, source := p.pub, p.source
	p.away = false
	r.mu.Unlock()
	if pub == nil {
		var err error
		pub, err = r.cfg.Hub.Publish(p.key, r.cfg.Live, live.Offer{
			Publisher: p,
			Source:    live.Source{Transport: Transport, Remote: p.dest.label, Via: source.Via},
		})
		if err != nil {
			return err
		}
	}
	f.pub = pub
	f.live.Store(true)
	r.mu.Lock()
	p.pub = pub
	p.setLocked(Live)
	if !p.wanted {
		p.leave() // the players left meanwhile
	}
	r.mu.Unlock()
	if f.meta == nil {
		return nil
	}
	meta := f.meta
	f.meta = nil
	return pub.WriteMessage(meta)
}

// ended tells the players of the end that the origin has told.
func (f *flow) ended() {
	if f.pub == nil {
		return
	}
	f.pub = nil
	f.live.Store(false)
	f.pull.unpublish()
}

// Replaced implements [live.Publisher]: the next write says so.
func (p *pull) Replaced() {}
