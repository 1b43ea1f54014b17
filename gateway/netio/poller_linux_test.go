package netio_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/gateway/netio"
)

// poller returns a Poller that runs until the test ends.
func poller(tb testing.TB, shards int) *netio.Poller {
	tb.Helper()
	p, err := netio.NewPoller(shards)
	if err != nil {
		tb.Fatal(err)
	}
	ran := make(chan struct{})
	go func() { defer close(ran); p.Run() }() // stopped and waited by Cleanup
	tb.Cleanup(func() {
		p.Close()
		<-ran
	})
	return p
}

// pairOf is tcpPair with a Poller of the test's own.
func pairOf(tb testing.TB, p *netio.Poller) (*netio.TCPConn, *net.TCPConn) {
	tb.Helper()
	s, client := netPair(tb)
	server := p.Adopt(s)
	tb.Cleanup(func() { _ = server.Close() })
	return server, client
}

// guest is the owner of a parked connection.
type guest struct {
	conn *netio.TCPConn
	pool *sync.Pool
	quit byte // leave when it comes

	mu   sync.Mutex
	got  []byte
	err  error // of the last read
	left int
}

func park(tb testing.TB, p *netio.Poller) (*guest, *net.TCPConn) {
	tb.Helper()
	server, client := pairOf(tb, p)
	g := &guest{conn: server, pool: pool(8)}
	if !server.Park(g.step, g.gone) {
		tb.Fatal("the connection cannot be parked")
	}
	return g, client
}

func (g *guest) step() bool {
	for {
		buf, n, err := g.conn.TryRead(g.pool)
		g.mu.Lock()
		g.err = err
		if buf != nil {
			g.got = append(g.got, (*buf)[:n]...)
			g.pool.Put(buf)
		}
		leave := g.quit != 0 && bytes.IndexByte(g.got, g.quit) >= 0
		g.mu.Unlock()
		if err != nil {
			return errors.Is(err, syscall.EAGAIN) && !leave
		}
	}
}

func (g *guest) gone() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left++
}

func (g *guest) state() (got string, left int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.got), g.left, g.err
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) awaitBytes(t *testing.T, want string) {
	t.Helper()
	waitFor(t, func() bool {
		got, _, _ := g.state()
		return got == want
	})
}

func (g *guest) awaitLeft(t *testing.T, want error) {
	t.Helper()
	waitFor(t, func() bool {
		_, left, _ := g.state()
		return left == 1
	})
	if _, _, err := g.state(); !errors.Is(err, want) {
		t.Errorf("left with %v, want %v", err, want)
	}
}

// The last bytes and the end come with one event.
func TestParkedConnectionEndsWithItsLastBytes(t *testing.T) {
	p := poller(t, 1)
	server, client := pairOf(t, p)
	send(t, client, "bye")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	g := &guest{conn: server, pool: pool(8)}
	if !server.Park(g.step, g.gone) {
		t.Fatal("the connection cannot be parked")
	}
	g.awaitBytes(t, "bye")
	g.awaitLeft(t, io.EOF)
	again := make(chan error, 1)
	go func() { // ends with the read; waited below
		_, _, err := server.LazyRead(g.pool)
		again <- err
	}()
	t.Cleanup(func() { _ = server.Close() })
	waitFor(t, func() bool { return len(again) > 0 }) // not for an event that was used up
	if err := <-again; err != io.EOF {                //nolint:errorlint // io.EOF is returned as it is
		t.Errorf("the end comes again as %v", err)
	}
}

func TestParkedConnectionReads(t *testing.T) {
	g, client := park(t, poller(t, 1))
	want := ""
	for _, s := range []string{"a", "bcd", "longer than one buffer of the pool and than a step may read at a time"} {
		send(t, client, s)
		want += s
		g.awaitBytes(t, want)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	g.awaitLeft(t, io.EOF)
}

func TestParkSeesWhatCameBefore(t *testing.T) {
	for _, head := range []string{"", "given back, "} {
		server, client := pairOf(t, poller(t, 1))
		if head != "" {
			server.Unread([]byte(head))
		}
		send(t, client, "early")
		g := &guest{conn: server, pool: pool(64)}
		server.Park(g.step, g.gone)
		g.awaitBytes(t, head+"early")
	}
}

func TestParkedConnectionIsClosed(t *testing.T) {
	g, _ := park(t, poller(t, 1))
	if err := g.conn.Close(); err != nil {
		t.Fatal(err)
	}
	g.awaitLeft(t, net.ErrClosed)
}

func TestParkOfAClosedConnection(t *testing.T) {
	server, _ := pairOf(t, poller(t, 1))
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	g := &guest{conn: server, pool: pool(8)}
	if !server.Park(g.step, g.gone) {
		t.Fatal("not parked: who parks learns of the end by a step")
	}
	g.awaitLeft(t, net.ErrClosed)
}

func TestWake(t *testing.T) {
	for name, early := range map[string]bool{"while parked": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			server, _ := pairOf(t, poller(t, 1))
			if early {
				server.Wake()
			}
			g := &guest{conn: server, pool: pool(8)}
			server.Park(g.step, g.gone)
			if !early {
				if err := server.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
					t.Fatal(err)
				}
				server.Wake()
				g.awaitLeft(t, os.ErrDeadlineExceeded)
				return
			}
			waitFor(t, func() bool {
				_, _, err := g.state()
				return errors.Is(err, syscall.EAGAIN)
			})
		})
	}
}

func TestLeaveAndParkAgain(t *testing.T) {
	g, client := park(t, poller(t, 1))
	g.mu.Lock()
	g.quit = '!'
	g.mu.Unlock()
	send(t, client, "a!")
	waitFor(t, func() bool { _, left, _ := g.state(); return left == 1 })
	send(t, client, "b") // nobody steps now
	buf, n, err := g.conn.LazyRead(g.pool)
	if err != nil || string((*buf)[:n]) != "b" {
		t.Fatalf("read after leaving: %v", err)
	}
	g.mu.Lock()
	g.quit = 0
	g.mu.Unlock()
	send(t, client, "c")
	g.conn.Park(g.step, g.gone)
	g.awaitBytes(t, "a!c")
}

// A connection with endless input gets its turns, and the others theirs.
func TestParkedConnectionsTakeTurns(t *testing.T) {
	p := poller(t, 1)
	greedy, flood := park(t, p)
	quiet, client := park(t, p)
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	flooding.Go(func() { // stopped by stop; waited below
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := flood.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}
	})
	want := ""
	for range 20 {
		send(t, client, "x")
		want += "x"
		quiet.awaitBytes(t, want)
	}
	close(stop)
	_ = greedy.conn.Close() // ends a write that waits
	flooding.Wait()
}

func TestWithoutPoller(t *testing.T) {
	bare, _ := netPair(t)
	server := netio.NewTCP(bare)
	if server.Park(func() bool { return true }, func() {}) {
		t.Error("parked nowhere")
	}
	server.Wake()
}

func TestParkedReadAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	server, client := pairOf(t, poller(t, 1))
	bufs, read := pool(64), make(chan int)
	server.Park(func() bool {
		buf, n, err := server.TryRead(bufs)
		if err == nil {
			bufs.Put(buf)
			read <- n
		}
		return err == nil || errors.Is(err, syscall.EAGAIN)
	}, func() {})
	msg := pattern(32)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := client.Write(msg); err != nil {
			t.Fatal(err)
		}
		<-read
	}); n > 0 {
		t.Errorf("%v allocations per message", n)
	}
}
