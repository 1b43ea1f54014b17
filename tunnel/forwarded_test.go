package tunnel_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"culvert/tunnel"
)

func prefixes(text ...string) (all []netip.Prefix) {
	for _, p := range text {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// trusting believes the proxies that the tests know.
func trusting(field string) tunnel.Forwarding {
	return tunnel.Forwarding{Trusted: prefixes("10.0.0.0/8", "fd00::/8", "192.0.2.7/32"), Field: field}
}

func TestForwardingClient(t *testing.T) {
	t.Parallel()
	const xff, fwd, real = tunnel.XForwardedFor, tunnel.FieldRFC7239, tunnel.XRealIP
	for _, tc := range []struct {
		name, field, peer string
		lines             []string // "" stands for the peer in want
		want              string
	}{
		{"nobody named", xff, "10.0.0.1:80", nil, ""},
		{"a client", xff, "10.0.0.1:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		{"with its port", xff, "10.0.0.1:80", []string{"203.0.113.9:4711"}, "203.0.113.9:4711"},
		{"a stranger is not believed", xff, "203.0.113.1:80", []string{"203.0.113.9"}, ""},
		{"what the client claims", xff, "10.0.0.1:80", []string{"198.51.100.66, 203.0.113.9"}, "203.0.113.9:0"},
		{"a line of its own", xff, "10.0.0.1:80", []string{"198.51.100.66", "203.0.113.9"}, "203.0.113.9:0"},
		{"two proxies", xff, "10.0.0.1:80", []string{"198.51.100.66, 203.0.113.9, 10.0.0.2"}, "203.0.113.9:0"},
		{"two proxies, lines", xff, "10.0.0.1:80", []string{"203.0.113.9", "10.0.0.2", "10.1.0.3"}, "203.0.113.9:0"},
		{"four lines", xff, "10.0.0.1:80", []string{"203.0.113.9", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, "203.0.113.9:0"},
		{"five lines", xff, "10.0.0.1:80", []string{"203.0.113.9", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}, "10.0.0.2:0"},
		{"six lines", xff, "10.0.0.1:80", []string{"198.51.100.66", "198.51.100.66", "203.0.113.9", "10.0.0.3", "10.0.0.4", "10.0.0.5"}, "203.0.113.9:0"},
		{"all trusted", xff, "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"no address behind the client", xff, "10.0.0.1:80", []string{"203.0.113.9, unknown"}, ""},
		{"no address before the client", xff, "10.0.0.1:80", []string{"unknown, 203.0.113.9"}, "203.0.113.9:0"},
		{"no address before a proxy", xff, "10.0.0.1:80", []string{"198.51.100.66, unknown, 10.0.0.2"}, "10.0.0.2:0"},
		{"empty entries", xff, "10.0.0.1:80", []string{" , 203.0.113.9 ,, "}, "203.0.113.9:0"},
		{"a quote", xff, "10.0.0.1:80", []string{`"198.51.100.66, 203.0.113.9`}, "203.0.113.9:0"},
		{"four in six", xff, "10.0.0.1:80", []string{"::ffff:203.0.113.9"}, "203.0.113.9:0"},
		{"peer four in six", xff, "[::ffff:10.0.0.1]:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		{"six", xff, "[fd00::1]:80", []string{"2001:db8::9"}, "[2001:db8::9]:0"},
		{"six in brackets", xff, "[fd00::1]:80", []string{"[2001:db8::9]"}, "[2001:db8::9]:0"},
		{"six with a port", xff, "[fd00::1]:80", []string{"[2001:db8::9]:81"}, "[2001:db8::9]:81"},
		{"a zone", xff, "[fd00::1]:80", []string{"fe80::9%eth0"}, "[fe80::9]:0"},
		{"nobody's address", xff, "10.0.0.1:80", []string{"0.0.0.0"}, ""},
		{"a group's address", xff, "10.0.0.1:80", []string{"224.0.0.1"}, ""},
		{"junk", xff, "10.0.0.1:80", []string{"1.2.3, 1.2.3.4.5, host, 1.2.3.4:x, 1.2.3.4:99999, [1.2.3.4, -1"}, ""},

		{"Forwarded", fwd, "10.0.0.1:80", []string{"for=203.0.113.9;proto=http;by=10.0.0.1"}, "203.0.113.9:0"},
		{"Forwarded, spelled otherwise", fwd, "10.0.0.1:80", []string{`By=10.0.0.1; FOR="203.0.113.9:4711"`}, "203.0.113.9:4711"},
		{"Forwarded, six", fwd, "10.0.0.1:80", []string{`for="[2001:db8::9]:4711"`}, "[2001:db8::9]:4711"},
		{"Forwarded, two proxies", fwd, "10.0.0.1:80", []string{"for=198.51.100.66, for=203.0.113.9", "for=10.0.0.2"}, "203.0.113.9:0"},
		{"Forwarded, hidden", fwd, "10.0.0.1:80", []string{"for=203.0.113.9, for=_hidden"}, ""},
		{"Forwarded, unknown", fwd, "10.0.0.1:80", []string{"for=unknown"}, ""},
		{"Forwarded, nobody", fwd, "10.0.0.1:80", []string{"for=203.0.113.9, by=10.0.0.1"}, ""},
		{"Forwarded, an open quote", fwd, "10.0.0.1:80", []string{`for="198.51.100.66, for=203.0.113.9`}, "203.0.113.9:0"},

		{"X-Real-IP", real, "10.0.0.1:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		{"X-Real-IP, the last line", real, "10.0.0.1:80", []string{"198.51.100.66", "203.0.113.9"}, "203.0.113.9:0"},
		{"X-Real-IP, a list", real, "10.0.0.1:80", []string{"198.51.100.66, 203.0.113.9"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := trusting(tc.field)
			peer := netip.MustParseAddrPort(tc.peer)
			h := http.Header{}
			for _, other := range []string{xff, fwd, real} {
				if other != tc.field { // passed on from whoever wrote it
					h.Add(other, "198.51.100.99")
				}
			}
			for _, l := range tc.lines {
				h.Add(tc.field, l)
			}
			got, named := f.Client(peer, h)
			want := peer
			if tc.want != "" {
				want = netip.MustParseAddrPort(tc.want)
			}
			if got != want || named != (tc.want != "") {
				t.Errorf("client %v, named %v; want %v", got, named, want)
			}
			// The same through both entries of the server.
			b := newBench(t, tunnel.Config{Forwarding: f})
			p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: net.TCPAddrFromAddrPort(peer)})
			var head strings.Builder
			for name, lines := range h {
				for _, l := range lines {
					fmt.Fprintf(&head, "%s: %s\r\n", name, l)
				}
			}
			p.write("POST /open/1 HTTP/1.1\r\n" + head.String() + "Content-Length: 1\r\n\r\n\x00")
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/open/1", strings.NewReader("\x00"))
			r.RemoteAddr, r.Header = tc.peer, h
			w := httptest.NewRecorder()
			b.srv.ServeHTTP(w, r)
			for entry, id := range map[string]string{"ServeConn": p.answer().body, "ServeHTTP": w.Body.String()} {
				p.post(idle(strings.TrimSpace(id), 0), "\x00")
				c := b.accept()
				if addr := netip.MustParseAddrPort(c.RemoteAddr().String()); addr.Addr().Unmap() != want.Addr().Unmap() || addr.Port() != want.Port() || !c.Proxied() {
					t.Errorf("%s: the session is from %v, proxied %v; want %v", entry, addr, c.Proxied(), want)
				}
			}
		})
	}
}

// TestForwardingPerRequest has one connection of a trusted proxy carry the
// requests of many clients: each counts for itself, and the proxy for nobody.
func TestForwardingPerRequest(t *testing.T) {
	t.Parallel()
	open := func(b *bench, p *peer, client string) int {
		if client != "" {
			client = "X-Forwarded-For: " + client + "\r\n"
		}
		p.write("POST /open/1 HTTP/1.1\r\n" + client + "Content-Length: 1\r\n\r\n\x00")
		return p.answer().status
	}
	bubble(t, tunnel.Config{SessionsPerAddress: 2, Forwarding: trusting("")}, func(t *testing.T, b *bench) {
		p := b.connect() // from 192.0.2.7
		for i, want := range []int{200, 200, 503} {
			for _, client := range []string{"203.0.113.1", "203.0.113.2"} {
				if status := open(b, p, client); status != want {
					t.Errorf("session %d of %s: status %d, want %d", i+1, client, status, want)
				}
			}
		}
		for range 5 { // of whom nothing is known
			if status := open(b, p, ""); status != 200 {
				t.Errorf("a client without a name: status %d", status)
			}
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectAddress]; n != 2 {
			t.Errorf("%d sessions refused by address", n)
		}
		stranger := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1}})
		for i, want := range []int{200, 200, 503} { // claiming to be three clients
			if status := open(b, stranger, fmt.Sprintf("203.0.113.%d", 10+i)); status != want {
				t.Errorf("session %d of a stranger: status %d, want %d", i+1, status, want)
			}
		}
	})
	// Guesses of one client do not delay those that only share its proxy.
	bubble(t, tunnel.Config{Forwarding: trusting("")}, func(t *testing.T, b *bench) {
		p := b.connect()
		ask := func(client string) time.Duration {
			return took(func() {
				p.write("POST /idle/100000000000000001/0 HTTP/1.1\r\nX-Forwarded-For: " + client + "\r\nContent-Length: 1\r\n\r\n\x00")
				p.expect(404, "\x00")
			})
		}
		for range 100 {
			if d := ask("203.0.113.1"); d != 0 {
				t.Fatalf("a guess was answered after %v", d)
			}
		}
		if d := ask("203.0.113.1"); d == 0 {
			t.Error("guess 101 was answered at once")
		}
		if d := ask("203.0.113.2"); d != 0 {
			t.Errorf("the first guess of another client was answered after %v", d)
		}
	})
}

// TestForwardingBodyOverHead has the body of an open arrive late, in the place
// of its head.
func TestForwardingBodyOverHead(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Forwarding: trusting("")}, func(t *testing.T, b *bench) {
		p := b.connect()
		p.write("POST /open/1 HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 300\r\n\r\n")
		p.silent()
		p.write(strings.Repeat("9", 300))
		id := strings.TrimSpace(p.answer().body)
		p.send(send(id, 0), "x")
		if c := b.accept(); c.RemoteAddr().String() != "203.0.113.9:0" {
			t.Errorf("the session is from %v", c.RemoteAddr())
		}
	})
}

