package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"culvert/gateway/client"
)

// each calls f for 0 to Count-1, Joining at a time, and returns the first error.
func (r *run) each(ctx context.Context, what string, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Joining)
	var done atomic.Int64
	told := r.clock.now()
	for i := range r.cfg.Count {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { // ends with f; waited below
			err := f(ctx, i)
			done.Add(1)
			return err
		})
		if now := r.clock.now(); now-told > time.Second {
			told = now
			r.cfg.Progress(fmt.Sprintf("%s: %d of %d", what, done.Load(), r.cfg.Count))
		}
	}
	return group.Wait()
}

// until waits until ok, at most limit, and returns the last answer.
func until(ctx context.Context, limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(limit)
	defer over.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-over.C:
			return ok()
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// crowd is the players of a run.
type crowd struct {
	run     *run
	mu      sync.Mutex
	players []*player // guarded by mu until all have joined
	leaving atomic.Bool
	group   sync.WaitGroup
}

// join adds a player.
func (c *crowd) join(ctx context.Context) error {
	p, err := c.run.join(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.players = append(c.players, p)
	c.mu.Unlock()
	c.group.Go(func() { // stopped by leave, which waits
		if err := p.play(); !c.leaving.Load() {
			c.run.lost(err)
		}
	})
	return nil
}

func (c *crowd) bits() (n uint64) {
	for _, p := range c.players {
		n += p.bits.Load()
	}
	return n
}

// began returns how many players have had a video frame.
func (c *crowd) began() (n int) {
	for _, p := range c.players {
		if p.nextVideo.Load() > 0 {
			n++
		}
	}
	return n
}

// leave waits until every player has all frames before the given numbers, for a
// limited time, and ends the players.
func (c *crowd) leave(ctx context.Context, video, audio uint64) {
	until(ctx, grace+c.run.cfg.Poll, func() bool {
		for _, p := range c.players {
			if p.nextVideo.Load() < video || p.nextAudio.Load() < audio {
				return false
			}
		}
		return true
	})
	c.close()
	for _, p := range c.players {
		c.run.res.Frames.Add(p.finish(video, audio))
	}
}

func (c *crowd) close() {
	c.leaving.Store(true)
	for _, p := range c.players {
		p.c.Close()
	}
	c.group.Wait()
}

// grace is the time that the last frames have to arrive once they are asked for.
const grace = 3 * time.Second

func (r *run) fanout(ctx context.Context) error {
	pub, err := r.publish(ctx, -1)
	if err != nil {
		return err
	}
	defer pub.close()
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	paced := make(chan error, 1)
	began := r.clock.now()
	go func() { paced <- pub.pace(publishing, 0) }() // stopped by stop; waited below

	players := &crowd{run: r}
	err = r.each(ctx, "players that have joined", func(ctx context.Context, _ int) error { return players.join(ctx) })
	if err == nil && !until(ctx, patience, func() bool { return players.began() == r.cfg.Count }) {
		err = fmt.Errorf("only %d of %d players got a video frame within %s", players.began(), r.cfg.Count, patience)
	}
	if err == nil {
		err = sleep(ctx, settle)
	}
	if err == nil {
		_, _, err = r.measure(ctx, players.bits)
	}
	late := r.cfg.expected(r.clock.now()-began) - float64(pub.frames.Load())
	stop()
	if perr := <-paced; perr != nil {
		r.lost(perr)
	}
	if err != nil {
		players.close()
		return err
	}
	if late > r.cfg.expected(time.Second) {
		r.invalid("the publisher is %.0f frames behind its schedule", late)
	}
	players.leave(ctx, pub.video.number, pub.audio.number)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) publishers(ctx context.Context) error {
	pubs := make([]*publisher, r.cfg.Count)
	defer func() {
		for _, p := range pubs {
			if p != nil {
				p.close()
			}
		}
	}()
	err := r.each(ctx, "publishers that have joined", func(ctx context.Context, i int) (err error) {
		pubs[i], err = r.publish(ctx, i)
		return err
	})
	if err != nil {
		return err
	}
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var paced sync.WaitGroup
	for i, p := range pubs {
		paced.Go(func() { // stopped by stop; waited below
			delay := time.Duration(i) * time.Second / time.Duration(r.cfg.FPS*len(pubs))
			if err := p.pace(publishing, delay); err != nil {
				r.lost(err)
			}
		})
	}
	sent := func() (frames, bits uint64) {
		for _, p := range pubs {
			frames += p.frames.Load()
			bits += p.bits.Load()
		}
		return frames, bits
	}
	err = sleep(ctx, settle)
	before, _ := sent()
	var begin, end sample
	if err == nil {
		begin, end, err = r.measure(ctx, func() uint64 { _, bits := sent(); return bits })
	}
	after, _ := sent()
	stop()
	paced.Wait()
	// Each may be a frame of either kind short at the window's ends.
	if want := r.cfg.expected(end.at-begin.at) * float64(r.cfg.Count); float64(after-before) < 0.95*want-float64(2*r.cfg.Count) {
		r.invalid("only %d of %.0f frames could be sent", after-before, want)
	}
	r.res.Frames.OK = after - before
	for _, p := range pubs {
		select {
		case <-p.watched:
			r.lost(errors.New("a publisher's connection has ended"))
		default:
		}
	}
	return err
}

func (r *run) storm(ctx context.Context) error {
	raging, stop := context.WithCancel(ctx)
	defer stop()
	var (
		storm sync.WaitGroup
		turns atomic.Int64
	)
	start := r.clock.now()
	for range r.cfg.Count {
		storm.Go(func() { // stopped by stop; waited below
			for raging.Err() == nil {
				if r.cfg.Pace > 0 {
					turn := time.Duration(turns.Add(1)) * time.Second / time.Duration(r.cfg.Pace)
					if sleep(raging, start+turn-r.clock.now()) != nil {
						return
					}
				}
				began := r.clock.now()
				c, err := client.Connect(ctx, r.cfg.Target, r.cfg.Options)
				if err != nil {
					r.lost(err)
					if sleep(raging, settle/10) != nil { // a server that refuses is not asked in a tight loop
						return
					}
					continue
				}
				now := r.clock.now()
				if r.inWindow(now) {
					r.calls.Record(now - began)
				}
				c.Close()
			}
		})
	}
	err := sleep(ctx, settle)
	if err == nil {
		_, _, err = r.measure(ctx, func() uint64 { return 0 })
	}
	stop()
	storm.Wait()
	return err
}

func (r *run) polls(ctx context.Context) error {
	sessions := make(chan io.Closer, r.cfg.Count)
	var (
		polling sync.WaitGroup
		leaving atomic.Bool
	)
	err := r.each(ctx, "sessions that have connected", func(ctx context.Context, _ int) error {
		c, _, err := r.connect(ctx)
		if err != nil {
			return err
		}
		sessions <- c
		polling.Go(func() { // stopped by the session's close; waited below
			for {
				m, err := c.ReadMessage()
				if err != nil {
					if !leaving.Load() {
						r.lost(err)
					}
					return
				}
				m.Release()
			}
		})
		return nil
	})
	if err == nil {
		err = sleep(ctx, settle)
	}
	if err == nil {
		_, _, err = r.measure(ctx, func() uint64 { return 0 })
	}
	leaving.Store(true)
	close(sessions)
	for s := range sessions {
		_ = s.Close() // it has served its purpose
	}
	polling.Wait()
	return err
}

func (r *run) goodput(ctx context.Context) error {
	pub, err := r.publish(ctx, -1)
	if err != nil {
		return err
	}
	defer pub.close()
	players := &crowd{run: r}
	if err := players.join(ctx); err != nil {
		return err
	}
	defer players.close()
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	pushed := make(chan error, 1)
	go func() { pushed <- pub.push(publishing, players.players[0]) }() // stopped by stop; waited below
	err = sleep(ctx, settle)
	if err == nil {
		_, _, err = r.measure(ctx, players.bits)
	}
	stop()
	if perr := <-pushed; perr != nil {
		r.lost(perr)
	}
	if err == nil && players.bits() == 0 {
		err = errors.New("the player got no frame")
	}
	players.leave(ctx, pub.video.number, 0)
	r.res.Count = 1
	return err
}
