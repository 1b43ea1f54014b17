package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// TestForwardedIntoPROXY: the client that a trusted HTTP proxy names is the one that a server behind the gateway is told, byte for byte; a stranger's
// word is not passed on.
func TestForwardedIntoPROXY(t *testing.T) {
	const forwarded = "X-Forwarded-For: 198.51.100.66, 203.0.113.9\r\n"
	for name, tc := range map[string]struct {
		mode    configs.RouteMode
		version configs.ProxyProtocol
		trusted bool
	}{
		"transparent v1":          {configs.RouteTransparent, configs.ProxyProtocolV1, true},
		"transparent v2":          {configs.RouteTransparent, configs.ProxyProtocolV2, true},
		"routed v1":               {configs.RouteRouted, configs.ProxyProtocolV1, true},
		"routed v2":               {configs.RouteRouted, configs.ProxyProtocolV2, true},
		"transparent v1 stranger": {configs.RouteTransparent, configs.ProxyProtocolV1, false},
		"routed v2 stranger":      {configs.RouteRouted, configs.ProxyProtocolV2, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan []byte, 1)
			server := backend(t, func(c *net.TCPConn) {
				b := make([]byte, 128) // a header, and some of C1
				if _, err := io.ReadFull(c, b); err == nil {
					got <- b
				}
				if tc.mode == configs.RouteTransparent {
					_, _ = io.Copy(io.Discard, c) // the tunnel ends with it
				}
			})
			cfg := transparent(t, server, func(r *configs.Route) { r.Mode, r.Proxy.ProxyProtocol, r.Proxy.Retries = tc.mode, tc.version, 0 })
			if tc.trusted {
				cfg.Listen.TrustedProxies = behindProxies(t).Listen.TrustedProxies
			}
			g, _ := start(t, cfg, gateway.Options{})
			conn := dialGateway(t, g, "http")
			p := &poller{t: t, conn: conn, r: bufio.NewReader(conn)}
			if _, err := io.WriteString(conn, "POST /open/1 HTTP/1.1\r\nHost: gateway\r\n"+forwarded+"Content-Length: 1\r\n\r\n\x00"); err != nil {
				t.Fatal(err)
			}
			p.id = strings.TrimSpace(string(p.answer()))
			p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
			if tc.mode == configs.RouteRouted {
				p.post("send", append(make([]byte, 1536), encode(t, 0, message.Command{
					Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: "live"}},
				})...))
			}
			from := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 9)} // no port is forwarded
			if !tc.trusted {
				from = conn.LocalAddr().(*net.TCPAddr)
			}
			to := conn.RemoteAddr().(*net.TCPAddr)
			want := fmt.Appendf(nil, "PROXY TCP4 %s %s %d %d\r\n\x03", from.IP, to.IP, from.Port, to.Port)
			if tc.version == configs.ProxyProtocolV2 {
				want = []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0C")
				want = append(append(want, from.IP.To4()...), to.IP.To4()...)
				want = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(want, uint16(from.Port)), uint16(to.Port))
				want = append(want, 3)
			}
			if b := <-got; !bytes.HasPrefix(b, want) {
				t.Errorf("the server was sent %q, want %q first", b[:len(want)], want)
			}
		})
	}
}
