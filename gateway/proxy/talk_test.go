package proxy_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/message"
)

// talking makes a gateway whose first route takes publishers and whose second takes all others.
func talking(t *testing.T, more ...proxy.RouteConfig) *world {
	t.Helper()
	routes := []proxy.RouteConfig{routeTo("in", func(r *proxy.RouteConfig) { r.Match.Use = proxy.UsePublish })}
	return newRoutes(t, append(routes, more...)...)
}

func routeTo(host string, change func(*proxy.RouteConfig)) proxy.RouteConfig {
	r := proxy.RouteConfig{Name: host, Pool: proxy.PoolConfig{Timeout: time.Second, Backends: []proxy.BackendConfig{{Scheme: "rtmp", Host: host, Port: "1935"}}}}
	if change != nil {
		change(&r)
	}
	return r
}

// Where a connection's application decides about the route and the stream only about the backend, calls are heard before there is a stream: by the same
// backend for all who connect to the same, and beside the streams.
func TestCallsBeforeStreams(t *testing.T) {
	for name, balance := range map[string]proxy.Balance{"hash": proxy.BalanceHash, "sticky": proxy.BalanceSticky} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hosts := []string{"a", "b", "c", "d"}
				w := newWorld(t, func(r *proxy.RouteConfig) { r.Pool.Balance = balance }, hosts...)
				vendors := map[string]*vendor{}
				for _, h := range hosts {
					vendors[h] = w.vendor(h)
				}
				heardBy := func() (by string, n int) {
					for h, v := range vendors {
						if names, _ := v.commands(); len(names) > 0 {
							by, n = by+h, n+len(names)
						}
					}
					return by, n
				}
				for i := range 3 {
					c, err := w.connect(rtmpcore.ClientConfig{App: "chat/room"})
					if err != nil {
						t.Fatal(err)
					}
					for id := 2.0; id < 4; id++ {
						ask(t, c, 0, message.Command{Name: "getUsers", TransactionID: id, Args: []any{"early"}})
						requireAnswer(t, c, message.NameResult, id, "early")
					}
					if dialed := w.dialed(); len(dialed) != 2*i+1 {
						t.Errorf("client %d: dialled %s", i, dialed)
					}
				}
				if by, n := heardBy(); len(by) != 1 || n != 6 {
					t.Errorf("%d calls of one room are heard by %s", n, by)
				}
				for i := range 8 { // at the backends that their names lead to
					if _, _, err := w.publisher("chat/room", fmt.Sprintf("show-%d", i)); err != nil {
						t.Fatal(err)
					}
				}
				spread := 0
				for _, v := range vendors {
					if len(v.said()) > 0 {
						spread++
					}
				}
				if spread < 2 {
					t.Errorf("the streams are at %d backends", spread)
				}
			})
		})
	}
}

// A call that comes before the command which decides about the route is heard by the backend that this leads to, before the command.
func TestCallsWaitForTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := talking(t, routeTo("out", nil))
		in, out := w.vendor("in"), w.vendor("out")
		c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.CreateStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			ask(t, c, 0, message.Command{Name: fmt.Sprintf("login-%d", i), TransactionID: float64(60 + i), Args: []any{"me"}})
		}
		synctest.Wait()
		if w.dialed() != "" {
			t.Errorf("dialled %s before it is clear where to", w.dialed())
		}
		began := time.Now()
		in.onPublish = func() {
			if names, _ := in.commands(); !slices.Equal(names, []string{"login-0 on 0", "login-1 on 0", "login-2 on 0"}) {
				t.Errorf("before publish the backend heard %q", names)
			}
		}
		go func() { ask(t, c, id, message.Command{Name: "publish", TransactionID: 0, Args: []any{"show", "live"}}) }()
		for i := range 3 {
			requireAnswer(t, c, message.NameResult, float64(60+i), "me")
		}
		if time.Since(began) != 0 {
			t.Errorf("they have waited %v longer", time.Since(began))
		}
		time.Sleep(time.Minute)
		if w.dialed() != "in" || len(in.said()) != 1 || len(out.said()) != 0 {
			t.Errorf("dialled %s; published as %q", w.dialed(), in.said())
		}
	})
}

// A client that waits for the result before it asks for a stream has it in time, from where a stream would go that no other route takes.
func TestCallsWaitNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := talking(t, routeTo("out", nil))
		w.vendor("in")
		w.vendor("out")
		c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
		if err != nil {
			t.Fatal(err)
		}
		for i, wait := range []time.Duration{2 * time.Second, 0} {
			began := time.Now()
			ask(t, c, 0, message.Command{Name: "getShow", TransactionID: float64(2 + i), Args: []any{"name"}})
			requireAnswer(t, c, message.NameResult, float64(2+i), "name")
			if took := time.Since(began); took != wait {
				t.Errorf("call %d took %v", i, took)
			}
		}
		if w.dialed() != "out" {
			t.Errorf("dialled %s", w.dialed())
		}
	})
}

