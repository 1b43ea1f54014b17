package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
	"culvert/gateway/demo"
	"culvert/rtmpcore"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
	"culvert/testdata/pebble"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if named := flag.Lookup("test.parallel"); named.Value.String() == named.DefValue {
		_ = named.Value.Set("8") // parallel tests wait for an authority's pauses more than for a processor
	}
	var ignored []goleak.Option
	for _, f := range pebble.Leaks {
		ignored = append(ignored, goleak.IgnoreAnyFunction(f))
	}
	goleak.VerifyTestMain(m, ignored...)
}

// config is the built-in configuration on free ports of loopback.
func config(tb testing.TB) configs.Config {
	tb.Helper()
	cfg := configs.Default()
	cfg.Listen.RTMP, cfg.Listen.HTTP, cfg.Listen.HTTPS, cfg.Listen.Admin = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLS.Storage = tb.TempDir()
	return cfg
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a gateway until the test ends or stop is called.
func start(t *testing.T, cfg configs.Config, opts gateway.Options) (g *gateway.Gateway, stop func() error) {
	t.Helper()
	g, err := gateway.New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return g, run(t, g)
}

// run runs a gateway until the test ends or stop, which may be called again, ends it.
func run(tb testing.TB, g *gateway.Gateway) (stop func() error) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }() // stopped and waited for by stop
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return stop
}

// backend is a TCP server until the test ends.
func backend(tb testing.TB, serve func(c *net.TCPConn)) (addr string) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // stopped by closing the listener; waited by the cleanup
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with its connection; waited by the cleanup
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return ln.Addr().String()
}

// url returns a stream's address over a transport.
func url(g *gateway.Gateway, scheme, path string) string {
	name := map[string]string{"rtmp": "rtmp", "rtmps": "https", "rtmpt": "http", "rtmpts": "https", "rtmpe": "rtmp", "rtmpte": "http"}[scheme]
	return scheme + "://" + g.Addr(name).String() + "/" + path
}

func target(tb testing.TB, raw string) client.Target {
	tb.Helper()
	tg, err := client.ParseTarget(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return tg
}

var insecure = client.Options{TLS: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the test's own certificate authority

// clip returns the first seconds of the built-in clip as a file of its own.
func clip(t *testing.T, milliseconds uint32) (file []byte, tags []flv.Tag) {
	t.Helper()
	r := flv.NewReader(bytes.NewReader(demo.Clip()), flv.ReaderConfig{})
	file = flv.AppendHeader(nil, flv.Header{Audio: true, Video: true})
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && tag.Timestamp > milliseconds {
			return file, tags
		}
		if err != nil {
			t.Fatal(err)
		}
		if file, err = flv.AppendTag(file, tag); err != nil {
			t.Fatal(err)
		}
		tag.Data = bytes.Clone(tag.Data)
		tags = append(tags, tag)
	}
}

// TestEveryTransportInAndOut publishes over each transport and plays over all.
func TestEveryTransportInAndOut(t *testing.T) {
	cfg := config(t)
	cfg.RTMPE.Enabled = true
	g, _ := start(t, cfg, gateway.Options{})
	file, tags := clip(t, 700)
	schemes := []string{"rtmp", "rtmps", "rtmpt", "rtmpts", "rtmpe", "rtmpte"}
	for _, in := range schemes {
		t.Run(in, func(t *testing.T) {
			var players sync.WaitGroup
			received := make([]bytes.Buffer, len(schemes))
			for i, out := range schemes {
				tg := target(t, url(g, out, "live/"+in))
				players.Go(func() {
					if err := client.PlayFLV(t.Context(), tg, &received[i], insecure, nil); err != nil {
						t.Errorf("play over %s: %v", out, err)
					}
				})
			}
			waitForPlayers(t, g, len(schemes))
			if err := client.PublishFLV(t.Context(), bytes.NewReader(file), target(t, url(g, in, "live/"+in)), insecure, nil); err != nil {
				t.Fatalf("publish: %v", err)
			}
			players.Wait()
			for i, out := range schemes {
				compare(t, out, &received[i], tags)
			}
		})
	}
}

// compare checks that a player received every tag, in order and bit-exact.
func compare(t *testing.T, player string, file io.Reader, want []flv.Tag) {
	t.Helper()
	r := flv.NewReader(file, flv.ReaderConfig{})
	for i := 0; ; i++ {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			if i != len(want) {
				t.Errorf("%s: %d tags of %d", player, i, len(want))
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || tag.Type != want[i].Type || tag.Timestamp != want[i].Timestamp || !bytes.Equal(tag.Data, want[i].Data) {
			t.Fatalf("%s: tag %d is type %d at %d with %d bytes", player, i, tag.Type, tag.Timestamp, len(tag.Data))
		}
	}
}

// get fetches a page.
func get(tb testing.TB, addr net.Addr, path string) (status int, body string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// patience bounds every wait for something that has to happen.
const patience = time.Minute

// pollEvery is how often it is looked for.
const pollEvery = 5 * time.Millisecond

// eventually polls until ok or patience ends; what is for the message.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout.C:
			tb.Fatalf("waited %v in vain for: %s", patience, what)
		}
	}
}

// waitForPlayers waits until n players are there, as the metrics say.
func waitForPlayers(t *testing.T, g *gateway.Gateway, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d players", n), func() bool {
		viewers := 0
		for _, a := range g.Snapshot().Apps {
			for _, v := range a.Viewers {
				viewers += v
			}
		}
		return viewers == n
	})
}

