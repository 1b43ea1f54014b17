package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

func code(err error) string {
	var status *rtmpcore.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return fmt.Sprint(err)
}

// What a publisher sends arrives, the name and the connect command with what the client said in them.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Address = "clientAddress" }, "a")
		o := w.origin("a")
		c, err := w.connect(rtmpcore.ClientConfig{
			App: "live/inst?tok=1", TCURL: "rtmp://gateway.test/live/inst?tok=1",
			Extra: []amf.Pair{{Key: "swfUrl", Value: "http://site.test/p.swf"}, {Key: "vendor", Value: "x"}, {Key: rtmpcore.ViaProperty, Value: "another"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.CreateStream(t.Context())
		if err == nil {
			err = c.Publish(t.Context(), id, "show?key=k")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(video(id, 0, header), video(id, 40, keyframe), video(id, 80, strings.Repeat("x", 100_000))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := o.received(); len(got) != 3 || got[0] != header || got[1] != keyframe || len(got[2]) != 100_000 {
			t.Errorf("%d messages arrived", len(got))
		}
		if got := o.said(); !slices.Equal(got, []string{"show?key=k"}) {
			t.Errorf("published as %q", got)
		}
		req := o.connects[0]
		if req.App != "live/inst" || req.RawApp != "live/inst?tok=1" || req.TCURL != "rtmp://a:1935/live/inst?tok=1" || req.SWFURL != "http://site.test/p.swf" {
			t.Errorf("connect said %+v", req)
		}
		if addr, _ := req.Object.String("clientAddress"); addr != "192.0.2.44" {
			t.Errorf("the client's address is given as %q", addr)
		}
		if req.Via() != "another,this-one" {
			t.Errorf("it came through %q", req.Via())
		}
		if v, _ := req.Object.String("vendor"); v != "x" {
			t.Error("a property that nobody knows is missing")
		}
	})
}

// What a backend sends arrives at the player, and its commands at the backend.
func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		o := w.origin("a")
		c, err := w.player("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o.send(40, keyframe+strings.Repeat("y", 70_000))
		o.send(80, inter)
		for _, want := range []int{len(keyframe) + 70_000, len(inter)} {
			m := nextVideo(t, c)
			if m.Len() != want {
				t.Errorf("%d bytes arrived, want %d", m.Len(), want)
			}
			m.Release()
		}
	})
}

func nextVideo(t *testing.T, c *rtmpcore.Client) *chunk.Message {
	t.Helper()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if m.TypeID == message.TypeVideo {
			return m
		}
		m.Release()
	}
}

// One connection publishes at one backend and plays from another.
func TestPublishAndPlayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := func(use proxy.Use, host string) proxy.RouteConfig {
			return proxy.RouteConfig{
				Name: host, Match: proxy.Match{Use: use},
				Pool: proxy.PoolConfig{Timeout: time.Second, Backends: []proxy.BackendConfig{{Scheme: "rtmp", Host: host, Port: "1935"}}},
			}
		}
		w := newRoutes(t, to(proxy.UsePublish, "in"), to(proxy.UsePlay, "out"))
		in, out := w.origin("in"), w.origin("out")
		c, id, err := w.publisher("live", "mine")
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.CreateStream(t.Context())
		if err == nil {
			err = c.Play(t.Context(), second, "theirs")
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Send(video(id, 0, keyframe))
		synctest.Wait()
		out.send(0, inter)
		m := nextVideo(t, c)
		if m.StreamID != second || string(m.Bytes()) != inter {
			t.Errorf("message stream %d got %q", m.StreamID, m.Bytes())
		}
		m.Release()
		if got := in.received(); !slices.Equal(got, []string{keyframe}) {
			t.Errorf("published: %q", got)
		}
		if len(in.said()) != 1 || len(out.said()) != 1 {
			t.Errorf("in has %q, out has %q", in.said(), out.said())
		}
	})
}

