//go:build interop

package interop_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/gateway/client"
	"culvert/gateway/netio"
	"culvert/rtmpcore"
	"culvert/tunnel"
)

// at leads a client to an address, whatever host its URL has.
func at(addr string, join func(context.Context, string, func(context.Context) (net.Conn, error)) (*light, error)) func(context.Context, string) (*light, error) {
	return func(ctx context.Context, url string) (*light, error) {
		target, err := client.ParseTarget(url)
		if err != nil {
			return nil, err
		}
		return join(ctx, url, func(ctx context.Context) (net.Conn, error) {
			return client.Dial(ctx, target, client.Options{
				TLS:     &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // a gateway of the test's own
				DialTCP: func(ctx context.Context, _ string) (*netio.TCPConn, error) { return netio.Dial(ctx, addr, nil) },
			})
		})
	}
}

// Culvert behind culvert in both modes, over each transport between them, for clients of each transport and, where bytes are not looked at, for RTMPE.
func TestProxyTransports(t *testing.T) {
	t.Parallel()
	behind := serve(t, rtmpeOn)
	for _, between := range transports {
		to, _, _ := strings.Cut(behind.url(t, between, ""), "/live/")
		for mode, config := range map[string]string{
			"routed":      "apps: {live: {proxy: {to: ['" + to + "'], tls: {ca: " + behind.ca + "}}}}",
			"transparent": "routes: [{mode: transparent, proxy: {to: ['" + to + "'], tls: {ca: " + behind.ca + "}}}]",
		} {
			t.Run(mode+"/"+between, func(t *testing.T) {
				t.Parallel()
				s := serve(t, config)
				clients := transports
				if mode == "transparent" {
					clients = append([]string{"rtmpe", "rtmpte"}, transports...)
				}
				for _, transport := range clients {
					stream := strings.Join([]string{mode, between, transport}, "-")
					player := joined(t, playLight, s.url(t, transport, stream))
					publisher := joined(t, publishLight, s.url(t, transport, stream))
					requireFrame(t, publisher, player, "through")
					player.Close()
					publisher.Close()
				}
			})
		}
	}
}

// Before the first byte of RTMP the name in TLS and in HTTP decides, also in transparent mode; what check says is where the stream arrives.
func TestProxyServerNames(t *testing.T) {
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	config := fmt.Sprintf(`apps: {live: {proxy: {to: ['rtmp://%[1]s']}}}
routes:
  - {mode: transparent, host: "*.two.test", proxy: {to: ['rtmp://%[2]s']}}
  - {host: "routed.test", proxy: {to: ['rtmp://%[2]s']}}
`, one.addr, two.addr)
	file := filepath.Join(t.TempDir(), "names.yaml")
	write(t, file, config)
	s := serve(t, config)
	for _, transport := range transports {
		for host, want := range map[string]struct {
			to    *nginx
			route string
		}{
			"a.two.test":  {map[bool]*nginx{true: one, false: two}[transport == "rtmp"], map[bool]string{true: "apps.live", false: "routes[0]"}[transport == "rtmp"]}, // RTMP names no host before the handshake
			"routed.test": {two, "routes[1]"},
			"other.test":  {one, "apps.live"},
		} {
			t.Run(transport+"/"+host, func(t *testing.T) {
				t.Parallel()
				stream := strings.NewReplacer("/", "-", ".", "-").Replace(t.Name())
				url := transport + "://" + host + "/live/" + stream
				listener := map[string]string{"rtmp": "rtmp", "rtmps": "https", "rtmpt": "http", "rtmpts": "https"}[transport]
				told := run(t, "culvert check --route", culvert(t), "check", "-c", file, "--route", url)
				if !strings.Contains(told, want.route+": taken") || !strings.Contains(told, want.to.addr) {
					t.Errorf("culvert check --route %s does not say %s to %s:\n%s", url, want.route, want.to.addr, told)
				}
				joined(t, at(s.addr(t, listener), publishOver), url).Close()
				want.to.logged(t, "PUBLISH", `"`+stream+`"`)
			})
		}
	}
}

// nginx-rtmp sees the address of the client itself that HAProxy in front of the gateway names: in X-Forwarded-For, and in PROXY v1 and v2; in both modes, in the
// PROXY header before everything, and in the connect command. Of a stranger nothing is believed.
func TestProxyClientAddress(t *testing.T) {
	need(t, "haproxy")
	t.Parallel()
	backend := serveNginx(t)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for mode, config := range map[string]string{
		"routed":      "apps: {live: {proxy: {to: ['rtmp://" + backend.proxied + "'], proxy_protocol: v1, client_property: pageUrl}}}",
		"transparent": "routes: [{mode: transparent, proxy: {to: ['rtmp://" + backend.proxied + "'], proxy_protocol: v1}}]",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := serveTrusting(t, config)
			web, v1, v2, stranger := reserve(t), reserve(t), reserve(t), reserve(t)
			text := "defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
			listen := func(name, addr, options, to, more string) {
				text += fmt.Sprintf("listen %s\n bind %s\n %s\n server culvert %s %s\n", name, addr, options, to, more)
			}
			listen("web", web, "mode http\n option forwardfor", s.addr(t, "http"), "")
			listen("v1", v1, "mode tcp", s.addr(t, "rtmp"), "send-proxy")
			listen("v2", v2, "mode tcp", s.addr(t, "rtmp"), "send-proxy-v2")
			listen("stranger", stranger, "mode http\n option forwardfor", s.addr(t, "http"), "source 127.0.0.4")
			path := filepath.Join(t.TempDir(), "haproxy.cfg")
			write(t, path, text)
			startListening(t, []string{"haproxy", "-db", "-f", path}, web, v1, v2, stranger)
			for name, test := range map[string]struct{ transport, addr, want string }{
				"forwarded": {"rtmpt", web, "127.0.0.9"},
				"v1":        {"rtmp", v1, "127.0.0.9"},
				"v2":        {"rtmp", v2, "127.0.0.9"},
				"stranger":  {"rtmpt", stranger, "127.0.0.4"},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					stream := "by-" + mode + "-" + name
					url := test.transport + "://" + test.addr + "/live/" + stream
					joined(t, func(ctx context.Context, url string) (*light, error) {
						return publishOver(ctx, url, func(ctx context.Context) (net.Conn, error) {
							if test.transport == "rtmp" {
								return from.DialContext(ctx, "tcp", test.addr)
							}
							d := tunnel.Dialer{DialConn: from.DialContext}
							return d.Dial(ctx, url)
						})
					}, url).Close()
					line := backend.logged(t, "PUBLISH", `"`+stream+`"`)
					if !strings.HasPrefix(line, test.want+" ") {
						t.Errorf("nginx saw another client than %s: %s", test.want, line)
					}
					if named := strings.Contains(line, `"`+test.want+`"`); named != (mode == "routed") { // pageUrl
						t.Errorf("the connect command has it: %v: %s", named, line)
					}
				})
			}
		})
	}
}

