package gateway_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway"
)

// TestProxyIsNamed: a line for each proxy and kind, once, and counts in the metrics.
func TestProxyIsNamed(t *testing.T) {
	cfg := behindProxies(t)
	var log logBuffer
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(&log)})
	for range 3 { // connections, each of which shows both
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST /open/1 HTTP/1.0\r\nContent-Length: 1\r\n\r\n\x00"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	for kind, words := range map[string]string{"http_1_0": "this proxy speaks HTTP/1.0", "unnamed": "this trusted proxy does not name its clients"} {
		line := fmt.Sprintf(`{"level":"warn","proxy":"127.0.0.1","kind":%q,"message":"%s`, kind, words)
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%d lines %s\n%s", n, line, log.String())
		}
		if n := g.Snapshot().ProxyFindings[kind]; n != 3 {
			t.Errorf("%s is counted %d times", kind, n)
		}
	}
	if _, body := get(t, g.Addr("admin"), "/metrics"); !strings.Contains(body, `culvert_proxy_findings_total{kind="http_1_0"} 3`) || !strings.Contains(body, `culvert_proxy_findings_total{kind="buffers"} 0`) {
		t.Error("not in the metrics")
	}
}

// TestProxyHeaderOfAStranger: both versions are refused, and the operator is told why.
func TestProxyHeaderOfAStranger(t *testing.T) {
	for name, header := range map[string]string{"v1": proxyV1, "v2": proxyV2} {
		var log logBuffer
		g, _ := start(t, config(t), gateway.Options{Log: zerolog.New(&log)})
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("rtmp").String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, header+"\x03"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn) // an answer, or a reset
		conn.Close()
		waitForLog(t, &log, `"proxy":"127.0.0.1","kind":"proxy_header"`)
		if n := g.Snapshot().ProxyFindings["proxy_header"]; n != 1 {
			t.Errorf("%s: counted %d times", name, n)
		}
	}
}

// TestFindingsDoNotFloodTheLog: many proxies make no more than so many lines an hour; what was left out is said later.
func TestFindingsDoNotFloodTheLog(t *testing.T) {
	for _, tc := range []struct {
		proxies int
		later   time.Duration
		want    int
	}{{10, time.Hour, 10}, {1000, time.Minute, 30}, {1000, time.Hour, 60}} {
		var log logBuffer
		gateway.FindingLines(zerolog.New(&log), tc.proxies, tc.later)
		if n := strings.Count(log.String(), "\n"); n != tc.want {
			t.Errorf("%d proxies, %v: %d lines, want %d", tc.proxies, tc.later, n, tc.want)
		}
	}
}