// What a backend refuses is told the client in the backend's words, and no other backend is asked.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		app, stream, code string
		play              bool
	}{
		"connect": {"forbidden", "x", message.StatusConnectRejected, false},
		"publish": {"live", "taken", message.StatusPublishBadName, false},
		"play":    {"live", "missing", message.StatusPlayStreamNotFound, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "a", "b")
				w.origin("a")
				w.origin("b")
				var err error
				if test.play {
					_, err = w.player(test.app, test.stream)
				} else {
					_, _, err = w.publisher(test.app, test.stream)
				}
				if code(err) != test.code {
					t.Errorf("the client is told %v", err)
				}
				if name == "connect" && !strings.Contains(err.Error(), "authmod=adobe") {
					t.Errorf("the backend's words are lost: %v", err)
				}
				if w.dialed() != "a" {
					t.Errorf("dialled %s", w.dialed())
				}
				for _, b := range w.router.Backends() {
					if b.Failures > 0 {
						t.Errorf("%s is blamed", b.URL)
					}
				}
			})
		})
	}
}

// Each way in which a backend can fail before it has accepted a stream: the next one is tried, and a client that finds no other is told.
func TestBadBackends(t *testing.T) {
	answerThen := func(after func(w *send.Writer)) func(t *testing.T) func(net.Conn) {
		return func(t *testing.T) func(net.Conn) {
			return shaken(t, func(c net.Conn, w *send.Writer) {
				after(w)
				time.Sleep(time.Hour) // a bubble's hour, or until the connection is closed
			})
		}
	}
	for name, bad := range map[string]func(t *testing.T) func(net.Conn){
		"refuses the connection": func(*testing.T) func(net.Conn) { return nil },
		"closes at once":         func(*testing.T) func(net.Conn) { return func(net.Conn) {} },
		"says nothing":           func(*testing.T) func(net.Conn) { return hang },
		"no handshake": func(*testing.T) func(net.Conn) {
			return func(c net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			}
		},
		"hangs after the handshake":  answerThen(func(*send.Writer) {}),
		"closes after the handshake": func(t *testing.T) func(net.Conn) { return shaken(t, func(net.Conn, *send.Writer) {}) },
		"garbage after the handshake": func(t *testing.T) func(net.Conn) {
			return shaken(t, func(c net.Conn, _ *send.Writer) { _, _ = c.Write([]byte("\xc3garbage")) })
		},
		"closes in the middle": func(t *testing.T) func(net.Conn) {
			return shaken(t, func(c net.Conn, _ *send.Writer) { _, _ = c.Write([]byte{3, 0, 0, 0, 0, 0, 200, 20, 0, 0, 0, 0, 2, 0}) })
		},
		"absurd message": func(t *testing.T) func(net.Conn) {
			return shaken(t, func(c net.Conn, _ *send.Writer) {
				_, _ = c.Write([]byte{3, 0, 0, 0, 0xFF, 0xFF, 0xFF, 20, 0, 0, 0, 0})
				time.Sleep(time.Hour)
			})
		},
		"absurd chunk size": func(t *testing.T) func(net.Conn) {
			return shaken(t, func(c net.Conn, _ *send.Writer) {
				_, _ = c.Write([]byte{2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF})
				time.Sleep(time.Hour)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "bad", "good")
				w.serve("bad", bad(t))
				good := w.origin("good")
				began := time.Now()
				c, id, err := w.publisher("live", "show")
				if err != nil {
					t.Fatalf("with another backend: %v", err)
				}
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("it took %v", took)
				}
				_ = c.Send(video(id, 0, keyframe))
				synctest.Wait()
				if len(good.received()) != 1 {
					t.Error("nothing arrived at the other backend")
				}
				if w.dialed() != "bad good" {
					t.Errorf("dialled %s", w.dialed())
				}
				c.Close()

				alone := newWorld(t, nil, "bad")
				alone.serve("bad", bad(t))
				if _, _, err := alone.publisher("live", "show"); code(err) != message.StatusConnectRejected {
					t.Errorf("alone, the client is told %v", err)
				}
			})
		})
	}
}

