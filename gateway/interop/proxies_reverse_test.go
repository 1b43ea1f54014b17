//go:build interop

package interop_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"culvert/tunnel"
)

// front is what a client sees of a reverse proxy.
type front struct {
	name string
	addr string
	tls  string // the same with TLS; may be empty
	// from is where the proxy comes from.
	from string
	// closes says that the proxy closes the client's connection after each answer, or a few: ffmpeg and librtmp do not survive that.
	closes bool
	// finds is what the gateway finds out.
	finds []string
}

// The samples of configs/deploy, and nginx as people have it.
func TestNginx(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump", "nginx")
	t.Parallel()
	s := serveBehindProxies(t, "limits: {tunnel: {idle_timeout: 6s}}") // for the sessions that are cut off
	gateway := s.addr(t, "http")
	sample := front{name: "sample", addr: reserve(t), tls: reserve(t), from: "127.0.2.1"}
	stream := reserve(t)
	text := deployed(t, "nginx.conf",
		"listen 80;", "listen "+sample.addr+";",
		"listen 443 ssl;", "listen "+sample.tls+" ssl;",
		"listen 1935;", "listen "+stream+"; proxy_bind "+sample.from+";",
		"/etc/culvert/fullchain.pem", s.chain,
		"/etc/culvert/privkey.pem", s.key,
		"server 127.0.0.1:8080;", "server "+gateway+";",
		"proxy_pass 127.0.0.1:1936;", "proxy_pass "+s.addr(t, "rtmp")+";",
		"proxy_pass http://culvert;", "proxy_pass http://culvert; proxy_bind "+sample.from+";",
		"worker_connections 32768;", "worker_connections 512;",
		"worker_rlimit_nofile 65536;", "",
	)
	fronts := []front{sample}
	const named = "proxy_set_header X-Forwarded-For $remote_addr;"
	const keep = "proxy_http_version 1.1; proxy_set_header Connection '';" + named
	for i, v := range []struct {
		front
		server, location string
	}{
		// HTTP/1.0, Connection: close and all buffers: what nginx does unless told otherwise.
		{front: front{name: "defaults", finds: []string{"http_1_0", "unnamed"}}},
		{front: front{name: "buffers"}, location: keep + "proxy_buffering on; proxy_request_buffering on;"},
		{front: front{name: "no buffers", finds: []string{"closes"}}, location: named + "proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;"},
		// The times of 60 s, all shorter than the clip.
		{
			front: front{name: "short times"}, server: "client_body_timeout 1s; client_header_timeout 1s; send_timeout 1s; keepalive_timeout 2s;",
			location: keep + "proxy_read_timeout 1s; proxy_send_timeout 1s; proxy_connect_timeout 1s;",
		},
		{front: front{name: "no keep-alive", closes: true}, server: "keepalive_timeout 0;", location: keep},
		{front: front{name: "few requests", closes: true}, server: "keepalive_requests 20;", location: keep},
	} {
		v.addr, v.from = reserve(t), "127.0.2."+strconv.Itoa(10+i)
		text = strings.Replace(text, "    server {\n", "    server { listen "+v.addr+"; "+v.server+" location / { proxy_pass http://"+gateway+"; proxy_bind "+v.from+"; "+v.location+" } }\n    server {\n", 1)
		fronts = append(fronts, v.front)
	}
	counting := front{addr: reserve(t), from: "127.0.2.99"}
	text = strings.Replace(text, "    server {\n", "    server { listen "+counting.addr+"; keepalive_requests 100; location / { proxy_pass http://"+gateway+"; proxy_bind "+counting.from+"; "+keep+" } }\n    server {\n", 1)
	h2 := front{tls: reserve(t), from: "127.0.2.98"}
	text = strings.Replace(text, "    server {\n", "    server { listen "+h2.tls+" ssl http2; ssl_certificate "+s.chain+"; ssl_certificate_key "+s.key+"; keepalive_requests 50; location / { proxy_pass http://"+gateway+"; proxy_bind "+h2.from+"; "+keep+" } }\n    server {\n", 1)
	startNginx(t, "stream", text, sample.addr, sample.tls, stream)
	t.Run("HTTP/2", func(t *testing.T) { // and nginx ends its connections after fifty requests
		t.Parallel()
		overHTTP2(t, s, h2)
	})
	t.Run("a hundred requests", func(t *testing.T) {
		t.Parallel()
		var players []*player
		for range 3 {
			players = append(players, playFFmpeg(t, "rtmpt://"+counting.addr+"/live/counted"))
		}
		publishLoopFFmpeg(t, glimpse.file(t), s.url(t, "rtmp", "counted")+"?key="+publishKey)
		eventually(t, "a line about the limit", func() bool { return slices.Contains(s.findings(counting.from), "request_limit") })
		for _, p := range players {
			p.wait(t, 0, 1)
		}
	})
	t.Run("http", func(t *testing.T) {
		for _, f := range fronts {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				behind(t, s, f)
			})
		}
	})
	t.Run("stream", func(t *testing.T) {
		t.Parallel()
		bytesThrough(t, s, stream)
	})
}

