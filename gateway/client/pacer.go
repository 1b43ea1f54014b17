package client

import (
	"context"
	"time"
)

// Pacer waits for the times of a media time line in real time. It is for one
// goroutine.
type Pacer struct {
	begin time.Time
	timer *time.Timer
}

// NewPacer returns a Pacer whose time line begins now. Stop it after use.
func NewPacer() *Pacer { return &Pacer{begin: time.Now(), timer: time.NewTimer(0)} }

// Wait returns nil when the time line has reached at, or the context's error.
func (p *Pacer) Wait(ctx context.Context, at time.Duration) error {
	wait := time.Until(p.begin.Add(at))
	if wait <= 0 {
		return ctx.Err()
	}
	p.timer.Reset(wait)
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Elapsed returns the time since the time line began.
func (p *Pacer) Elapsed() time.Duration { return time.Since(p.begin) }

// Stop ends the Pacer.
func (p *Pacer) Stop() { p.timer.Stop() }
