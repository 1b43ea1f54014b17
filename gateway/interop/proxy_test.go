//go:build interop

package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
)

// In front of nginx-rtmp, in both modes, over each transport: what ffmpeg publishes through the gateway arrives there and comes back
// through the gateway, packet by packet.
func TestProxyNginx(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	backend := serveNginx(t)
	for mode, config := range map[string]string{
		"routed":      "apps: {live: {proxy: {to: ['rtmp://" + backend.addr + "']}}}",
		"transparent": "routes: [{mode: transparent, proxy: {to: ['rtmp://" + backend.addr + "']}}]",
	} {
		s := serve(t, config)
		for _, transport := range transports {
			t.Run(mode+"/"+transport, func(t *testing.T) {
				t.Parallel()
				stream := mode + "-" + transport
				p := playFFmpeg(t, s.url(t, transport, stream))
				direct := playFFmpeg(t, "rtmp://"+backend.addr+"/live/"+stream)
				publishFFmpeg(t, film.file(t), s.url(t, transport, stream)).wait(t)
				sent := film.media(t).by(transport)
				p.require(t, sent, anywhere, exact)
				direct.require(t, sent, anywhere, exact)
			})
		}
	}
}

// Behind HTTPS, itself behind another gateway: three in a row, each over another transport. The address that a trusted proxy named
// goes the whole way.
func TestProxyChain(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	backend := serveNginx(t)
	last := serveTrusting(t, "apps: {live: {proxy: {to: ['rtmp://"+backend.proxied+"'], proxy_protocol: v1}}}")
	middle := serveTrusting(t, "routes: [{mode: transparent, proxy: {to: ['rtmpts://"+last.addr(t, "https")+"'], proxy_protocol: v2, tls: {ca: "+last.ca+"}}}]")
	first := serveTrusting(t, "apps: {live: {proxy: {to: ['rtmps://"+middle.addr(t, "https")+"'], proxy_protocol: v2, tls: {ca: "+middle.ca+"}}}}")

	p := playFFmpeg(t, first.url(t, "rtmpt", "chain"))
	publishFFmpeg(t, film.file(t), first.url(t, "rtmp", "chain")).wait(t)
	p.require(t, film.media(t), anywhere, exact)

	publishFrom(t, first, "203.0.113.7", "rtmp://gateway.test/live/far-away").Close()
	if line := backend.logged(t, "PUBLISH", "far-away"); !strings.HasPrefix(line, "203.0.113.7 ") {
		t.Errorf("nginx saw another client: %s", line)
	}
}

// publishFrom publishes at a gateway that trusts us: for a client with this address who knows it by the URL's host.
func publishFrom(t *testing.T, s *server, client, url string) *light {
	t.Helper()
	return joined(t, func(ctx context.Context, url string) (*light, error) {
		return publishOver(ctx, url, func(ctx context.Context) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr(t, "rtmp"))
			if err == nil {
				_, err = fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.1 4711 1935\r\n", client)
			}
			return conn, err
		})
	}, url)
}

