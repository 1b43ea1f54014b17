package tunnel

import "syscall"

// parking is how a Conn is read without a goroutine: whoever brings bytes calls
// step. All fields are guarded by Conn.mu.
type parking struct {
	step     func() (stay bool) // nil: not parked
	left     func()
	woken    bool // Wake was called, the next Park calls step at once
	due      bool // step is to be called
	pumping  bool // somebody sees to that
	stepping bool // step is running

	introduction func(*Conn) // to be called before step is; nil: it was
}

// pumpHere is the number of bytes up to which they are read where they arrived.
// More take long enough for another processor to be worth the wait.
const pumpHere = 16 << 10

// errAgain is boxed once, so that returning it allocates nothing.
var errAgain error = syscall.EAGAIN

// Park ends the caller's use of the reading side until step returns false, and
// reports whether it did: false on the client's side, which cannot. From then on
// step is called whenever there is something to read, when the stream has ended
// or is closed, and after Wake, by one goroutine at a time, which mostly is that
// of the request that brought the bytes. It must not wait, reads with TryRead up
// to EAGAIN, and returns false to leave; then left is called once and must not
// wait either.
func (c *Conn) Park(step func() (stay bool), left func()) bool {
	if !c.parkable {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step, c.left = step, left
	if c.woken || c.closed || c.readEnd.expired || c.in.n > 0 || c.readErr != nil {
		c.rouse()
	} else {
		c.engine.starving()
	}
	return true
}

// Wake has a parked Conn's step called although there may be nothing to read. When
// it is not parked, the next Park does so.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = true
	c.rouse()
}

// rouse has step called. Where nobody is about to do so it is done by a goroutine,
// because the caller holds mu and maybe the locks of a stream.
func (c *Conn) rouse() {
	if c.step == nil {
		return
	}
	c.woken, c.due = false, true
	if c.pumping {
		return
	}
	c.pumping = true
	c.pumpElsewhere()
}

func (c *Conn) pumpElsewhere() {
	go func() { // ends as soon as the reader has taken what is there, for which it does not wait
		c.mu.Lock()
		c.pump()
	}()
}

// enter locks mu for something that may bring the reader bytes, and makes the
// caller the one who calls step. It is to be followed by leave.
func (c *Conn) enter() (pumps bool) {
	c.mu.Lock()
	pumps = c.step != nil && !c.pumping
	c.pumping = c.pumping || pumps
	return pumps
}

func (c *Conn) leave(pumps bool) {
	if f := c.introduction; f != nil {
		c.introduction = nil
		pumps, c.pumping = true, true
		c.mu.Unlock()
		f(c)
		c.mu.Lock()
	}
	switch {
	case !pumps:
		c.mu.Unlock()
	case c.due && c.in.n > pumpHere:
		c.pumpElsewhere()
		c.mu.Unlock()
	default:
		c.pump()
	}
}

// pump calls step for as long as that is due. Called with mu held, which it gives
// up, by whoever has set pumping.
func (c *Conn) pump() {
	for c.due {
		c.due, c.stepping = false, true
		step := c.step
		c.mu.Unlock()
		stay := step()
		c.mu.Lock()
		c.stepping = false
		if !stay {
			left := c.left
			c.step, c.left, c.due, c.pumping = nil, nil, false, false
			c.mu.Unlock()
			left()
			return
		}
		c.engine.starving()
	}
	c.pumping = false
	c.mu.Unlock()
}

// hungry reports that the reader has taken everything and has come back for more.
func (c *Conn) hungry() bool {
	return c.in.n == 0 && (c.readers > 0 || c.step != nil && !c.stepping)
}