// Calls that find no backend fail and are counted: at once where streams without a route are served by the gateway, which answers then, after a time where a
// stream might have decided, and when the backend refuses.
func TestCallsInVain(t *testing.T) {
	for name, test := range map[string]struct {
		world func(t *testing.T) *world
		wait  time.Duration
		count uint64
	}{
		"no route": {func(t *testing.T) *world { return talking(t) }, 2 * time.Second, 1},
		"served here": {func(t *testing.T) *world {
			w := talking(t)
			w.local = true
			return w
		}, 0, 0},
		"nobody there": {func(t *testing.T) *world {
			return newRoutes(t, routeTo("none", func(r *proxy.RouteConfig) { r.Pool.Balance = proxy.BalanceHash }))
		}, 0, 1},
		"hangs": {func(t *testing.T) *world {
			w := newRoutes(t, routeTo("hangs", func(r *proxy.RouteConfig) { r.Pool.Balance = proxy.BalanceHash }))
			w.serve("hangs", hang)
			return w
		}, time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := test.world(t)
				c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				ask(t, c, 0, message.Command{Name: "getUsers", TransactionID: 7})
				requireAnswer(t, c, message.NameError, 7, nil)
				if took := time.Since(began); took != test.wait {
					t.Errorf("it took %v", took)
				}
				if n := w.router.Stats().Unheard; n != test.count {
					t.Errorf("%d are counted", n)
				}
				if _, err := c.CreateStream(t.Context()); err != nil {
					t.Errorf("the connection is lost: %v", err)
				}
			})
		})
	}
}

// What waits is bounded in number and bytes; beyond, calls fail at once and those before are kept.
func TestCallsWaitBounded(t *testing.T) {
	for name, test := range map[string]struct{ size, kept int }{"many": {10, 16}, "large": {20 << 10, 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := talking(t, routeTo("out", nil))
				v := w.vendor("out")
				c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
				if err != nil {
					t.Fatal(err)
				}
				for i := range test.kept + 1 {
					ask(t, c, 0, message.Command{Name: "say", TransactionID: float64(10 + i), Args: []any{string(make([]byte, test.size))}})
				}
				requireAnswer(t, c, message.NameError, float64(10+test.kept), nil)
				for i := range test.kept {
					requireAnswer(t, c, message.NameResult, float64(10+i), nil)
				}
				if names, _ := v.commands(); len(names) != test.kept {
					t.Errorf("the backend heard %d", len(names))
				}
			})
		})
	}
}

// Between streams, and after the backend has gone while there was none, calls go to a new connection.
func TestCallsBetweenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 10 * time.Second }, "a", "b")
		a, b := w.vendor("a"), w.vendor("b")
		c, id, err := w.publisher("live", "show")
		if err == nil {
			err = c.DeleteStream(id)
		}
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, 0, message.Command{Name: "between", TransactionID: 40, Args: []any{1.0}})
		requireAnswer(t, c, message.NameResult, 40, 1.0)
		b.mute = true
		ask(t, c, 0, message.Command{Name: "unanswered", TransactionID: 41})
		synctest.Wait()
		b.die("b")
		requireAnswer(t, c, message.NameError, 41, nil)
		ask(t, c, 0, message.Command{Name: "after", TransactionID: 42, Args: []any{2.0}})
		requireAnswer(t, c, message.NameResult, 42, 2.0)
		again, err := c.CreateStream(t.Context())
		if err == nil {
			err = c.Publish(t.Context(), again, "more")
		}
		if err != nil {
			t.Fatal(err)
		}
		if w.dialed() != "a b a" || !slices.Equal(a.said(), []string{"show", "more"}) {
			t.Errorf("dialled %s; published as %q", w.dialed(), a.said())
		}
	})
}

// A client without a stream whose backend hangs up on it is told and let go, if it has said something there and the backend is not sought again.
func TestHungUpOn(t *testing.T) {
	for name, spoken := range map[string]bool{"has spoken": true, "has not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "a", "b")
				a, b := w.vendor("a"), w.vendor("b")
				c, err := w.connect(rtmpcore.ClientConfig{App: "chat"})
				if err != nil {
					t.Fatal(err)
				}
				if spoken {
					ask(t, c, 0, message.Command{Name: "login", TransactionID: 2, Args: []any{"me"}})
					requireAnswer(t, c, message.NameResult, 2, "me")
				} else {
					ask(t, c, 0, message.Command{Name: "_checkbw", TransactionID: 90})
					synctest.Wait()
				}
				a.die("a")
				if spoken {
					if _, err := c.ReadMessage(); code(err) != message.StatusConnectClosed {
						t.Errorf("the client is told %v", err)
					}
					if _, err := c.ReadMessage(); err == nil {
						t.Error("the connection goes on")
					}
					return
				}
				id, err := c.CreateStream(t.Context())
				if err == nil {
					err = c.Publish(t.Context(), id, "show")
				}
				if err != nil || !slices.Equal(b.said(), []string{"show"}) {
					t.Errorf("publishing at another backend: %v, %q", err, b.said())
				}
			})
		})
	}
}

// A backend that is reached when the client has just left is let go.
func TestReachedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Pool.Balance = proxy.BalanceHash }, "a")
		w.vendor("a")
		if _, err := w.connect(rtmpcore.ClientConfig{App: "chat"}); err != nil {
			t.Fatal(err)
		}
		if err := w.newest.TalkTooLate(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b := w.router.Backends(); w.dialed() != "a" || b[0].Sessions != 0 {
			t.Errorf("dialled %q, and kept %d", w.dialed(), b[0].Sessions)
		}
	})
}
