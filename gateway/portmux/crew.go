package portmux

import (
	"context"
	"sync"
)

// maxResting is how many goroutines without work are kept.
const maxResting = 32

// crew serves arrivals on goroutines that are kept for later ones. The stack of a new
// goroutine grows twice on its way to a client's connect command, and copying it is a
// tenth of what a connection costs.
type crew struct {
	working sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	resting []chan *arrival // of those that wait; closed to end them
	home    bool            // nobody rests any more
}

// serve serves an arrival on a goroutine, which wait waits for.
func (c *crew) serve(ctx context.Context, a *arrival) {
	c.mu.Lock()
	if n := len(c.resting); n > 0 {
		next := c.resting[n-1]
		c.resting = c.resting[:n-1]
		c.mu.Unlock()
		next <- a
		return
	}
	c.mu.Unlock()
	c.working.Go(func() { c.work(ctx, a) }) // stopped as Mux.admit says, then by wait
}

func (c *crew) work(ctx context.Context, a *arrival) {
	next := make(chan *arrival, 1)
	for a != nil {
		a.serve(ctx)
		if !c.rest(next) {
			return
		}
		a = <-next
	}
}

// rest makes a goroutine one that waits for work, unless there are enough.
func (c *crew) rest(next chan *arrival) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.home || len(c.resting) == maxResting {
		return false
	}
	c.resting = append(c.resting, next)
	return true
}

// wait ends those that rest and waits for the others.
func (c *crew) wait() {
	c.mu.Lock()
	c.home = true
	for _, next := range c.resting {
		close(next)
	}
	c.resting = nil
	c.mu.Unlock()
	c.working.Wait()
}