// One connection publishes at one nginx and plays from another.
func TestProxyApart(t *testing.T) {
	t.Parallel()
	in, out := serveNginx(t), serveNginx(t)
	s := serve(t, fmt.Sprintf("routes: [{app: live, for: publish, proxy: {to: ['rtmp://%s']}}, {app: live, for: play, proxy: {to: ['rtmp://%s']}}]", in.addr, out.addr))
	there := joined(t, publishLight, "rtmp://"+out.addr+"/live/theirs")
	for _, transport := range transports {
		name := "mine-" + transport
		publisher := joined(t, publishLight, s.url(t, transport, name))
		second, err := publisher.CreateStream(background(t))
		if err == nil {
			err = publisher.Play(background(t), second, "theirs")
		}
		if err != nil {
			t.Fatal(err)
		}
		requireFrame(t, there, publisher, "theirs over "+transport)
		requireFrame(t, publisher, joined(t, playLight, "rtmp://"+in.addr+"/live/"+name), "mine")
	}
}

// A route that leads back to the gateway over another address is refused, whatever it is called on the way, and nobody else notices.
func TestProxyLoop(t *testing.T) {
	t.Parallel()
	way := newPassage(t, "")
	s := serve(t, "apps: {live: {}, round: {proxy: {to: ['rtmp://"+way.addr()+"'], app: about}}, about: {proxy: {to: ['rtmp://"+way.addr()+"'], app: round}}}")
	way.lead(s.addr(t, "rtmp"))
	for _, transport := range transports {
		_, err := publishLight(background(t), inApp(s.url(t, transport, "x"), "round"))
		var status *rtmpcore.StatusError
		if !errors.As(err, &status) || status.Code != "NetConnection.Connect.Rejected" || !strings.Contains(status.Description, "loop") {
			t.Errorf("over %s the client is told %v", transport, err)
		}
	}
	s.wantsLog(t, `"message":"connect refused"`, "a relay loop")
	if n := way.taken.Load(); n != int64(len(transports)) {
		t.Errorf("%d connections were made", n)
	}
	checkFresh(t, s.url(t, "rtmp", "beside"))
}

// A backend's name that changes, has no address any more, and then twenty of which one answers: sessions go where the name leads, and who comes meanwhile is told.
func TestProxyNames(t *testing.T) {
	needMounts(t)
	t.Parallel()
	one, two := serveNginx(t), serveNginx(t)
	_, port, _ := net.SplitHostPort(one.addr)
	way := &passage{}
	way.openAt(t, "127.0.0.2:"+port)
	way.lead(two.addr)
	for mode, routes := range map[string]string{
		"routed":      "apps: {live: {proxy: {to: ['rtmp://moves.test:" + port + "'], connect_timeout: 5s, eject: {failures: 0}}}}",
		"transparent": "routes: [{mode: transparent, proxy: {to: ['rtmp://moves.test:" + port + "'], connect_timeout: 5s, eject: {failures: 0}}}]",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "culvert.yaml")
			write(t, config, "log: {format: json}\nlisten: {rtmp: '127.0.0.1:0', http: '', https: '', admin: '127.0.0.1:0'}\ntls: {mode: 'off'}\n"+routes+"\n")
			command := withName(t, "moves.test", culvert(t), "serve", "-c", config)
			hosts := command[5]
			s := serveCommand(t, command)
			arrives := func(stream string, to *nginx) {
				t.Helper()
				stream = mode + "-" + stream
				eventually(t, stream+" at the other server", func() bool {
					l, err := publishLight(background(t), s.url(t, "rtmp", stream))
					if err != nil {
						return false
					}
					l.Close()
					log, err := os.ReadFile(to.log)
					return err == nil && len(linesWith(string(log), "PUBLISH", `"`+stream+`"`)) > 0
				})
			}
			change := func(lines string) { write(t, hosts, "127.0.0.1 localhost\n"+lines) } // in its place: it is mounted
			change(reservedHost + " moves.test\n")
			arrives("first", one)
			change("127.0.0.2 moves.test\n")
			arrives("moved", two)
			change("")
			eventually(t, "a refusal", func() bool {
				l, err := publishLight(background(t), s.url(t, "rtmp", "nowhere"))
				if err == nil {
					l.Close()
				}
				return err != nil
			})
			lines := reservedHost + " moves.test\n"
			for i := range 19 {
				lines += fmt.Sprintf("127.0.4.%d moves.test\n", i+1)
			}
			change(lines)
			arrives("one of twenty", one)
		})
	}
}