// TestOldHTTPIsProxied: what speaks HTTP/1.0 is a proxy.
func TestOldHTTPIsProxied(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"1.0": true, "1.1": false} {
		b := newBench(t, tunnel.Config{})
		p := b.connect()
		p.write("POST /open/1 HTTP/" + version + "\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n\x00")
		p.send(send(strings.TrimSpace(p.answer().body), 0), "x")
		if c := b.accept(); c.Proxied() != want {
			t.Errorf("HTTP/%s: proxied %v", version, c.Proxied())
		}
	}
}

// TestHandoffKeepsConnInfo: the pages learn what ServeConn was told.
func TestHandoffKeepsConnInfo(t *testing.T) {
	t.Parallel()
	got := make(chan tunnel.ConnInfo, 1)
	b := newBench(t, tunnel.Config{Fallback: func(nc net.Conn) {
		got <- nc.(interface{ ConnInfo() tunnel.ConnInfo }).ConnInfo()
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
	}})
	p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 1}, Proxied: true, Transport: "rtmpts"})
	p.write("GET / HTTP/1.1\r\n\r\n")
	if info := <-got; !info.Proxied || info.Transport != "rtmpts" || info.RemoteAddr.String() != "203.0.113.9:1" {
		t.Errorf("%+v", info)
	}
	_ = p.nc.Close()
}