// A backend that fails in the middle of a stream: the client is told, unless the stream may go on at another one.
func TestLostPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b")
		a := w.origin("a")
		w.origin("b")
		c, id, err := w.publisher("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Send(video(id, 0, keyframe))
		synctest.Wait()
		a.die("a")
		if _, err := c.ReadMessage(); code(err) != message.StatusStreamFailed {
			t.Errorf("the publisher is told %v", err)
		}
		if _, err := c.ReadMessage(); err == nil {
			t.Error("the connection goes on")
		}
	})
}

// Before the first media byte a stream goes on at another backend whatever the settings.
func TestLostBeforeMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b")
		a, b := w.origin("a"), w.origin("b")
		c, id, err := w.publisher("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Send(video(id, 0, header))
		synctest.Wait()
		a.die("a")
		synctest.Wait()
		_ = c.Send(video(id, 40, keyframe))
		synctest.Wait()
		if got := b.received(); !slices.Equal(got, []string{header, keyframe}) {
			t.Errorf("the other backend got %q", got)
		}
	})
}

// A publisher that may be reconnected begins at another backend with metadata, sequence header and the next key frame.
func TestReconnectPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 10 * time.Second }, "a", "b")
		a := w.origin("a")
		c, id, err := w.publisher("live", "show?key=k")
		if err != nil {
			t.Fatal(err)
		}
		meta, err := message.Data{Name: message.NameSetDataFrame, Values: []any{message.NameOnMetaData, amf.ECMAArray{{Key: "width", Value: 4.0}}}}.AppendPayload(nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Send(chunk.NewMessage(message.TypeDataAMF0, id, 0, meta), video(id, 0, header), video(id, 0, keyframe+"1"), video(id, 40, inter+"1"))
		synctest.Wait()
		a.die("a")
		synctest.Wait()
		_ = c.Send(video(id, 80, inter+"2")) // while nobody is there
		time.Sleep(3 * time.Second)
		b := w.origin("b")
		time.Sleep(3 * time.Second)
		_ = c.Send(video(id, 120, inter+"3"), video(id, 160, keyframe+"2"), video(id, 200, inter+"4"))
		synctest.Wait()
		if got := b.received(); !slices.Equal(got, []string{string(meta), header, keyframe + "2", inter + "4"}) {
			t.Errorf("the other backend got %q", got)
		}
		if got := b.said(); !slices.Equal(got, []string{"show?key=k"}) {
			t.Errorf("published as %q", got)
		}
		if n := w.router.Stats().Reconnected; n != 1 {
			t.Errorf("%d reconnections are counted", n)
		}
	})
}

// A publisher whose backend does not come back in time is told.
func TestReconnectInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 5 * time.Second }, "a")
		a := w.origin("a")
		c, id, err := w.publisher("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Send(video(id, 0, keyframe))
		synctest.Wait()
		a.die("a")
		began := time.Now()
		if _, err := c.ReadMessage(); code(err) != message.StatusStreamFailed {
			t.Errorf("the publisher is told %v", err)
		}
		if took := time.Since(began); took > 5*time.Second || took < 2*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// A player that may be reconnected goes on, and its time does not fall although the other backend's begins anew.
func TestReconnectPlayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 10 * time.Second }, "a", "b")
		a, b := w.origin("a"), w.origin("b")
		c, err := w.player("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.send(500_000, keyframe+"1")
		nextVideo(t, c).Release()
		a.die("a")
		time.Sleep(time.Second)
		b.send(20, keyframe+"2")
		b.send(60, inter)
		first := nextVideo(t, c)
		second := nextVideo(t, c)
		if string(first.Bytes()) != keyframe+"2" || first.Timestamp.Sub(500_000) <= 0 || second.Timestamp.Sub(first.Timestamp) != 40 {
			t.Errorf("went on with %q at %d, %d", first.Bytes(), first.Timestamp, second.Timestamp)
		}
		first.Release()
		second.Release()
	})
}