// waitForRejected waits until a reason has been counted n times at least.
func waitForRejected(t *testing.T, g *gateway.Gateway, reason string, n uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s counted %d times", reason, n), func() bool { return g.Snapshot().Rejected[reason] >= n })
}

func waitForLog(t *testing.T, log *logBuffer, text string) {
	t.Helper()
	eventually(t, "a log line with "+text, func() bool { return strings.Contains(log.String(), text) })
}

func waitForMetric(t *testing.T, g *gateway.Gateway, line string) {
	t.Helper()
	eventually(t, "a metric "+line, func() bool {
		_, text := get(t, g.Addr("admin"), "/metrics")
		return strings.Contains(text, line)
	})
}

func TestDemoPagesAndAdmin(t *testing.T) {
	log := new(logBuffer)
	g, stop := start(t, config(t), gateway.Options{Demo: true, Log: zerolog.New(log), Version: "v1.2.3"})
	var guide strings.Builder
	if err := g.WriteGuide(&guide); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"rtmp", "rtmps", "rtmpt", "rtmpts"} {
		_, port, _ := net.SplitHostPort(target(t, url(g, scheme, "live/demo")).Address())
		if line := scheme + "://localhost:" + port + "/live/demo"; !strings.Contains(guide.String(), line) {
			t.Errorf("the guide lacks %s:\n%s", line, guide.String())
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := client.PlayFLV(ctx, target(t, url(g, scheme, "live/demo")), stopAfter{cancel}, insecure, nil)
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		cancel()
	}
	if code, body := get(t, g.Addr("http"), "/"); code != http.StatusOK || !strings.Contains(body, "demo") {
		t.Errorf("landing page: %d\n%s", code, body)
	}
	if code, _ := get(t, g.Addr("rtmp"), "/"); code != http.StatusOK {
		t.Errorf("landing page on the RTMP port: %d", code)
	}
	admin := g.Addr("admin")
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _ := get(t, admin, path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	_, metrics := get(t, admin, "/metrics")
	for _, line := range []string{`culvert_streams{app="*"} 1`, `culvert_connections_total{transport="rtmpts"} 1`, `culvert_frames_dropped_total{app="*",kind="video"} 0`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	_, streams := get(t, admin, "/api/v1/streams")
	var list struct{ Streams []struct{ Name string } }
	if err := json.Unmarshal([]byte(streams), &list); err != nil || len(list.Streams) != 1 || list.Streams[0].Name != "demo" {
		t.Errorf("streams: %s, %v", streams, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, line := range []string{`"message":"listening"`, `"message":"ready"`, `"message":"playing"`, `"message":"stopped"`, "only clients on this machine may publish"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, log)
		}
	}
}

// stopAfter ends a player with the first bytes that it writes.
type stopAfter struct{ stop func() }

func (s stopAfter) Write(p []byte) (int, error) {
	s.stop()
	return len(p), nil
}

func TestPortsThatCannotBeOpened(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(t)
	cfg.Listen.RTMP, cfg.Listen.HTTP = taken.Addr().String(), taken.Addr().String()
	_, err = gateway.New(cfg, gateway.Options{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"listen.rtmp", "--rtmp ADDR", "listen.http", "already"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func TestKeysNeverShow(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	app := configs.DefaultApp()
	app.Publish.Keys = []configs.Key{{Key: configs.NewSecret("s3cretk3y")}, {Name: "show", Key: configs.NewSecret("0bsk3y")}}
	app.Publish.OnConflict = configs.ConflictTakeover // the publisher before may not have been seen to leave
	cfg.Apps = map[string]configs.App{"live": app}
	cfg.Log.Level = configs.LogTrace
	g, stop := start(t, cfg, gateway.Options{Log: zerolog.New(log).Level(zerolog.TraceLevel)})
	file, _ := clip(t, 100)
	for name, want := range map[string]string{
		"live/a?key=s3cretk3y":   "",
		"live/0bsk3y":            "",
		"live/a?key=wrongs3cret": message.StatusPublishDenied,
		"live/s3cretk3y":         message.StatusPublishDenied,
		"nowhere/a":              message.StatusConnectInvalidApp,
	} {
		for _, scheme := range []string{"rtmp", "rtmpt"} {
			err := client.PublishFLV(t.Context(), bytes.NewReader(file), target(t, url(g, scheme, name)), client.Options{}, nil)
			var status *rtmpcore.StatusError
			if got := errors.As(err, &status); got != (want != "") || got && status.Code != want {
				t.Errorf("%s %s: %v", scheme, name, err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the client's error shows a key: %v", err)
			}
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"s3cret", "0bsk3y"} {
		if strings.Contains(log.String(), key) {
			t.Errorf("the log shows %s:\n%s", key, log)
		}
	}
	if !strings.Contains(log.String(), `"stream":"show"`) {
		t.Errorf("the key in place of a name did not publish the stream:\n%s", log)
	}
}

// TestStop ends the gateway while streams run: players and publishers see an
// orderly end.
func TestStop(t *testing.T) {
	g, stop := start(t, config(t), gateway.Options{Demo: true})
	var clients sync.WaitGroup
	for _, scheme := range []string{"rtmp", "rtmps", "rtmpt", "rtmpts"} {
		tg := target(t, url(g, scheme, "live/demo"))
		clients.Go(func() {
			if err := client.PlayFLV(t.Context(), tg, nil, insecure, nil); err != nil {
				t.Errorf("play over %s: %v", scheme, err)
			}
		})
	}
	waitForPlayers(t, g, 4)
	if !g.Ready() {
		t.Error("not ready while serving")
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if g.Ready() {
		t.Error("ready after the end")
	}
	clients.Wait()
}
