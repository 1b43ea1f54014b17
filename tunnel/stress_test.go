package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// TestStress has sessions come and go by the hundred, at all the places where they can
// be torn: clients that stop reading, stop asking, vanish in a request or an answer, lose
// their connections again and again, say goodbye in the middle; readers that stall, leave
// early, or close while answers are on their way. Afterwards nothing is left: no session,
// no connection, no received byte, and (TestMain) no goroutine and no buffer.
func TestStress(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { stress(t, seed) })
		})
	}
}

func stress(t *testing.T, seed uint64) {
	t.Helper()
	const clients = 150
	b := newBench(t, tunnel.Config{
		Sessions: clients / 2, Received: 1 << 20, MaxRequest: 32 << 10, MaxAnswer: 8 << 10, MaxUnread: 32 << 10, QueueBytes: 16 << 10,
		OpenTimeout: 3 * time.Second, IdleTimeout: 4 * time.Second, StallTimeout: 2 * time.Second, BodyTimeout: 3 * time.Second, KeepAlive: 5 * time.Second,
	})
	if b.park = seed%2 == 1; b.park {
		b.srv.ParkAtOnce()
	}
	var done atomic.Int32 // clients that lost nothing
	b.wg.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 7))
		for {
			nc, err := b.srv.Accept()
			if err != nil {
				return
			}
			n, kind := 1+rng.IntN(40<<10), rng.IntN(8)
			b.wg.Go(func() { serveStressed(nc, kind, n) })
		}
	})
	var running sync.WaitGroup
	for i := range clients {
		rng := rand.New(rand.NewPCG(seed, 100+uint64(i)))
		running.Go(func() {
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
			switch rng.IntN(3) {
			case 0:
				rawStress(b, rng)
			default:
				if dialStress(b, rng) {
					done.Add(1)
				}
			}
		})
	}
	running.Wait()
	time.Sleep(time.Minute) // the bubble's: what has a limit has reached it
	synctest.Wait()
	st := b.srv.Stats()
	if st.Sessions != 0 || st.Ended != 0 || st.Connections != 0 || b.srv.Received() != 0 {
		t.Errorf("left: %d sessions, %d ended ones, %d connections, %d received bytes", st.Sessions, st.Ended, st.Connections, b.srv.Received())
	}
	t.Logf("%d of %d went well, %d sessions, %d repetitions, rejected %v", done.Load(), clients, st.Opened, st.Replays, st.Rejected)
	if done.Load() == 0 || st.Replays == 0 || st.Rejected[tunnel.RejectSlow] == 0 || st.Rejected[tunnel.RejectSequence] == 0 || st.Rejected[tunnel.RejectSessions] == 0 {
		t.Error("too few of what was to happen has")
	}
}

// serveStressed answers with what comes, or not.
func serveStressed(nc net.Conn, kind, n int) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second)) // in time
	switch kind {
	case 0: // does not read
		time.Sleep(5 * time.Second)
	case 1: // leaves early
		_, _ = io.CopyN(io.Discard, nc, int64(n))
	case 2: // floods a client that may not ask
		for _, err := nc.Write(make([]byte, n)); err == nil; {
			_, err = nc.Write(make([]byte, n))
		}
	default:
		_, _ = io.Copy(nc, nc)
	}
}

// dialStress talks through the package's client, over connections that are cut, and
// reports whether everything came back.
func dialStress(b *bench, rng *rand.Rand) bool {
	mean, cuts := 1<<(10+rng.IntN(8)), 0
	lengths := rand.New(rand.NewPCG(rng.Uint64(), 1)) // for the client's goroutine
	budget := func() int { return 300 + int(lengths.ExpFloat64()*float64(mean)) }
	dial := func(context.Context, string, string) (net.Conn, error) {
		if cuts++; cuts > 50 {
			return nil, errCut
		}
		return &cutConn{Conn: b.connectWith(4<<10, tunnel.ConnInfo{}).nc, up: budget(), down: budget()}, nil
	}
	d := tunnel.Dialer{Redials: 5, QueueBytes: 8 << 10, MaxSend: 4 << 10, CloseTimeout: time.Second, DialConn: dial}
	c, err := d.DialContext(context.Background(), "tcp", "server:80")
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second)) // in time
	size := rng.IntN(60 << 10)
	written := make(chan struct{})
	go func() { // ends with the deadline or the connection
		defer close(written)
		_, _ = c.Write(make([]byte, size))
	}()
	stop := size
	if rng.IntN(4) == 0 {
		stop = rng.IntN(size + 1) // closes in the middle
	}
	n, _ := io.CopyN(io.Discard, c, int64(stop))
	if n == int64(size) {
		<-written
	}
	return n == int64(size)
}

// rawStress is a client of whom nothing good is to be expected.
func rawStress(b *bench, rng *rand.Rand) {
	p := b.connectWith(4<<10, tunnel.ConnInfo{})
	defer p.nc.Close()
	if p.nc.SetDeadline(time.Now().Add(20*time.Second)) != nil {
		return
	}
	if _, err := io.WriteString(p.nc, request("/open/1", "\x00")); err != nil {
		return
	}
	r, err := p.read()
	if err != nil || r.status != 200 {
		return
	}
	id := r.body[:len(r.body)-1]
	reads := rng.IntN(2) == 0
	for i := range rng.IntN(60) {
		raw := request(idle(id, i), "\x00")
		switch rng.IntN(10) {
		case 0:
			raw = request(send(id, i+rng.IntN(12)), string(make([]byte, rng.IntN(20<<10)))) // early, or never to be continued
		case 1, 2, 3:
			raw = request(send(id, i), string(make([]byte, rng.IntN(3000))))
		case 4:
			raw = raw[:rng.IntN(len(raw))] // vanishes, or stands still
		case 5:
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		}
		if _, err := io.WriteString(p.nc, raw); err != nil {
			return
		}
		if reads {
			if _, err := p.read(); err != nil {
				return
			}
		}
	}
	if rng.IntN(2) == 0 {
		_, _ = io.WriteString(p.nc, request("/close/"+id, ""))
	}
}
