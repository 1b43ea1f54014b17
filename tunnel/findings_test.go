package tunnel_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/tunnel"
)

// finder collects reports.
type finder struct {
	mu  sync.Mutex
	all []tunnel.Report
}

func (f *finder) found(r tunnel.Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, r)
}

func (f *finder) names() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.all {
		names = append(names, tunnel.FindingNames[r.Finding])
	}
	slices.Sort(names)
	return names
}

// finding is a server that notes what it finds.
func finding(t *testing.T, cfg tunnel.Config, f func(t *testing.T, b *bench, found *finder)) {
	t.Helper()
	found := &finder{}
	cfg.Found = found.found
	cfg.Forwarding = trusting("")
	bubble(t, cfg, func(t *testing.T, b *bench) {
		found.all = nil // of the other kind of connections
		f(t, b, found)
		stats := b.srv.Stats()
		for i, n := range stats.Findings {
			if got := slices.Index(found.names(), tunnel.FindingNames[i]) >= 0; got != (n > 0) {
				t.Errorf("%s is counted %d times, reported %v", tunnel.FindingNames[i], n, got)
			}
		}
	})
}

var (
	nearPeer = &net.TCPAddr{IP: net.IPv4(192, 168, 0, 9), Port: 1}
	farPeer  = &net.TCPAddr{IP: net.IPv4(198, 51, 100, 9), Port: 1}
	ourProxy = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 1}
)

// TestFindings has requests as proxies send them, and as clients do.
func TestFindings(t *testing.T) {
	t.Parallel()
	const named = "X-Forwarded-For: 203.0.113.9\r\n"
	for _, tc := range []struct {
		name     string
		peer     *net.TCPAddr
		version  string // of HTTP
		header   string
		requests []string // with ID for the session's id, SECOND for another's
		want     []string
	}{
		{"a client", farPeer, "1.1", "", []string{"POST /send/ID/0 x", "POST /idle/ID/1 0"}, nil},
		{"a client that closes", farPeer, "1.1", "Connection: close\r\n", []string{"POST /send/ID/0 x"}, nil},
		{"a client that opens twice", farPeer, "1.1", "", []string{"POST /send/ID/0 x", "POST /send/SECOND/0 x"}, nil},
		{"a browser", farPeer, "1.1", "", []string{"GET /open/1 ", "GET /send/123456789012345678/0 "}, nil},
		{"a client with empty bodies", farPeer, "1.1", "", []string{"POST /idle/ID/0 ", "POST /send/ID/1 x"}, nil},
		{"a client's repeated request", farPeer, "1.1", "", []string{"POST /send/ID/0 x", "POST /send/ID/0 x"}, nil},
		{"our proxy in good order", ourProxy, "1.1", named, []string{"POST /send/ID/0 x", "POST /send/SECOND/0 x", "POST /idle/ID/1 0"}, nil},
		{"a company's proxy", farPeer, "1.1", "Via: 1.1 squid\r\n" + named, []string{"POST /send/ID/0 x", "POST /idle/ID/1 0"}, nil},
		{"HTTP/1.0", nearPeer, "1.0", "Connection: close\r\n", []string{"POST /send/ID/0 x", "POST /send/ID/1 x"}, []string{"http_1_0"}},
		{"HTTP/1.0 kept alive", nearPeer, "1.0", "Connection: keep-alive\r\n", []string{"POST /send/ID/0 x", "POST /send/ID/1 x"}, []string{"http_1_0"}},
		{"closes", ourProxy, "1.1", named + "Connection: close\r\n", []string{"POST /send/ID/0 x"}, []string{"closes"}},
		{"a company's proxy closes", farPeer, "1.1", "Via: 1.1 tinyproxy\r\nConnection: close\r\n", []string{"POST /send/ID/0 x"}, []string{"closes"}},
		{"names nobody", ourProxy, "1.1", "", []string{"POST /send/ID/0 x"}, []string{"unnamed"}},
		{"names unknown", ourProxy, "1.1", "X-Forwarded-For: unknown\r\n", nil, []string{"unnamed"}},
		{"near and not trusted", nearPeer, "1.1", named, []string{"POST /send/ID/0 x"}, []string{"untrusted"}},
		{"near, by another name", nearPeer, "1.1", "X-Real-IP: 203.0.113.9\r\n", nil, []string{"untrusted"}},
		{"near, names nobody", nearPeer, "1.1", "Via: 1.1 x\r\n", nil, nil},
		{"shared", farPeer, "1.1", "Via: 1.1 squid\r\n", []string{"POST /send/ID/0 x", "POST /send/SECOND/0 x", "POST /send/ID/1 x"}, []string{"shared"}},
		{"no body", farPeer, "1.1", "", []string{"POST /send/ID/0 "}, []string{"rewrites"}},
		{"another method", farPeer, "1.1", "", []string{"GET /idle/ID/0 "}, []string{"rewrites"}},
		{"another method from the start", farPeer, "1.1", "User-Agent: Shockwave Flash\r\n", []string{"GET /open/1 0"}, []string{"rewrites"}},
		{"PROXY header", farPeer, "", "", []string{"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n"}, []string{"proxy_header"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			finding(t, tunnel.Config{}, func(t *testing.T, b *bench, found *finder) {
				p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: tc.peer})
				say := func(request string) string {
					line, body, _ := strings.Cut(request, " ")
					path, body, _ := strings.Cut(body, " ")
					if !strings.HasSuffix(request, "\r\n") {
						request = fmt.Sprintf("%s %s HTTP/%s\r\n%sContent-Length: %d\r\n\r\n%s", line, path, tc.version, tc.header, len(body), body)
					}
					p.write(request)
					r, err := p.read()
					if err != nil || strings.Contains(r.head, "Connection: close") {
						p = b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: tc.peer})
					}
					return strings.TrimSpace(r.body)
				}
				id, second := "", ""
				b.core(mute)
				if tc.version != "" {
					id, second = say("POST /open/1 0"), say("POST /open/1 0")
					b.core(mute)
				}
				for _, r := range tc.requests {
					say(strings.NewReplacer("ID", id, "SECOND", second).Replace(r))
				}
				if got := slices.Compact(found.names()); !slices.Equal(got, tc.want) {
					t.Errorf("found %q, want %q", got, tc.want)
				}
				for _, r := range found.all {
					if r.Proxy.String() != tc.peer.String() || r.Trusted != (tc.peer == ourProxy) {
						t.Errorf("about %v, trusted %v", r.Proxy, r.Trusted)
					}
				}
			})
		})
	}
}