func TestHAProxy(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump", "haproxy")
	t.Parallel()
	s := serveBehindProxies(t)
	gateway := s.addr(t, "http")
	sample := front{name: "sample", addr: reserve(t), tls: reserve(t), from: "127.0.2.1"}
	stream, streamTLS := reserve(t), reserve(t)
	pem := filepath.Join(t.TempDir(), "haproxy.pem")
	var both []byte
	for _, file := range []string{s.chain, s.key} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	write(t, pem, string(both))
	text := deployed(t, "haproxy.cfg",
		"bind :1935", "bind "+stream,
		"bind :443\n", "bind "+streamTLS+"\n",
		"bind :80\n", "bind "+sample.addr+"\n",
		"bind :8443", "bind "+sample.tls,
		"/etc/culvert/haproxy.pem", pem,
		"server culvert 127.0.0.1:8080", "server culvert "+gateway+" source "+sample.from,
	)
	v1 := reserve(t)
	text += "\nlisten v1\n mode tcp\n bind " + v1 + "\n server culvert " + gateway + " source " + sample.from + " send-proxy\n"
	fronts := []front{sample}
	for i, v := range []struct {
		front
		options string
	}{
		{front{name: "server close", finds: []string{"closes"}}, "option http-server-close"},
		{front{name: "connections shared"}, "http-reuse always"},
		{front{name: "close", closes: true, finds: []string{"closes"}}, "option httpclose"},
	} {
		v.addr, v.from = reserve(t), "127.0.2."+strconv.Itoa(110+i)
		text += "\nlisten " + strings.ReplaceAll(v.name, " ", "-") + "\n mode http\n bind " + v.addr + "\n option forwardfor\n option h1-case-adjust-bogus-client\n " + v.options +
			"\n server culvert " + gateway + " source " + v.from + "\n"
		fronts = append(fronts, v.front)
	}
	stranger := front{addr: reserve(t), from: "127.0.0.4"}
	text += "\nlisten stranger\n mode http\n bind " + stranger.addr + "\n option forwardfor\n http-reuse always\n server culvert " + gateway + " source " + stranger.from + "\n"
	h2 := front{tls: reserve(t), from: "127.0.2.119"}
	text += "\nlisten h2\n mode http\n bind " + h2.tls + " ssl crt " + pem + " alpn h2,http/1.1\n option forwardfor\n server culvert " + gateway + " source " + h2.from + "\n"
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, path, text)
	startListening(t, []string{"haproxy", "-db", "-f", path}, sample.addr, stream)
	t.Run("http", func(t *testing.T) {
		for _, f := range fronts {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				behind(t, s, f)
			})
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		overHTTP2(t, s, h2)
	})
	t.Run("not trusted", func(t *testing.T) { // one connection for all, and they count as its address
		t.Parallel()
		for _, from := range []string{"127.0.3.1", "127.0.3.2"} {
			s.requireSessionFrom(t, tunnel.Dialer{}, "rtmpt://"+stranger.addr, from, stranger.from)
		}
		s.requireFindings(t, stranger.from, "shared", "untrusted")
	})
	for name, addr := range map[string]string{"PROXY v1": v1, "PROXY v2": stream} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bytesThrough(t, s, addr)
		})
	}
}

// behind publishes and plays through a proxy that speaks HTTP: with ffmpeg and rtmpdump where they can, else with culvert's own.
func behind(t *testing.T, s *behindProxies, f front) {
	t.Helper()
	stream := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	url := "rtmpt://" + f.addr + "/live/" + stream
	if f.closes {
		lost := publishThrough(t, "", url+"-ffmpeg")
		player := playOwn(t, s, "", url)
		carried(t, publishOwn(t, s, "", url), player)
		lost.requireRefused(t) // else the advice to people is wrong
	} else {
		players := []*player{playFFmpeg(t, url), playRTMPDump(t, url)}
		if f.tls != "" {
			secure := "rtmpts://" + f.tls + "/live/" + stream
			players = append(players, playFFmpeg(t, secure), playRTMPDump(t, secure), playOwn(t, s, "", secure))
		}
		carried(t, publishThrough(t, "", url), players...)
	}
	if slices.Contains(f.finds, "unnamed") {
		s.requireRemote(t, stream, func(remote string) bool { return strings.HasPrefix(remote, f.from+":") })
	} else {
		s.requireRemote(t, stream, func(remote string) bool { return remote == "127.0.0.1" })
	}
	if !f.closes && !slices.Contains(f.finds, "unnamed") { // one after the other, over one connection of the proxy's if it keeps one
		for _, from := range []string{"127.0.3.1", "127.0.3.2"} {
			s.requireSessionFrom(t, tunnel.Dialer{}, "rtmpt://"+f.addr, from, from)
		}
	}
	s.requireFindings(t, f.from, f.finds...)
}

// overHTTP2 publishes and plays with culvert's own through a proxy that chooses HTTP/2, which its answers to others show.
func overHTTP2(t *testing.T, s *behindProxies, f front) {
	t.Helper()
	conn, err := tls.Dial("tcp", f.tls, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}) //nolint:gosec // only to see what it chooses
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("the proxy chooses %q", got)
	}
	url := "rtmpts://" + f.tls + "/live/" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	player := playOwn(t, s, "", url)
	carried(t, publishOwn(t, s, "", url), player)
	s.requireFindings(t, f.from)
}

// bytesThrough publishes and plays every transport through a proxy that passes bytes on and names the client in a PROXY header.
func bytesThrough(t *testing.T, s *behindProxies, addr string) {
	t.Helper()
	stream := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	var players []*player
	for _, out := range transports {
		players = append(players, playFFmpeg(t, out+"://"+addr+"/live/"+stream))
	}
	carried(t, publishThrough(t, "", "rtmpt://"+addr+"/live/"+stream), players...)
	s.requireRemote(t, stream, func(remote string) bool {
		host, port, err := net.SplitHostPort(remote)
		return err == nil && host == "127.0.0.1" && port != "0"
	})
}