// Every way to choose a route: what `culvert check --route` says is where the stream arrives.
func TestProxyRoutes(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	config := fmt.Sprintf(`apps:
  own: {}
  Live: {proxy: {to: ['rtmp://%[1]s/live']}}
routes:
  - {host: "*.two.test", proxy: {to: ['rtmp://%[2]s'], stream: "{host.1}-{stream}"}}
  - {app: "tenant-*", instance: "~[a-z]+", proxy: {to: ['rtmp://%[2]s/live'], stream: "{app.1}.{instance}.{stream}"}}
  - {app: live, stream: "two-*", for: publish, proxy: {to: ['rtmp://%[2]s'], stream: "{stream.1}"}}
  - {app: live, query: "to=two", proxy: {to: ['rtmp://%[2]s'], query: "seen=yes"}}
  - {app: live, clients: [203.0.113.0/24], proxy: {to: ['rtmp://%[2]s']}}
  - {app: live, proxy: {to: ['rtmp://%[1]s']}}
`, one.addr, two.addr)
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write(t, file, config)
	s := serveTrusting(t, config)
	for name, test := range map[string]struct {
		url, from string
		to        *nginx
		app       string // there
		as        string // stream name and query there
		route     string
	}{
		"host":        {"rtmp://a.two.test/live/x", "127.0.0.1", two, "live", "a-x", "routes[0]"},
		"app":         {"rtmp://h.test/tenant-7/abc/x", "127.0.0.1", two, "live", "7.abc.x", "routes[1]"},
		"name":        {"rtmp://h.test/live/two-x", "127.0.0.1", two, "live", "x", "routes[2]"},
		"query":       {"rtmp://h.test/live/q?a=b&to=two", "127.0.0.1", two, "live", "q", "routes[3]"},
		"address":     {"rtmp://h.test/live/far", "203.0.113.9", two, "live", "far", "routes[4]"},
		"none":        {"rtmp://h.test/live/plain?k=v", "127.0.0.1", one, "live", "plain", "routes[5]"},
		"application": {"rtmp://h.test/Live/upper", "127.0.0.1", one, "live", "upper", "apps.Live"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := run(t, "culvert check --route", culvert(t), "check", "-c", file, "--route", test.url, "--from", test.from, "--for", "publish")
			for _, want := range []string{test.route + ": taken", test.to.addr, fmt.Sprintf("app %q, stream %q", test.app, strings.Split(test.as, "?")[0])} {
				if !strings.Contains(told, want) {
					t.Errorf("culvert check --route %s does not say %q:\n%s", test.url, want, told)
				}
			}
			publishFrom(t, s, test.from, test.url).Close()
			test.to.logged(t, "PUBLISH", fmt.Sprintf("%q %q", test.app, test.as))
		})
	}
	local := run(t, "culvert check --route", culvert(t), "check", "-c", file, "--route", "rtmp://h.test/own/x")
	if !strings.Contains(local, `served by this gateway as application "own"`) {
		t.Errorf("a local application is not seen as one:\n%s", local)
	}
	checkFresh(t, "rtmp://"+s.addr(t, "rtmp")+"/own/x")
}

// A pool of two under load, one of which is killed: publishers and players go on at the other one within a moment, on the connections
// they have.
func TestProxyPool(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s', 'rtmp://%s'], balance: hash, reconnect: 20s, check: {type: tcp, interval: 100ms, timeout: 1s, rise: 1, fall: 1}}}}",
		one.addr, two.addr))
	const streams = 12
	ctx, cancel := context.WithCancel(background(t))
	defer cancel()
	var (
		working sync.WaitGroup
		got     [streams]atomic.Uint32 // number of the last key frame that arrived
		faults  = make(chan error, 2*streams)
	)
	for i := range streams {
		transport := transports[i%len(transports)]
		player := joined(t, playLight, s.url(t, transport, fmt.Sprintf("pool-%d", i)))
		publisher := joined(t, publishLight, s.url(t, transport, fmt.Sprintf("pool-%d", i)))
		working.Go(func() { // stopped by cancel; waited below
			defer publisher.Close()
			if err := feedKeyFrames(ctx, publisher); err != nil {
				faults <- fmt.Errorf("publisher %d: %w", i, err)
			}
		})
		stop := context.AfterFunc(ctx, func() { player.Close() })
		working.Go(func() { // stopped by cancel; waited below
			defer stop()
			for {
				b, err := player.next()
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					faults <- fmt.Errorf("player %d: %w", i, err)
					return
				}
				if len(b) == 9 && b[1] == 1 {
					got[i].Store(uint32(b[5])<<24 | uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8]))
				}
			}
		})
	}
	advance := func(what string) {
		var from [streams]uint32
		for i := range streams {
			from[i] = got[i].Load()
		}
		for i := range streams {
			eventually(t, fmt.Sprintf("%s: frames of stream %d", what, i), func() bool {
				select {
				case err := <-faults:
					t.Fatalf("%s: %v", what, err)
				default:
				}
				return got[i].Load() > from[i]+5
			})
		}
	}
	advance("before")
	held := map[string]int{}
	for _, b := range backends(t, s) {
		held[b.URL] = b.Sessions
	}
	if held["rtmp://"+one.addr] == 0 || held["rtmp://"+two.addr] == 0 {
		t.Fatalf("the streams are not spread: %v", held)
	}
	one.kill()
	advance("after the death of one")
	eventually(t, "the dead backend to be seen as down", func() bool {
		for _, b := range backends(t, s) {
			if b.URL == "rtmp://"+one.addr {
				return b.State == "down" && b.Sessions == 0
			}
		}
		return false
	})
	cancel()
	working.Wait()
}

