package netio_test

import (
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

// A deadline ends a parked connection, whether it was set before or comes while it is
// parked, and one that is moved away does not.
func TestParkedConnectionHasADeadline(t *testing.T) {
	for _, when := range []string{"before", "before, nothing at hand", "while parked", "moved"} {
		t.Run(when, func(t *testing.T) {
			p := poller(t, 1)
			server, client := pairOf(t, p)
			set := func(after time.Duration) {
				t.Helper()
				if err := server.SetReadDeadline(time.Now().Add(after)); err != nil {
					t.Fatal(err)
				}
			}
			g := &guest{conn: server, pool: pool(8)}
			switch when {
			case "before":
				set(20 * time.Millisecond)
				server.Park(g.step, g.gone)
			case "before, nothing at hand":
				set(100 * time.Millisecond)
				if _, _, err := server.TryRead(g.pool); !errors.Is(err, syscall.EAGAIN) {
					t.Fatal(err)
				}
				server.Park(g.step, g.gone)
			case "while parked":
				server.Park(g.step, g.gone)
				send(t, client, "a")
				g.awaitBytes(t, "a")
				set(20 * time.Millisecond)
			case "moved":
				other, _ := pairOf(t, p) // its deadline is later than the one that is moved
				set(10 * time.Millisecond)
				if err := other.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				o := &guest{conn: other, pool: pool(8)}
				server.Park(g.step, g.gone)
				set(time.Hour)
				other.Park(o.step, o.gone)
				o.awaitLeft(t, os.ErrDeadlineExceeded)
				send(t, client, "still here")
				g.awaitBytes(t, "still here")
				set(20 * time.Millisecond)
			}
			g.awaitLeft(t, os.ErrDeadlineExceeded)
		})
	}
}

// A deadline that is taken away takes its timer along, and the next one has one again.
func TestClearedDeadlineStopsItsTimer(t *testing.T) {
	server, _ := pairOf(t, poller(t, 1))
	g := &guest{conn: server, pool: pool(8)}
	set := func(at time.Time) {
		t.Helper()
		if err := server.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	set(time.Now().Add(time.Hour))
	server.Park(g.step, g.gone)
	waitFor(t, server.Armed)
	set(time.Time{})
	if server.Armed() {
		t.Error("the timer runs on")
	}
	set(time.Now().Add(20 * time.Millisecond))
	g.awaitLeft(t, os.ErrDeadlineExceeded)
}

// Bytes that come between the last read and Park are not waited for again.
func TestParkMissesNothing(t *testing.T) {
	p := poller(t, 1)
	server, client := pairOf(t, p)
	marker, markerClient := pairOf(t, p)
	g, m := &guest{conn: server, pool: pool(8)}, &guest{conn: marker, pool: pool(8)}
	marker.Park(m.step, m.gone)
	if _, _, err := server.TryRead(g.pool); !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	send(t, client, "early")
	send(t, markerClient, "x")
	m.awaitBytes(t, "x") // so the event of the first one was taken too
	server.Park(g.step, g.gone)
	g.awaitBytes(t, "early")
}

// A step hands the connection to another owner without leaving. TryPeek takes nothing
// and TryReadTo no more than it is asked to.
func TestParkedConnectionChangesHands(t *testing.T) {
	server, client := pairOf(t, poller(t, 1))
	g := &guest{conn: server, pool: pool(8)}
	first, gone := make(chan string, 2), make(chan struct{}, 1)
	step := func() bool {
		peeked, err := server.TryPeek()
		if err != nil {
			return errors.Is(err, syscall.EAGAIN)
		}
		var b [2]byte
		n, err := server.TryReadTo(b[:])
		if err != nil {
			return false
		}
		first <- string(peeked)
		first <- string(b[:n])
		return server.Park(g.step, g.gone)
	}
	server.Park(step, func() { gone <- struct{}{} })
	send(t, client, "12345")
	if got := <-first; got != "1" {
		t.Errorf("peeked %q", got)
	}
	if got := <-first; got != "12" {
		t.Errorf("the first owner read %q", got)
	}
	g.awaitBytes(t, "345")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	g.awaitLeft(t, io.EOF)
	if len(gone) > 0 {
		t.Error("the first owner was told that the connection left")
	}
}

// Who has had a goroutine is served before newcomers that came earlier, and so is who was dialled for somebody.
func TestNewcomersComeLast(t *testing.T) {
	t.Run("had a goroutine", func(t *testing.T) {
		p := poller(t, 1)
		settled, client := pairOf(t, p)
		arrived := make(chan struct{}, 1)
		settled.Wake()
		settled.Park(func() bool { return false }, func() { arrived <- struct{}{} }) // leaves at once
		<-arrived
		newcomersComeLast(t, p, settled, client)
	})
	t.Run("was dialled", func(t *testing.T) {
		p := poller(t, 1)
		settled, peer := dialled(t, p)
		newcomersComeLast(t, p, settled, peer)
	})
}

// dialled returns both sides of a connection that Dial has made.
func dialled(t *testing.T, p *netio.Poller) (*netio.TCPConn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := netio.Dial(t.Context(), ln.Addr().String(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return c, peer.(*net.TCPConn)
}

func newcomersComeLast(t *testing.T, p *netio.Poller, settled *netio.TCPConn, settledClient *net.TCPConn) {
	t.Helper()
	var mu sync.Mutex
	var order []string
	served := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, name)
	}
	try := func(step func()) func() bool {
		return func() bool { step(); return true }
	}

	settled.Park(try(func() {
		if _, err := settled.TryReadTo(make([]byte, 1)); err == nil {
			served("settled")
		}
	}), func() {})

	busy, busyClient := pairOf(t, p)
	working, release := make(chan struct{}), make(chan struct{})
	busy.Park(try(func() {
		if _, err := busy.TryReadTo(make([]byte, 1)); err == nil {
			close(working)
			<-release // the shard does nothing else
		}
	}), func() {})
	send(t, busyClient, "x")
	<-working

	for range 3 {
		newcomer, newcomerClient := pairOf(t, p)
		newcomer.Park(try(func() {
			if _, err := newcomer.TryReadTo(make([]byte, 1)); err == nil {
				served("newcomer")
			}
		}), func() {})
		send(t, newcomerClient, "x")
	}
	send(t, settledClient, "x")
	close(release)
	waitFor(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == 4
	})
	if order[0] != "settled" {
		t.Errorf("served %v", order)
	}
}
