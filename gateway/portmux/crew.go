package portmux

import "sync"

// maxResting is how many goroutines without work are kept.
const maxResting = 32

// crew runs functions on goroutines that are kept for later ones. The stack of a new
// goroutine grows several times on its way through a TLS handshake, and copying it is a
// tenth of what the handshake costs.
type crew struct {
	working sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	resting []chan func() // of those that wait; closed to end them
	home    bool          // nobody rests any more
}

// run runs f on a goroutine, which wait waits for.
func (c *crew) run(f func()) {
	c.mu.Lock()
	if n := len(c.resting); n > 0 {
		next := c.resting[n-1]
		c.resting = c.resting[:n-1]
		c.mu.Unlock()
		next <- f
		return
	}
	c.mu.Unlock()
	c.working.Go(func() { c.work(f) }) // stopped by the end of f and of those that come after, then by wait
}

func (c *crew) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !c.rest(next) {
			return
		}
		f = <-next
	}
}

// rest makes a goroutine one that waits for work, unless there are enough.
func (c *crew) rest(next chan func()) bool {
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
