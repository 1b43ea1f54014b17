//go:build interop

package interop_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"culvert/rtmpcore/chunk"
)

// requireFrame sends a key frame and waits until the player has it.
func requireFrame(t *testing.T, publisher, player *light, text string) {
	t.Helper()
	if err := publisher.Send(chunk.NewMessage(videoType, publisher.id, 0, avcHeader), chunk.NewMessage(videoType, publisher.id, 40, keyFrame(text))); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := player.next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(b), text) {
			return
		}
	}
}

// state returns the gateway's word about a backend.
func (s *server) state(t *testing.T, addr string) backend {
	t.Helper()
	for _, b := range backends(t, s) {
		if b.URL == "rtmp://"+addr {
			return b
		}
	}
	t.Fatalf("there is no backend %s", addr)
	return backend{}
}

func (s *server) awaitState(t *testing.T, addr, want string) {
	t.Helper()
	eventually(t, addr+" to be "+want, func() bool { return s.state(t, addr).State == want })
}

// How a pool of two nginx is balanced: by weight, by sessions, and so that those of a stream meet.
func TestProxyBalance(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	config := func(balance string) string {
		return fmt.Sprintf("apps: {live: {proxy: {to: [{url: 'rtmp://%s', weight: 3}, 'rtmp://%s'], balance: %s}}}", one.addr, two.addr, balance)
	}
	for balance, most := range map[string]int{"round_robin": 6, "least": 6} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			s := serve(t, config(balance))
			for i := range 8 {
				joined(t, publishLight, s.url(t, transports[i%len(transports)], fmt.Sprintf("%s-%d", balance, i)))
			}
			if a, b := s.state(t, one.addr).Sessions, s.state(t, two.addr).Sessions; a != most || b != 8-most {
				t.Errorf("%d and %d sessions by weights of 3 and 1", a, b)
			}
		})
	}
	for _, balance := range []string{"hash", "sticky"} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			s := serve(t, config(balance))
			for i := range 8 {
				stream := fmt.Sprintf("%s-%d", balance, i)
				player := joined(t, playLight, s.url(t, transports[i%len(transports)], stream))
				publisher := joined(t, publishLight, s.url(t, "rtmp", stream))
				requireFrame(t, publisher, player, stream)
			}
			if a, b := s.state(t, one.addr).Sessions, s.state(t, two.addr).Sessions; a == 0 || b == 0 || a+b != 16 {
				t.Errorf("%d and %d sessions", a, b)
			}
		})
	}
}

// Each kind of check sees what the one before it does not: a server that is not there, one that hangs, one that closes instead of answering connect, and one
// without the stream. What is down gets nothing.
func TestProxyChecks(t *testing.T) {
	t.Parallel()
	good := serveNginx(t)
	probe := joined(t, publishLight, "rtmp://"+good.addr+"/live/probe")
	if err := probe.Send(chunk.NewMessage(videoType, probe.id, 0, avcHeader), chunk.NewMessage(videoType, probe.id, 0, keyFrame("probe"))); err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(context.Background())
	fed := make(chan error, 1)
	go func() { fed <- feedKeyFrames(working, probe) }() // stopped by stop; waited below
	t.Cleanup(func() {
		stop()
		if err := <-fed; err != nil {
			t.Error(err)
		}
	})
	hangs, deaf := serveNginx(t), answer(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	hangs.signal(t, syscall.SIGSTOP) // the kernel goes on to accept
	t.Cleanup(func() { hangs.signal(t, syscall.SIGCONT) })
	silent := serveNginx(t) // has no stream
	for kind, test := range map[string]struct{ app, bad, passes string }{
		"tcp":       {"live", reserve(t), hangs.addr},
		"handshake": {"live", deaf, ""},
		"hang":      {"live", hangs.addr, ""},
		"connect":   {"missing", "", ""}, // every nginx closes
		"play":      {"live", silent.addr, ""},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			check := kind
			if kind == "hang" {
				check = "handshake"
			}
			to := []string{good.addr}
			for _, more := range []string{test.bad, test.passes} {
				if more != "" {
					to = append(to, more)
				}
			}
			s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s'], balance: least, check: {type: %s, app: %s, interval: 100ms, timeout: 1s, rise: 1, fall: 2}}}}",
				strings.Join(to, "', 'rtmp://"), check, test.app))
			if kind == "connect" {
				s.awaitState(t, good.addr, "down")
				return
			}
			s.awaitState(t, test.bad, "down")
			s.wantsLog(t, `"message":"backend is down"`, test.bad)
			if test.passes != "" && s.state(t, test.passes).State != "up" {
				t.Errorf("a server that accepts is not up: %+v", s.state(t, test.passes))
			}
			if b := s.state(t, good.addr); b.State != "up" {
				t.Errorf("the good server is not up: %+v", b)
			}
			if test.passes == "" {
				for i := range 3 {
					joined(t, publishLight, s.url(t, "rtmp", fmt.Sprintf("%s-%d", kind, i)))
				}
				if b := s.state(t, good.addr); b.Sessions != 3 {
					t.Errorf("the good server has %d sessions", b.Sessions)
				}
			}
		})
	}
}

