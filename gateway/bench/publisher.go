package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// publisher publishes one stream. Its frames go out by schedule, equal in size,
// with a key frame every second.
type publisher struct {
	run          *run
	c            *rtmpcore.Client
	streamID     uint32
	video, audio frameWriter
	bits         atomic.Uint64 // of media payload that was sent
	frames       atomic.Uint64 // of video and audio that were sent
	watched      chan struct{} // closed when nobody reads what the server says any more
}

// publish connects and begins to publish. index is the publisher's number, below
// zero for the only one.
func (r *run) publish(ctx context.Context, index int) (*publisher, error) {
	target := r.cfg.Target
	if index >= 0 {
		target.Name = numbered(target.Name, index)
	}
	c, err := client.Connect(ctx, target, r.cfg.Options)
	if err != nil {
		return nil, err
	}
	p := &publisher{run: r, c: c, video: frameWriter{video: true}, watched: make(chan struct{})}
	p.streamID, err = c.CreateStream(ctx)
	if err == nil {
		err = c.Publish(ctx, p.streamID, target.Name)
	}
	if err == nil {
		err = c.Send(
			chunk.NewMessage(message.TypeVideo, p.streamID, 0, videoHeader),
			chunk.NewMessage(message.TypeAudio, p.streamID, 0, audioHeader),
		)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("publish to %s: %w", target, err)
	}
	go func() { // stopped by c.Close, waited by close
		defer close(p.watched)
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			m.Release()
		}
	}()
	return p, nil
}

// numbered puts an index behind a stream name, in front of its query.
func numbered(name string, index int) string {
	for i := range len(name) {
		if name[i] == '?' {
			return name[:i] + "-" + strconv.Itoa(index) + name[i:]
		}
	}
	return name + "-" + strconv.Itoa(index)
}

// pace sends the stream in real time until ctx ends. delay is when to begin.
func (p *publisher) pace(ctx context.Context, delay time.Duration) error {
	cfg := &p.run.cfg
	pace := client.NewPacer()
	defer pace.Stop()
	videoSize, audioSize := cfg.videoSize(), cfg.audioSize()
	for {
		videoAt := time.Duration(p.video.number) * time.Second / time.Duration(cfg.FPS)
		audioAt := time.Duration(p.audio.number) * audioSamples * time.Second / audioFrequency
		video := cfg.Silent || videoAt <= audioAt
		at := audioAt
		if video {
			at = videoAt
		}
		if pace.Wait(ctx, delay+at) != nil {
			return nil
		}
		var m *chunk.Message
		if video {
			key := p.video.number%uint64(cfg.FPS) == 0
			m = p.video.next(videoSize, key, chunk.Timestamp(videoAt/time.Millisecond), p.streamID, p.run.clock.now())
		} else {
			m = p.audio.next(audioSize, false, chunk.Timestamp(audioAt/time.Millisecond), p.streamID, p.run.clock.now())
		}
		if err := p.send(m); err != nil {
			return err
		}
	}
}

// expected returns how many frames pace sends in a time.
func (c *Config) expected(d time.Duration) float64 {
	frames := float64(c.FPS)
	if !c.Silent {
		frames += float64(audioFrequency) / audioSamples
	}
	return d.Seconds() * frames
}

// pushGroup is the number of frames between two key frames of push.
const pushGroup = 30

// push sends video as fast as p's player gets it, until ctx ends: bytes on their
// way are bounded, so that servers which drop and servers which hold the
// publisher back are asked the same.
func (p *publisher) push(ctx context.Context, pl *player) error {
	cfg := &p.run.cfg
	flight := uint64(max(cfg.Flight/cfg.Size, 1))
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		for p.video.number-min(pl.nextVideo.Load(), p.video.number) >= flight {
			// What the server drops never arrives: try another frame now and then.
			again.Reset(100 * time.Millisecond)
			select {
			case <-pl.wake:
				continue
			case <-again.C:
			case <-ctx.Done():
				return nil
			}
			break
		}
		n := p.video.number
		m := p.video.next(cfg.Size, n%pushGroup == 0, chunk.Timestamp(n), p.streamID, p.run.clock.now())
		if err := p.send(m); err != nil {
			return err
		}
		if err := p.c.Flush(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (p *publisher) send(m *chunk.Message) error {
	bits := uint64(m.Len()) * 8
	if err := p.c.Send(m); err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	p.bits.Add(bits)
	p.frames.Add(1)
	return nil
}

// close ends the publication.
func (p *publisher) close() {
	p.c.Close()
	<-p.watched
}
