package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// behindProxies is a configuration that trusts loopback.
func behindProxies(t *testing.T) configs.Config {
	t.Helper()
	cfg := config(t)
	cfg.Shutdown.Drain = 0
	cfg.Listen.TrustedProxies = []configs.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	return cfg
}

const (
	proxyV1 = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0C\xCB\x00\x71\x07\xC0\x00\x02\x01\x12\x67\x01\xBB"
	proxyUp = "PROXY TCP4 127.0.0.9 192.0.2.1 4711 443\r\n" // a second proxy that is trusted, too
)

// TestClientAddress: whatever stands between, the session is the client's, and never a local one.
func TestClientAddress(t *testing.T) {
	var log logBuffer
	g, _ := start(t, behindProxies(t), gateway.Options{Log: zerolog.New(&log)})
	for name, tc := range map[string]struct{ front, header, want string }{
		"X-Forwarded-For":                {"", "X-Forwarded-For: 198.51.100.66, 203.0.113.9", "203.0.113.9"},
		"PROXY v1":                       {proxyV1, "", "203.0.113.7:4711"},
		"PROXY v2":                       {proxyV2, "", "203.0.113.7:4711"},
		"PROXY, and what a client says":  {proxyV1, "X-Forwarded-For: 203.0.113.9", "203.0.113.7:4711"},
		"PROXY of a proxy that forwards": {proxyUp, "X-Forwarded-For: 203.0.113.9", "203.0.113.9"},
		"nobody named":                   {"", "", ""},
		"loopback named":                 {"", "X-Forwarded-For: 127.0.0.1", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			p := &poller{t: t, conn: conn, r: bufio.NewReader(conn)}
			if tc.header != "" {
				tc.header += "\r\n"
			}
			if _, err := io.WriteString(conn, tc.front+"POST /open/1 HTTP/1.1\r\nHost: gateway\r\n"+tc.header+"Content-Length: 1\r\n\r\n\x00"); err != nil {
				t.Fatal(err)
			}
			p.id = strings.TrimSpace(string(p.answer()))
			p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
			app := strings.NewReplacer(" ", "", ",", "").Replace(name)
			p.post("send", append(make([]byte, 1536), encode(t, 0, message.Command{
				Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: app}},
			})...))
			p.post("send", encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
			body := p.post("send", encode(t, 1, message.Command{Name: "publish", TransactionID: 3, Args: []any{"a", "live"}}))
			if !strings.Contains(string(body), message.StatusPublishDenied) {
				t.Errorf("publishing without a key was answered with %q", body)
			}
			p.write(p.path("close"), []byte{0})
			p.answer()
			want := tc.want
			if want == "" {
				want = conn.LocalAddr().String()
			}
			waitForLog(t, &log, `"app":"`+app+`"`)
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, `"app":"`+app+`"`) && !strings.Contains(line, `"remote":"`+want+`"`) {
					t.Errorf("logged as %s want %s", line, want)
				}
			}
		})
	}
}

// TestClientAddressHTTP2: net/http holds the connection, so the PROXY header has to find its way to the requests.
func TestClientAddressHTTP2(t *testing.T) {
	cfg := behindProxies(t)
	cfg.TLS.HTTP2 = true
	var log logBuffer
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(&log)})
	for name, tc := range map[string]struct{ front, header, want string }{
		"PROXY v2":        {proxyV2, "", "203.0.113.7:4711"},
		"X-Forwarded-For": {"", "203.0.113.9", "203.0.113.9:0"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &http.Transport{
				ForceAttemptHTTP2: true,
				TLSClientConfig:   insecure.TLS.Clone(),
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					if err == nil {
						_, err = io.WriteString(conn, tc.front)
					}
					return conn, err
				},
			}
			defer tr.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.Addr("https").String()+"/open/1", strings.NewReader("\x00"))
			if err != nil {
				t.Fatal(err)
			}
			if tc.header != "" {
				req.Header.Set("X-Forwarded-For", tc.header)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s %s", resp.Proto, resp.Status)
			}
			if want := fmt.Sprintf(`"remote":%q,"transport":"rtmpts"`, tc.want); !strings.Contains(log.String(), want) {
				t.Errorf("no session with %s:\n%s", want, log.String())
			}
		})
	}
}

// TestStrangersAreNotBelieved: neither way of naming a client works from an address that is not trusted.
func TestStrangersAreNotBelieved(t *testing.T) {
	var log logBuffer
	cfg := config(t)
	cfg.Shutdown.Drain = 0
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(&log)})
	conn, err := tls.Dial("tcp", g.Addr("https").String(), insecure.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /open/1 HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 1\r\n\r\n\x00"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if want := `"remote":"` + conn.LocalAddr().String() + `"`; !strings.Contains(log.String(), want) || strings.Contains(log.String(), "203.0.113.9") {
		t.Errorf("no session from %s:\n%s", want, log.String())
	}
}
