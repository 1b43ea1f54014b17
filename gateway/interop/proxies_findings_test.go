//go:build interop

package interop_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// What only proxies do that are set up badly: each is provoked, named in the log with what to do about it, and counted. Those that stand in the way of no
// client, or not of every one, are asked to carry a stream as well.

// requireNamed waits for the one finding about a proxy: its line and its count.
func (s *behindProxies) requireNamed(t *testing.T, proxy, kind, words string) {
	t.Helper()
	s.requireFindings(t, proxy, kind)
	for _, l := range s.matching(func(l proxyLine) bool { return l.Proxy == proxy }) {
		if !strings.Contains(l.Message, words) {
			t.Errorf("the line about %s does not say %q: %+v", kind, words, l)
		}
	}
	if n := s.metric(t, `culvert_proxy_findings_total{kind="`+kind+`"}`); n < 1 {
		t.Errorf("%s is counted %v times", kind, n)
	}
}

// nginxWeb is an nginx with a server for each of the fronts, which differ in the settings of their servers and locations.
func nginxWeb(t *testing.T, gateway, settings string, fronts map[*front][2]string) {
	t.Helper()
	text := "events {}\nhttp { " + settings + "\n"
	var addrs []string
	for f, more := range fronts {
		text += "server { listen " + f.addr + "; keepalive_requests 1000000; " + more[0] + " location / { proxy_pass http://" + gateway + "; proxy_bind " + f.from +
			"; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; " + more[1] + " } }\n"
		addrs = append(addrs, f.addr)
	}
	startNginx(t, "stream", text+"}\n", addrs...)
}

func TestBadProxies(t *testing.T) {
	need(t, "ffmpeg", "nginx", "haproxy")
	t.Parallel()
	s := serveBehindProxies(t)
	gateway := s.addr(t, "http")
	slow := &front{addr: reserve(t), from: "127.0.2.201"}
	bodiless, getting, putting := &front{addr: reserve(t), from: "127.0.2.202"}, &front{addr: reserve(t), from: "127.0.2.203"}, &front{addr: reserve(t), from: "127.0.2.204"}
	v1, v2 := &front{addr: reserve(t), from: "127.0.0.5"}, &front{addr: reserve(t), from: "127.0.0.6"}
	nginxWeb(t, gateway, "limit_req_zone $binary_remote_addr zone=each:1m rate=37r/m;", map[*front][2]string{
		slow:     {"", "limit_req zone=each burst=30 delay=16;"},
		bodiless: {"", "proxy_pass_request_body off; proxy_set_header Content-Length '';"},
		getting:  {"", "proxy_method GET;"},
	})
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, path, fmt.Sprintf(`global
 h1-case-adjust content-length Content-Length
defaults
 timeout connect 5s
 timeout client 2m
 timeout server 2m
listen putting
 mode http
 bind %s
 option forwardfor
 option h1-case-adjust-bogus-client
 http-request set-method PUT if { path_beg /send }
 server culvert %s source %s
listen v1
 mode tcp
 bind %s
 server culvert %s source %s send-proxy
listen v2
 mode tcp
 bind %s
 server culvert %s source %s send-proxy-v2
`, putting.addr, gateway, putting.from, v1.addr, gateway, v1.from, v2.addr, gateway, v2.from))
	startListening(t, []string{"haproxy", "-db", "-f", path}, putting.addr, v1.addr, v2.addr)

	// A limit of requests a minute delays each of them: the answers are as late as those of a proxy that keeps them.
	t.Run("delays", func(t *testing.T) {
		t.Parallel()
		publisher := joined(t, publishLight, s.url(t, "rtmp", "delayed")+"?key="+publishKey)
		player := joined(t, playLight, "rtmpt://"+slow.addr+"/live/delayed")
		// The next frame goes out when the one before has arrived: it is there before the next request is, which finds it at once.
		for i := 0; len(s.findings(slow.from)) == 0; i++ {
			if i > 30 {
				t.Fatalf("nothing was found after %d frames", i)
			}
			requireFrame(t, publisher, player, fmt.Sprint("frame ", i, "."))
		}
		s.requireNamed(t, slow.from, "buffers", "this proxy buffers answers, or delays them")
		requireFrame(t, publisher, player, "goes on")
	})
	// Requests that arrive without their bodies, or with another method, cannot be mended: their clients have no stream.
	for name, f := range map[string]*front{"drops bodies": bodiless, "another method": getting, "another method for some": putting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := playFFmpeg(t, "rtmpt://"+f.addr+"/live/rewritten")
			s.requireNamed(t, f.from, "rewrites", "this proxy changes requests of the tunnel")
			if f != bodiless { // there it waits for the answer to its handshake until the gateway's time for that is over
				p.requireRefused(t)
			}
		})
	}
	// A PROXY header of an address that is not trusted: nothing passes, as nobody knows from whom it is.
	for name, f := range map[string]*front{"PROXY v1": v1, "PROXY v2": v2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, transport := range []string{"rtmp", "rtmpt"} {
				playFFmpeg(t, transport+"://"+f.addr+"/live/unknown").requireRefused(t)
			}
			s.requireNamed(t, f.from, "proxy_header", "this address sends the PROXY protocol and is not believed")
		})
	}
}

// A connection may live for ten seconds. Players that make no new one lose their session with it, and those that do, through the same kind of proxy, play on.
func TestProxyLimitsTime(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump", "nginx")
	t.Parallel()
	s := serveBehindProxies(t, "limits: {tunnel: {idle_timeout: 3s}}")
	cut, survived := &front{addr: reserve(t), from: "127.0.2.211"}, &front{addr: reserve(t), from: "127.0.2.212"}
	const ten = "keepalive_time 10s;"
	nginxWeb(t, s.addr(t, "http"), "", map[*front][2]string{cut: {ten, ""}, survived: {ten, ""}})
	const path = "/live/limited"
	lost := []*player{playRTMPDump(t, "rtmpt://"+cut.addr+path), playRTMPDump(t, "rtmpt://"+cut.addr+path)}
	waiting := playRTMPDump(t, "rtmpt://"+cut.addr+"/live/nobody") // out of step with the others
	survivor := playOwn(t, s, "", "rtmpt://"+survived.addr+path)
	publisher := publishLoopFFmpeg(t, glimpse.file(t), s.url(t, "rtmp", "limited")+"?key="+publishKey)
	s.requireNamed(t, cut.from, "time_limit", "this proxy closes its clients' connections after a time")
	for _, p := range lost {
		p.wait(t, 0, 1, 2)
		if p.received() == 0 {
			t.Error("a player had nothing before it was cut off")
		}
	}
	waiting.wait(t, 0, 1, 2)
	survivor.awaitBytes(t, survivor.received()+1<<16)
	publisher.kill()
	survivor.wait(t)
	s.requireFindings(t, survived.from)
}