// TestFindBuffers has a client that asks again as soon as it has an answer.
func TestFindBuffers(t *testing.T) {
	t.Parallel()
	const flash, via = "User-Agent: Shockwave Flash\r\n", "Via: 1.1 x\r\n"
	for _, tc := range []struct {
		name   string
		header string
		size   int
		delay  func(i int) time.Duration
		want   []string
	}{
		{"buffers", flash + via, 100, func(int) time.Duration { return 2 * time.Second }, []string{"buffers"}},
		{"a slow network", flash + via, 100, func(int) time.Duration { return time.Second }, nil},
		{"a slow network with bad moments", flash + via, 100, func(i int) time.Duration { return time.Duration(1+i%7) * 400 * time.Millisecond }, nil},
		{"a thin network", flash + via, 8 << 10, func(int) time.Duration { return 5 * time.Second }, nil},
		{"a slow client", via, 100, func(int) time.Duration { return 2 * time.Second }, nil},
		{"a publisher", flash + via, -100, func(int) time.Duration { return 2 * time.Second }, nil},
		{"no proxy", flash, 100, func(int) time.Duration { return 2 * time.Second }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			finding(t, tunnel.Config{}, func(t *testing.T, b *bench, found *finder) {
				p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: farPeer})
				say := func(path string) string {
					p.write("POST " + path + " HTTP/1.1\r\n" + tc.header + "Content-Length: 1\r\n\r\nx")
					return strings.TrimSpace(p.answer().body)
				}
				id := say("/open/1")
				b.core(func(c *tunnel.Conn, _ []byte) {
					if tc.size < 0 {
						c.SetPublishing(true)
					}
					_, _ = c.Write(make([]byte, max(tc.size, -tc.size)))
				})
				for i := range 30 {
					say(send(id, i))
					time.Sleep(tc.delay(i))
				}
				if got := found.names(); !slices.Equal(got, tc.want) {
					t.Errorf("found %q, want %q", got, tc.want)
				}
				if len(found.all) > 0 && found.all[0].Time != 2*time.Second {
					t.Errorf("an answer took %v", found.all[0].Time)
				}
			})
		})
	}
}