// A backend at which sessions fail is left alone for a time, and then has its turn again; until then the others have all, and no client notices.
func TestProxyEjection(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	way := newPassage(t, "")
	s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s', 'rtmp://%s'], eject: {failures: 2, time: 3s}}}}", way.addr(), two.addr))
	for i := range 6 {
		joined(t, publishLight, s.url(t, "rtmp", fmt.Sprintf("a-%d", i)))
	}
	s.wantsLog(t, `"message":"backend ejected"`, way.addr())
	if tried, b := way.taken.Load(), s.state(t, two.addr); tried != 2 || b.Sessions != 6 {
		t.Errorf("the bad one was tried %d times, the other has %d sessions", tried, b.Sessions)
	}
	if b := s.state(t, way.addr()); b.State != "ejected" {
		t.Errorf("the bad one is %s", b.State)
	}
	way.lead(one.addr)
	s.awaitState(t, way.addr(), "up")
	for i := range 4 {
		joined(t, publishLight, s.url(t, "rtmp", fmt.Sprintf("b-%d", i)))
	}
	if b := s.state(t, way.addr()); b.Sessions != 2 {
		t.Errorf("afterwards it has %d of 4 sessions", b.Sessions)
	}
}

// A backend that comes back gets a small part of the sessions at first.
func TestProxySlowStart(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	way := newPassage(t, one.addr)
	s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s', 'rtmp://%s'], slow_start: 10m, check: {type: handshake, interval: 100ms, timeout: 1s, rise: 1, fall: 1}}}}",
		way.addr(), two.addr))
	s.awaitState(t, way.addr(), "up")
	way.lead("")
	s.awaitState(t, way.addr(), "down")
	way.lead(one.addr)
	s.awaitState(t, way.addr(), "up")
	for i := range 22 {
		joined(t, publishLight, s.url(t, "rtmp", fmt.Sprintf("slow-%d", i)))
	}
	if b := s.state(t, way.addr()); b.Sessions != 2 { // a tenth of the other's weight
		t.Errorf("the one that came back has %d of 22 sessions", b.Sessions)
	}
}

// Until the first media byte a session goes on at the next backend: when the first one refuses, and when it dies after it has agreed to the stream.
func TestProxyRetry(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			way := newPassage(t, "")
			s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: [{url: 'rtmp://%s', weight: 100}, 'rtmp://%s'], eject: {failures: 0}}}}", way.addr(), two.addr))
			joined(t, publishLight, s.url(t, transport, "refused-"+transport))
			if n := way.taken.Load(); n != 1 {
				t.Errorf("the first one was tried %d times", n)
			}
			way.lead(one.addr)
			stream := "dies-" + transport
			publisher := joined(t, publishLight, s.url(t, transport, stream))
			if n := way.count(); n != 1 {
				t.Fatalf("%d sessions at the first one", n)
			}
			way.lead("")
			eventually(t, "the stream at the next one", func() bool { return s.metric(t, `culvert_proxied_total{event="reconnected"}`) == 1 })
			player := joined(t, playLight, "rtmp://"+two.addr+"/live/"+stream)
			requireFrame(t, publisher, player, "after all")
		})
	}
}

// Connections that are kept ready: as many as asked for, used, made anew, and shown.
func TestProxyReady(t *testing.T) {
	t.Parallel()
	backend := serveNginx(t)
	s := serve(t, "apps: {live: {proxy: {to: ['rtmp://"+backend.addr+"'], ready: 3}}}")
	gauge := fmt.Sprintf(`culvert_backend_ready{backend="rtmp://%s",route="apps.live"}`, backend.addr)
	full := func() bool { return s.metric(t, gauge) == 3 }
	eventually(t, "three connections", full)
	s.wantsLog(t, `"message":"connections are kept ready"`, `"ready":3`, backend.addr)
	for i, transport := range transports {
		stream := "ready-" + transport
		player := joined(t, playLight, "rtmp://"+backend.addr+"/live/"+stream)
		requireFrame(t, joined(t, publishLight, s.url(t, transport, stream)), player, "soon")
		eventually(t, "three connections again", full)
		if n := s.metric(t, `culvert_proxied_total{event="ready"}`); n != float64(i+1) {
			t.Errorf("%v of %d were used", n, i+1)
		}
	}
}
