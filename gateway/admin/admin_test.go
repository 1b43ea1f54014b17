package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway/admin"
)

// gateway is what the handler shows in these tests.
type gateway struct {
	ready    atomic.Bool
	streams  []admin.StreamInfo
	snapshot admin.Snapshot
}

func (g *gateway) Ready() bool                 { return g.ready.Load() }
func (g *gateway) Streams() []admin.StreamInfo { return g.streams }
func (g *gateway) Snapshot() admin.Snapshot    { return g.snapshot }

func config(g *gateway) admin.Config {
	return admin.Config{Version: "1.2.3", Revision: "abc", State: g, Streams: g, Metrics: g}
}

func get(t *testing.T, h http.Handler, method, path string) (int, http.Header, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w.Code, w.Header(), w.Body.String()
}

func TestHealthAndReadiness(t *testing.T) {
	g := new(gateway)
	h := admin.New(config(g))
	steps := []struct {
		ready           bool
		healthz, readyz int
	}{{false, 200, 503}, {true, 200, 200}, {false, 200, 503}}
	for i, s := range steps {
		g.ready.Store(s.ready)
		if code, _, _ := get(t, h, http.MethodGet, "/healthz"); code != s.healthz {
			t.Errorf("step %d: /healthz = %d, want %d", i, code, s.healthz)
		}
		if code, header, _ := get(t, h, http.MethodGet, "/readyz"); code != s.readyz || header.Get("Cache-Control") != "no-store" {
			t.Errorf("step %d: /readyz = %d %v, want %d", i, code, header, s.readyz)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	h := admin.New(config(new(gateway)))
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/", 404},
		{http.MethodGet, "/api/v1/", 404},
		{http.MethodPost, "/healthz", 405},
		{http.MethodDelete, "/api/v1/streams", 405},
	} {
		if code, _, _ := get(t, h, tt.method, tt.path); code != tt.want {
			t.Errorf("%s %s = %d, want %d", tt.method, tt.path, code, tt.want)
		}
	}
}

func TestStreams(t *testing.T) {
	g := new(gateway)
	h := admin.New(config(g))
	if code, header, body := get(t, h, http.MethodGet, "/api/v1/streams"); code != 200 ||
		header.Get("Content-Type") != "application/json" || body != "{\"streams\":[]}\n" {
		t.Errorf("no streams: %d %v %q", code, header, body)
	}
	since := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	g.streams = []admin.StreamInfo{{
		App: "live", Name: `a"<b>`, Transport: "rtmpts", Remote: "192.0.2.1:5", Video: "H.264",
		Width: 640, Height: 360, Viewers: 3, Since: since, ReceivedBytes: 1 << 60,
	}}
	_, _, body := get(t, h, http.MethodGet, "/api/v1/streams")
	var got struct{ Streams []admin.StreamInfo }
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Streams) != 1 || got.Streams[0] != g.streams[0] {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, key := range []string{`"app":"live"`, `"since":"2026-11-24T01:02:03Z"`, `"received_bytes":1152921504606846976`} {
		if !strings.Contains(body, key) {
			t.Errorf("%s is missing in %s", key, body)
		}
	}
	if strings.Contains(body, `"audio"`) {
		t.Errorf("a missing track is shown: %s", body)
	}
}

func TestMetrics(t *testing.T) {
	g := &gateway{snapshot: admin.Snapshot{
		Transports: map[string]admin.Transport{"rtmp": {Open: 2, Accepted: 9, ReceivedBytes: 1000, SentBytes: 2000}},
		Rejected:   map[string]uint64{"empty": 0, "timeout": 4},
		Apps: map[string]admin.App{"*": {
			Streams: 1,
			Viewers: map[string]int{"rtmpt": 5},
			Dropped: map[string]uint64{"video": 7},
		}},
		Tunnel: &admin.Tunnel{Sessions: 6, Requests: map[admin.TunnelRequest]uint64{{Op: "idle", Code: "200"}: 8}},
	}}
	h := admin.New(config(g))
	code, _, body := get(t, h, http.MethodGet, "/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for _, line := range []string{
		`culvert_connections{transport="rtmp"} 2`,
		`culvert_connections_total{transport="rtmp"} 9`,
		`culvert_received_bytes_total{transport="rtmp"} 1000`,
		`culvert_sent_bytes_total{transport="rtmp"} 2000`,
		`culvert_rejected_total{reason="empty"} 0`,
		`culvert_rejected_total{reason="timeout"} 4`,
		`culvert_streams{app="*"} 1`,
		`culvert_viewers{app="*",protocol="rtmpt"} 5`,
		`culvert_frames_dropped_total{app="*",kind="video"} 7`,
		`culvert_tunnel_sessions 6`,
		`culvert_tunnel_requests_total{code="200",op="idle"} 8`,
		`go_goroutines `,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("%s is missing", line)
		}
	}
	if !strings.Contains(body, `culvert_build_info{goversion="go`) || !strings.Contains(body, `revision="abc",version="1.2.3"} 1`) {
		t.Error("culvert_build_info is missing")
	}
	g.snapshot = admin.Snapshot{}
	if code, _, body := get(t, h, http.MethodGet, "/metrics"); code != 200 || strings.Contains(body, "culvert_tunnel") {
		t.Errorf("empty snapshot: %d", code)
	}
}

// A scrape that cannot be answered leaves a line in the log.
func TestMetricsErrorIsLogged(t *testing.T) {
	var log bytes.Buffer
	g := &gateway{snapshot: admin.Snapshot{Rejected: map[string]uint64{"same": 1}, Transports: map[string]admin.Transport{"a": {}}}}
	cfg := config(g)
	cfg.Log = zerolog.New(&log)
	h := admin.New(cfg)
	w := &brokenWriter{ResponseRecorder: httptest.NewRecorder()}
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if !strings.Contains(log.String(), "metrics scrape failed") || !strings.Contains(log.String(), "gone") {
		t.Errorf("log: %s", log.String())
	}
}

type brokenWriter struct{ *httptest.ResponseRecorder }

func (*brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestServerHasTimeouts(t *testing.T) {
	srv := admin.NewServer(config(new(gateway)))
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": srv.ReadHeaderTimeout, "ReadTimeout": srv.ReadTimeout,
		"WriteTimeout": srv.WriteTimeout, "IdleTimeout": srv.IdleTimeout,
	} {
		if d <= 0 {
			t.Errorf("%s is not set", name)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }() // stopped by Close; waited below
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "ok\n" {
		t.Errorf("body %q, %v", body, err)
	}
	transport.CloseIdleConnections()
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
