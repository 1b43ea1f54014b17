package relay

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pauses between attempts.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// backoff makes the pauses between attempts.
type backoff struct{ next time.Duration }

// after returns the pause after an attempt that failed having lasted for a time. One
// that lasted long was a success: the pauses begin anew.
func (b *backoff) after(lasted time.Duration) time.Duration {
	if b.next == 0 || lasted >= maxPause {
		b.next = firstPause
	}
	pause := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, maxPause)
	return pause
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