// feedKeyFrames publishes numbered key frames until ctx ends.
func feedKeyFrames(ctx context.Context, l *light) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	if err := l.Send(chunk.NewMessage(videoType, l.id, 0, avcHeader), chunk.NewMessage(audioType, l.id, 0, aacHeader)); err != nil {
		return err
	}
	for n := uint32(1); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		frame := keyFrame(string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
		if err := l.Send(chunk.NewMessage(videoType, l.id, chunk.Timestamp(20*n), frame)); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// A backend that is drained by the operator keeps what it has and gets nothing new.
func TestProxyDrain(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s', 'rtmp://%s'], balance: least}}}", one.addr, two.addr))
	kept := joined(t, publishLight, s.url(t, "rtmp", "kept"))
	first := ""
	for _, b := range backends(t, s) {
		if b.Sessions == 1 {
			first = b.URL
		}
	}
	s.ask(t, "admin", http.MethodPost, "/api/v1/backends/drain?url="+first, http.StatusOK)
	s.ask(t, "admin", http.MethodPost, "/api/v1/backends/drain?url=rtmp://192.0.2.1:1935", http.StatusNotFound)
	for i := range 3 {
		joined(t, publishLight, s.url(t, "rtmp", fmt.Sprintf("new-%d", i)))
	}
	for _, b := range backends(t, s) {
		want, state := 3, "up"
		if b.URL == first {
			want, state = 1, "drained"
		}
		if b.Sessions != want || b.State != state {
			t.Errorf("%s has %d sessions and is %s, want %d and %s", b.URL, b.Sessions, b.State, want, state)
		}
	}
	if err := kept.Send(chunk.NewMessage(videoType, kept.id, 0, keyFrame("still there"))); err != nil {
		t.Error(err)
	}
}

// What a client is told when its backend is gone and not sought again, over each transport: a publisher an error, a player the end.
func TestProxyBackendLost(t *testing.T) {
	t.Parallel()
	backend := serveNginx(t)
	s := serve(t, "apps: {live: {proxy: {to: ['rtmp://"+backend.addr+"']}}}")
	type client struct {
		name string
		*light
	}
	var publishers, players []client
	for _, transport := range transports {
		stream := "lost-" + transport
		player := joined(t, playLight, s.url(t, transport, stream))
		publisher := joined(t, publishLight, s.url(t, transport, stream))
		if err := publisher.Send(chunk.NewMessage(videoType, publisher.id, 0, avcHeader), chunk.NewMessage(videoType, publisher.id, 40, keyFrame("seen"))); err != nil {
			t.Fatal(err)
		}
		for {
			b, err := player.next()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(string(b), "seen") {
				break
			}
		}
		publishers, players = append(publishers, client{transport, publisher}), append(players, client{transport, player})
	}
	backend.kill()
	for _, c := range publishers {
		_, err := c.ReadMessage()
		var status *rtmpcore.StatusError
		if !errors.As(err, &status) || status.Code != "NetStream.Failed" {
			t.Errorf("publisher over %s was told %v", c.name, err)
		}
	}
	for _, c := range players {
		if _, err := c.ReadMessage(); !errors.Is(err, io.EOF) { // UnpublishNotify
			t.Errorf("player over %s was told %v", c.name, err)
		}
	}
	s.wantsLog(t, `"message":"backend lost"`, `"backend":"rtmp://`+backend.addr+`"`)
	_, err := publishLight(background(t), s.url(t, "rtmp", "later"))
	var status *rtmpcore.StatusError
	if !errors.As(err, &status) || status.Code != "NetConnection.Connect.Rejected" {
		t.Errorf("a publisher that comes later is told %v", err)
	}
}

// backend is what the gateway says of one.
type backend struct {
	URL, State string
	Sessions   int
}

func backends(t *testing.T, s *server) []backend {
	t.Helper()
	var list struct{ Backends []backend }
	if err := json.Unmarshal([]byte(s.get(t, "/api/v1/backends")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Backends
}
