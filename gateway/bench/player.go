package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// player plays the stream and checks every frame.
type player struct {
	run *run
	c   *rtmpcore.Client

	// owned by play until it has returned
	video, audio Check
	began        time.Duration // when it dialled
	scratch      []byte

	bits      atomic.Uint64 // of media payload that came
	nextVideo atomic.Uint64 // number after the latest frame's; 0: none came yet
	nextAudio atomic.Uint64
	wake      chan struct{} // told after a frame came
}

// connect connects to the target's application: players over the tunnel poll by
// themselves.
func (r *run) connect(ctx context.Context) (*rtmpcore.Client, *pollConn, error) {
	if !r.cfg.tunnelled() {
		c, err := client.Connect(ctx, r.cfg.Target, r.cfg.Options)
		return c, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := r.dialPoll(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.cfg.Target, err)
	}
	c := rtmpcore.NewClient(conn, rtmpcore.ClientConfig{App: r.cfg.Target.App, TCURL: r.cfg.Target.TCURL()})
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("%s: %w", r.cfg.Target, err)
	}
	return c, conn, nil
}

func (r *run) tlsConfig() *tls.Config {
	config := r.cfg.Options.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = r.cfg.Target.Host
	}
	return config
}

// join connects and begins to play.
func (r *run) join(ctx context.Context) (*player, error) {
	p := &player{run: r, began: r.clock.now(), wake: make(chan struct{}, 1)}
	var (
		poll *pollConn
		err  error
	)
	if p.c, poll, err = r.connect(ctx); err != nil {
		return nil, err
	}
	id, err := p.c.CreateStream(ctx)
	if err == nil {
		err = p.c.Play(ctx, id, r.cfg.Target.Name)
	}
	if err != nil {
		p.c.Close()
		return nil, fmt.Errorf("play from %s: %w", r.cfg.Target, err)
	}
	if poll != nil {
		poll.pause.Store(int64(r.cfg.Poll))
	}
	return p, nil
}

// play reads until the connection ends.
func (p *player) play() error {
	for {
		m, err := p.c.ReadMessage()
		if err != nil {
			return err
		}
		p.take(m)
		m.Release()
	}
}

// take checks a message.
func (p *player) take(m *chunk.Message) {
	if m.TypeID != message.TypeVideo && m.TypeID != message.TypeAudio {
		return
	}
	payload := m.Head()
	if m.Len() > len(payload) {
		p.scratch = m.AppendPayload(p.scratch[:0])
		payload = p.scratch
	}
	f, ok := parseFrame(m.TypeID, payload)
	if !ok {
		return
	}
	now := p.run.clock.now()
	check, next, latency := &p.video, &p.nextVideo, &p.run.video
	if m.TypeID == message.TypeAudio {
		check, next, latency = &p.audio, &p.nextAudio, &p.run.audio
	} else if !p.video.begun {
		p.run.setup.Record(now - p.began)
	}
	check.Reported(p.c.FellBehind())
	check.Frame(f.number, f.intact)
	if f.intact && p.run.inWindow(f.made) {
		latency.Record(now - f.made)
	}
	p.bits.Store(p.bits.Load() + uint64(len(payload))*8) // nobody else writes it
	next.Store(check.Next())
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// finish says how many frames there were and returns what became of them.
func (p *player) finish(video, audio uint64) FrameCounts {
	for check, number := range map[*Check]uint64{&p.video: video, &p.audio: audio} {
		check.Reported(p.c.FellBehind())
		check.End(number)
	}
	counts := p.video.FrameCounts
	counts.Add(p.audio.FrameCounts)
	return counts
}
