package proxy_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
)

// keepReady runs a world's router, with two connections ready at each backend.
func keepReady(t *testing.T, change func(*proxy.RouteConfig), hosts ...string) (w *world, stop func()) {
	t.Helper()
	w = newWorld(t, func(r *proxy.RouteConfig) {
		r.Pool.Ready = 2
		if change != nil {
			change(r)
		}
	}, hosts...)
	ctx, cancel := context.WithCancel(t.Context())
	w.running.Go(func() { w.router.Run(ctx) })
	return w, cancel
}

func (o *origin) count() (conns, connects int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns), len(o.connects)
}

// Clients go on over connections that were made before they came, as many as there are, and more are made after.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := keepReady(t, nil, "a")
		defer stop()
		o := w.origin("a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if conns, connects := o.count(); conns != 2 || connects != 0 {
			t.Fatalf("before any client there are %d connections, %d connects", conns, connects)
		}
		ready := func(want int) {
			t.Helper()
			if n := w.router.Backends()[0].Ready; n != want {
				t.Errorf("%d are said to be ready, want %d", n, want)
			}
		}
		ready(2)
		w.serve("a", nil) // from here on none can be dialled
		for range 2 {
			if _, err := w.connect(rtmpcore.ClientConfig{App: "live", TCURL: "rtmp://gateway.test/live"}); err != nil {
				t.Fatal(err)
			}
		}
		if req := o.connects[1]; req.TCURL != "rtmp://a:1935/live" || req.Via() != "this-one" {
			t.Errorf("connect said %+v", req)
		}
		if _, err := w.connect(rtmpcore.ClientConfig{App: "live"}); err == nil {
			t.Error("a third client is connected although two connections were ready")
		}
		if n := w.router.Stats().Ready; n != 2 {
			t.Errorf("%d are counted", n)
		}
		ready(0)
		time.Sleep(time.Minute)
		o.serve("a")
		time.Sleep(time.Minute)
		ready(2)
		log := w.log.String()
		for text, want := range map[string]int{"connections are kept ready": 2, "no connection can be kept ready": 1} {
			if n := strings.Count(log, text); n != want {
				t.Errorf("the log says %d times %q:\n%s", n, text, log)
			}
		}
	})
}

// Nothing is kept for long, nor at a backend that gets no sessions, nor where the client must be named first; none is left in the end.
func TestReadyEnds(t *testing.T) {
	open := func(t *testing.T, o *origin) int {
		t.Helper()
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.open
	}
	t.Run("old", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, stop := keepReady(t, nil, "a")
			defer stop()
			o := w.origin("a")
			for range 12 {
				time.Sleep(5 * time.Second)
				if n := open(t, o); n != 2 {
					t.Fatalf("%d connections are open", n)
				}
			}
			if conns, _ := o.count(); conns < 10 || conns > 20 {
				t.Errorf("%d connections in a minute", conns)
			}
		})
	})
	t.Run("drained", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, stop := keepReady(t, nil, "a")
			defer stop()
			o := w.origin("a")
			time.Sleep(2 * time.Second)
			w.router.Drain("rtmp://a:1935", true)
			time.Sleep(2 * time.Second)
			if n := open(t, o); n != 0 {
				t.Errorf("%d connections are open", n)
			}
			w.router.Drain("rtmp://a:1935", false)
			time.Sleep(2 * time.Second)
			if n := open(t, o); n != 2 {
				t.Errorf("afterwards %d connections are open", n)
			}
		})
	})
	t.Run("stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, stop := keepReady(t, nil, "a")
			o := w.origin("a")
			time.Sleep(2 * time.Second)
			stop()
			if n := open(t, o); n != 0 {
				t.Errorf("%d connections are open", n)
			}
		})
	})
	t.Run("PROXY protocol", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, stop := keepReady(t, func(r *proxy.RouteConfig) { r.Pool.Backends[0].Header = proxy.HeaderV2 }, "a")
			defer stop()
			w.origin("a")
			time.Sleep(2 * time.Second)
			if w.dialed() != "" {
				t.Errorf("dialled %s before any client", w.dialed())
			}
		})
	})
	t.Run("backend down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, stop := keepReady(t, func(r *proxy.RouteConfig) { r.Pool.Eject = proxy.EjectConfig{Failures: 2, Time: time.Minute} }, "a")
			defer stop()
			time.Sleep(time.Minute)
			if n := len(strings.Fields(w.dialed())); n < 1 || n > 4 {
				t.Errorf("a backend that refuses was dialled %d times in a minute", n)
			}
		})
	})
}

// A connection that the backend has ended meanwhile costs a client nothing but the time of another, and the backend is not blamed.
func TestReadyGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := keepReady(t, nil, "a")
		defer stop()
		o := w.origin("a")
		time.Sleep(2 * time.Second)
		o.mu.Lock()
		for _, c := range o.conns {
			c.Close()
		}
		o.mu.Unlock()
		if _, err := w.connect(rtmpcore.ClientConfig{App: "live"}); err != nil {
			t.Error(err)
		}
		if b := w.router.Backends()[0]; b.Failures != 0 || w.router.Stats().Ready != 0 {
			t.Errorf("%d failures, %d ready ones used", b.Failures, w.router.Stats().Ready)
		}
	})
}
