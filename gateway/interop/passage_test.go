//go:build interop

package interop_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// passage leads to a server whose address may change, and counts the connections to it.
type passage struct {
	listener net.Listener
	running  sync.WaitGroup
	taken    atomic.Int64
	// passes is told what one side has sent, before the other side gets it, and how its sending ended; may be nil.
	passes func(direction int, b []byte, err error)

	mu    sync.Mutex
	to    string // "": connections are closed at once
	conns map[net.Conn]bool
}

// The directions of what passes.
const (
	c2s = 0
	s2c = 1
)

func newPassage(t *testing.T, to string) *passage {
	t.Helper()
	p := &passage{to: to}
	p.open(t)
	return p
}

// open begins to take connections.
func (p *passage) open(t *testing.T) {
	t.Helper()
	p.openAt(t, "127.0.0.1:0")
}

func (p *passage) openAt(t *testing.T, addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.listener, p.conns = listener, map[net.Conn]bool{}
	p.running.Go(p.accept) // stopped by closing the listener; waited by close
	t.Cleanup(p.close)
}

func (p *passage) close() {
	p.listener.Close()
	p.lead("")
	p.running.Wait()
}

func (p *passage) addr() string { return p.listener.Addr().String() }

// lead leads new connections elsewhere and cuts those that are there.
func (p *passage) lead(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
	for c := range p.conns {
		c.Close()
	}
}

// count returns how many connections lead through.
func (p *passage) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

func (p *passage) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.taken.Add(1)
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		there, err := net.DialTimeout("tcp", to, patience)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		if p.to == to {
			p.conns[c], p.conns[there] = true, true
			p.running.Go(func() { p.pipe(there, c, c2s) }) // both stopped by either end or by lead; waited by close
			p.running.Go(func() { p.pipe(c, there, s2c) })
		} else { // led elsewhere meanwhile
			c.Close()
			there.Close()
		}
		p.mu.Unlock()
	}
}

// pipe passes on what one side sends. What one side has ended is ended for the other side too.
func (p *passage) pipe(to, from net.Conn, direction int) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if p.passes != nil {
			p.passes(direction, buf[:n], err)
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// answer listens for as long as the test runs, and serves each connection until serve returns or patience ends.
func answer(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // stopped by closing the listener; waited by the cleanup
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with its connection, which ends in time
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience)) // a dead conn shows at the read
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}