// A player whose backend is lost gets the end of its stream, also in the middle of a message, of garbage, and of too much.
func TestLostPlayer(t *testing.T) {
	for name, last := range map[string][]byte{
		"closed":         nil,
		"in the middle":  {6, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0, 0x17},
		"garbage":        []byte("\xc9garbage"),
		"absurd message": {6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "a")
				a := w.origin("a")
				other := newWorld(t, nil, "a")
				otherOrigin := other.origin("a")
				c, err := w.player("live", "show")
				if err != nil {
					t.Fatal(err)
				}
				neighbour, err := other.player("live", "show")
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				a.send(0, keyframe)
				nextVideo(t, c).Release()
				if last != nil {
					_, _ = a.conns[0].Write(last)
				}
				if name == "closed" || name == "in the middle" {
					a.die("a")
				}
				if _, err := c.ReadMessage(); !errors.Is(err, io.EOF) {
					t.Errorf("the player is told %v", err)
				}
				otherOrigin.send(0, keyframe)
				nextVideo(t, neighbour).Release()
			})
		})
	}
}

// Clients that vanish, in each state, leave nothing behind.
func TestVanishingClients(t *testing.T) {
	for name, state := range map[string]func(w *world) *rtmpcore.Client{
		"connected": func(w *world) *rtmpcore.Client {
			c, _ := w.connect(rtmpcore.ClientConfig{App: "live"})
			return c
		},
		"publishing": func(w *world) *rtmpcore.Client {
			c, id, _ := w.publisher("live", "show")
			_ = c.Send(video(id, 0, keyframe))
			return c
		},
		"playing": func(w *world) *rtmpcore.Client {
			c, _ := w.player("live", "show")
			return c
		},
		"connecting, backend hangs": func(w *world) *rtmpcore.Client {
			w.serve("a", func(c net.Conn) {
				if _, err := handshake.Server(c, handshake.ServerConfig{}); err == nil {
					_, _ = io.Copy(io.Discard, c) // until the gateway closes it
				}
			})
			ours, theirs := net.Pipe()
			nc := rtmpcore.NewConn(ours, rtmpcore.Config{})
			w.sessions.Go(func() { _ = nc.Serve(w.t.Context(), handler{w}) })
			c := rtmpcore.NewClient(theirs, rtmpcore.ClientConfig{App: "live"})
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			defer cancel()
			if err := c.Connect(ctx); err == nil {
				w.t.Error("connected although the backend hangs")
			}
			return c
		},
		"waiting for a call": func(w *world) *rtmpcore.Client {
			w.vendor("a").mute = true
			c, _ := w.connect(rtmpcore.ClientConfig{App: "live"})
			_ = c.Command(0, message.Command{Name: "unanswered", TransactionID: 9})
			return c
		},
		"publishing, backend gone": func(w *world) *rtmpcore.Client {
			c, id, _ := w.publisher("live", "show")
			_ = c.Send(video(id, 0, keyframe))
			synctest.Wait()
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = time.Minute }, "a")
				o := w.origin("a")
				c := state(w)
				if name == "publishing, backend gone" {
					o.die("a")
					synctest.Wait()
				}
				c.Close()
				time.Sleep(2 * time.Second)
				w.sessions.Wait()
				for _, b := range w.router.Backends() {
					if b.Sessions != 0 {
						t.Errorf("%d sessions are left", b.Sessions)
					}
				}
			})
		})
	}
}

// A publisher that sends faster than its backend reads is held back: the gateway keeps no more than a bounded amount.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		o := w.origin("a")
		o.gate = make(chan struct{})
		c, id, err := w.publisher("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 200 {
				if c.Send(video(id, 0, strings.Repeat("z", 50_000))) != nil || c.Flush(t.Context()) != nil {
					return
				}
				sent++
			}
		}()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if sent > 20 {
			t.Errorf("%d messages of 50 kB were taken", sent)
		}
		close(o.gate)
		<-done
		synctest.Wait()
		if n := len(o.received()); n != 200 {
			t.Errorf("%d messages arrived", n)
		}
	})
}
