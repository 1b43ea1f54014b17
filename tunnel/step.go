package tunnel

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// parker is the ability of a connection to wait for bytes without a goroutine.
// Between Park and left, step is called by whoever knows that there is something to
// read. It must not wait, and neither must left.
type parker interface {
	TryRead(pool *sync.Pool) (buf *[]byte, n int, err error) // syscall.EAGAIN: nothing is at hand
	Park(step func() (stay bool), left func()) bool          // false: this connection cannot
	Wake()                                                   // step is called although there may be nothing
}

// errPark says that the connection needs no goroutine for now.
var errPark = errors.New("tunnel: connection parked")

// A connection is parked when it is parkAge old and its last calmRequests requests
// arrived in one piece. One that sends heads and bodies apart, or large bodies, is
// better waited for by its goroutine, and so is one that will not last.
const (
	calmRequests = 2
	parkAge      = time.Second
)

// parkable is what a httpConn needs to wait without a goroutine.
type parkable struct {
	parker parker // nil: it always has a goroutine; set at construction
	born   int64  // set at construction

	// owned by whoever serves
	fixed   bool  // it has the ability, but it failed
	calm    int   // requests in a row that arrived in one piece
	split   bool  // the request in hand did not
	pending error // found by a step, for run

	waits   atomic.Bool  // parked
	touched atomic.Int64 // when a step last read something
	expired atomic.Bool  // nothing came for too long
}

// mayPark reports whether the connection can wait without a goroutine.
func (c *httpConn) mayPark() bool {
	return c.parker != nil && !c.fixed && c.calm >= calmRequests && c.r == c.w && c.pending == nil &&
		c.srv.clock()-c.born >= c.srv.parkAge
}

// serve runs the connection on the calling goroutine until it has ended or is
// parked. Then it is not the caller's any more.
func (c *httpConn) serve() {
	err := c.run()
	for err == errPark { //nolint:errorlint // our own value, never wrapped
		c.sendHeld()
		c.release()
		if !c.deadline.IsZero() {
			c.deadline = time.Time{}
			_ = c.nc.SetReadDeadline(noDeadline) // a failing connection fails the next read
		}
		c.touched.Store(c.srv.clock())
		c.waits.Store(true)
		c.srv.patrol.start()
		if c.parker.Park(c.step, c.left) {
			return
		}
		c.waits.Store(false)
		c.fixed = true
		err = c.run()
	}
	c.finish(err)
}

// step serves a parked connection for as long as whole requests are at hand.
func (c *httpConn) step() (stay bool) {
	for {
		if c.expired.Load() {
			c.pending = os.ErrDeadlineExceeded
			return false
		}
		if _, full := c.state(); full != nil {
			c.pending = full
			return false
		}
		buf, n, err := c.parker.TryRead(&inputPool)
		if err != nil {
			if errors.Is(err, syscall.EAGAIN) {
				return true
			}
			c.pending = err
			return false
		}
		lend(1)
		c.touched.Store(c.srv.clock())
		c.buf, c.r, c.w = buf, 0, n
		for c.r < c.w {
			if !c.serveWhole() {
				return false
			}
		}
		c.sendHeld()
		c.release()
	}
}

// left goes on with a connection that is parked no more.
func (c *httpConn) left() {
	c.waits.Store(false)
	c.calm = 0
	go c.serve() // ends as the connection does or is parked; waited for by Server.Close
}

// serveWhole serves the request at hand if it is a usual one and all there. False
// leaves it untouched.
func (c *httpConn) serveWhole() bool {
	if c.busy() {
		c.gather(true)
		c.session.nudge(&c.x)
		if c.busy() {
			return false
		}
	}
	head := (*c.buf)[c.r:c.w]
	q := &c.q
	line, err := q.requestLine(head)
	r := q.route
	if err != nil || line == 0 || r.op != opIdle && r.op != opSend || r.id == 0 || r.bad || string(q.method) != http.MethodPost {
		return false
	}
	end, err := headEnd(head, line-2)
	if err != nil || end == 0 || end > c.srv.cfg.MaxHead || q.fields(head[line:end]) != nil {
		return false
	}
	if q.chunked || q.expect || q.last || q.length > int64(len(head)-end) {
		return false
	}
	s := c.srv.lookup(r.id)
	if s == nil {
		return false
	}
	if r.op == opSend {
		if c.srv.received.full() {
			return false
		}
		c.x.body.write(head[end : end+int(q.length)])
	}
	c.r += end + int(q.length)
	c.session = s
	c.watchRequest(true)
	c.x.op, c.x.seq, c.x.hasSeq, c.x.last, c.x.to = r.op, uint32(r.seq), r.hasSeq, false, c
	c.gather(c.r < c.w)
	c.take()
	s.request(&c.x)
	return true
}

// patrol ends parked connections that nothing was read from for the keep-alive time
// and up to an eighth of it.
type patrol struct {
	srv *Server

	mu     sync.Mutex
	closed bool
	more   bool        // a connection was parked while run looked at all
	timer  *time.Timer // nil: not running
}

// start makes it run for as long as something is parked.
func (p *patrol) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = true
	if p.timer == nil && !p.closed {
		p.timer = time.AfterFunc(p.srv.cfg.KeepAlive/8, p.run) // stopped by stop
	}
}

func (p *patrol) run() {
	p.mu.Lock()
	p.more = false
	p.mu.Unlock()
	limit := p.srv.clock() - int64(p.srv.cfg.KeepAlive)
	var late []*httpConn
	some := false
	p.srv.mu.Lock()
	for e := range p.srv.conns {
		if c := e.conn; c != nil && c.waits.Load() {
			some = true
			if c.touched.Load() <= limit {
				late = append(late, c)
			}
		}
	}
	p.srv.mu.Unlock()
	for _, c := range late {
		c.expired.Store(true)
		c.parker.Wake()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
	case some || p.more:
		p.timer.Reset(p.srv.cfg.KeepAlive / 8)
	default:
		p.timer = nil
	}
}

func (p *patrol) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