// TestFindLimits has sessions that a proxy ends.
func TestFindLimits(t *testing.T) {
	t.Parallel()
	type life struct {
		requests int
		pause    time.Duration // between requests
		goodbye  bool          // close
	}
	same := func(n int, l life) []life { return slices.Repeat([]life{l}, n) }
	minute := life{requests: 60, pause: time.Second} // and the one that opens
	hundred := life{requests: 99, pause: 10 * time.Millisecond}
	for _, tc := range []struct {
		name  string
		lives []life
		want  []string
		older bool // a session that is there all the time
	}{
		{name: "a minute, and one that lives on", lives: same(4, minute), older: true},
		{name: "a hundred requests, and one that lives on", lives: same(4, hundred), older: true},
		{name: "a minute", lives: same(3, minute), want: []string{"time_limit"}},
		{name: "a minute, said once", lives: same(7, minute), want: []string{"time_limit"}},
		{name: "a minute, twice", lives: same(2, minute)},
		{name: "one lived longer", lives: append([]life{{requests: 70, pause: time.Second}}, same(4, minute)...)},
		{name: "one lived less long", lives: append([]life{minute, {requests: 30, pause: time.Second}}, same(2, minute)...)},
		{name: "no round time", lives: same(4, life{requests: 57, pause: time.Second})},
		{name: "short", lives: same(4, life{requests: 5, pause: time.Second})},
		{name: "a minute, and then goodbye", lives: same(4, life{requests: 60, pause: time.Second, goodbye: true})},
		{name: "a hundred requests", lives: same(3, hundred), want: []string{"request_limit"}},
		{name: "a hundred requests, and close", lives: same(3, life{requests: 99, pause: 10 * time.Millisecond, goodbye: true}), want: []string{"request_limit"}},
		{name: "120 requests in a minute", lives: same(3, life{requests: 119, pause: time.Minute / 119}), want: []string{"time_limit"}},
		{name: "120 requests, faster and slower", lives: []life{{requests: 119, pause: 20 * time.Millisecond}, {requests: 119, pause: 50 * time.Millisecond}, {requests: 119, pause: 90 * time.Millisecond}}, want: []string{"request_limit"}},
		{name: "97 requests", lives: same(4, life{requests: 96, pause: 10 * time.Millisecond})},
		{name: "one with more requests", lives: append(same(2, hundred), append([]life{{requests: 120, pause: 10 * time.Millisecond}}, same(3, hundred)...)...)},
		{name: "few requests", lives: same(4, life{requests: 19, pause: 10 * time.Millisecond})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			finding(t, tunnel.Config{HoldSetup: -1, Hold: -1}, func(t *testing.T, b *bench, found *finder) {
				if tc.older {
					b.core(mute)
					p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: farPeer})
					say := func(path string) string {
						p.write("POST " + path + " HTTP/1.1\r\nVia: 1.1 x\r\nContent-Length: 1\r\n\r\nx")
						return strings.TrimSpace(p.answer().body)
					}
					id, end := say("/open/1"), make(chan struct{})
					var polling sync.WaitGroup
					polling.Go(func() {
						tick := time.NewTicker(500 * time.Millisecond)
						defer tick.Stop()
						for i := 0; ; i++ {
							select {
							case <-end:
								return
							case <-tick.C:
								say(idle(id, i))
							}
						}
					})
					defer polling.Wait()
					defer close(end)
					time.Sleep(2 * time.Minute)
				}
				for _, l := range tc.lives {
					b.core(mute)
					p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: farPeer})
					say := func(path string) string {
						p.write("POST " + path + " HTTP/1.1\r\nVia: 1.1 x\r\nContent-Length: 1\r\n\r\nx")
						return strings.TrimSpace(p.answer().body)
					}
					id := say("/open/1")
					for i := range l.requests {
						time.Sleep(l.pause)
						say(idle(id, i))
					}
					if l.goodbye {
						say("/close/" + id)
					}
					_ = p.nc.Close()
					time.Sleep(time.Minute)
				}
				if got := found.names(); !slices.Equal(got, tc.want) {
					t.Errorf("found %q, want %q", got, tc.want)
				}
				for _, r := range found.all {
					if r.Finding == tunnel.FindTimeLimit && r.Time != time.Minute || r.Finding == tunnel.FindRequestLimit && r.Requests != 1+tc.lives[0].requests {
						t.Errorf("%+v", r)
					}
				}
			})
		})
	}
}

// TestFindTimeLimitOfMany has a proxy end sessions that overlap, as those of a busy proxy do: when
// one expires, others were cut off as well and have not expired.
func TestFindTimeLimitOfMany(t *testing.T) {
	t.Parallel()
	finding(t, tunnel.Config{HoldSetup: -1, Hold: -1}, func(t *testing.T, b *bench, found *finder) {
		var sessions sync.WaitGroup
		for i := range 8 {
			b.core(mute)
			p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: farPeer})
			sessions.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Second)
				say := func(path string) string {
					p.write("POST " + path + " HTTP/1.1\r\nVia: 1.1 x\r\nContent-Length: 1\r\n\r\nx")
					return strings.TrimSpace(p.answer().body)
				}
				id := say("/open/1")
				for n := range 60 {
					time.Sleep(time.Second)
					say(idle(id, n))
				}
				_ = p.nc.Close()
			})
		}
		sessions.Wait()
		time.Sleep(time.Minute)
		if got := found.names(); !slices.Equal(got, []string{"time_limit"}) {
			t.Errorf("found %q", got)
		}
	})
}
