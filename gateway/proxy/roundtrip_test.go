package proxy_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
)

// far makes what is written to a pipe arrive a time later at the other side, as on a long line.
func far(w *world, delay time.Duration) (near, there net.Conn) {
	near, nearEnd := net.Pipe()
	there, thereEnd := net.Pipe()
	carry := func(from, to net.Conn) {
		type piece struct {
			b  []byte
			at time.Time
		}
		line := make(chan piece, 1024)
		var writing sync.WaitGroup
		writing.Go(func() {
			for p := range line {
				time.Sleep(time.Until(p.at))
				_, _ = to.Write(p.b) // the end shows at the read
			}
			to.Close()
		})
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if err != nil {
				break
			}
			line <- piece{b[:n], time.Now().Add(delay)}
		}
		close(line)
		writing.Wait()
	}
	w.running.Go(func() { carry(nearEnd, thereEnd) })
	w.running.Go(func() { carry(thereEnd, nearEnd) })
	return near, there
}

// What a client's connect waits for a backend that is far away: in routed mode three round trips (TCP, handshake, connect), one over a connection that was kept
// ready; in transparent mode one beside the two of its own that pass through.
func TestConnectRoundTrips(t *testing.T) {
	const trip = 100 * time.Millisecond
	distant := func(w *world) {
		o := &origin{w: w}
		o.handler = o
		w.distance = trip / 2
		o.serve("a")
	}
	for name, test := range map[string]struct{ ready, trips int }{"routed": {0, 3}, "ready": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(r *proxy.RouteConfig) { r.Pool.Ready = test.ready }, "a")
				distant(w)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				w.running.Go(func() { w.router.Run(ctx) })
				time.Sleep(time.Second)
				began := time.Now()
				if _, err := w.connect(rtmpcore.ClientConfig{App: "live"}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != time.Duration(test.trips)*trip {
					t.Errorf("%v for %d round trips of %v", took, test.trips, trip)
				}
			})
		})
	}
	t.Run("transparent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(r *proxy.RouteConfig) { r.Transparent = true }, "a")
			distant(w)
			ours, theirs := net.Pipe()
			route := w.router.Transparent(proxy.Client{})
			ended := make(chan error, 1)
			began := time.Now()
			go route.NewSplice(ours).Start(t.Context(), proxy.Client{Remote: clientAddr}, w.router.Dial, func(err error) { ended <- err })
			c := rtmpcore.NewClient(theirs, rtmpcore.ClientConfig{App: "live"})
			if err := c.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != (1+2)*trip {
				t.Errorf("%v for one round trip of %v and the client's own two", took, trip)
			}
			c.Close()
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	})
}
