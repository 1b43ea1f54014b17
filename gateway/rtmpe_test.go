package gateway_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
)

// TestEncryptedTransportsByName: RTMPE and RTMPTE have names of their own in the
// metrics and in every line of the log.
func TestEncryptedTransportsByName(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	cfg.RTMPE.Enabled = true
	cfg.Log.Level = configs.LogDebug
	g, stop := start(t, cfg, gateway.Options{Log: zerolog.New(log)})
	for scheme, plain := range map[string]string{"rtmpe": "rtmp", "rtmpte": "rtmpt"} {
		c, err := client.Connect(t.Context(), target(t, url(g, scheme, "live/a")), insecure)
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.CreateStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Play(t.Context(), id, "a"); err != nil {
			t.Fatal(err)
		}
		waitForPlayers(t, g, 1) // play is answered before the player counts
		snapshot := g.Snapshot()
		if got := snapshot.Transports[scheme]; got.Open != 1 || got.Accepted != 1 || got.SentBytes == 0 {
			t.Errorf("%s: %+v", scheme, got)
		}
		if got := snapshot.Transports[plain]; got.Open != 0 || got.Accepted != 0 {
			t.Errorf("%s counts for %s: %+v", scheme, plain, got)
		}
		if got := snapshot.Apps["*"].Viewers[scheme]; got != 1 {
			t.Errorf("%s: %d viewers", scheme, got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		waitForPlayers(t, g, 0)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, scheme := range []string{"rtmpe", "rtmpte"} {
		if n := strings.Count(log.String(), `"transport":"`+scheme+`"`); n < 3 {
			t.Errorf("%d lines about %s:\n%s", n, scheme, log)
		}
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"app"`) && (strings.Count(line, `"transport"`) != 1 || !strings.Contains(line, `"transport":"rtmpe"`) && !strings.Contains(line, `"transport":"rtmpte"`)) {
			t.Errorf("a line about a session that does not name its transport: %s", line)
		}
	}
}

// TestEncryptedRefusals: what is refused about RTMPE and SWF verification is counted,
// has one line in the log, and the client is told where there is a way.
func TestEncryptedRefusals(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	cfg.RTMPE.Enabled = true
	live := configs.DefaultApp()
	live.SWF = []configs.SWF{{Hash: [32]byte{1}, Size: 1}}
	cfg.Apps["swf"] = live
	cfg.Limits.SWFTimeout = configs.Duration(50 * time.Millisecond)
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})

	err := client.PlayFLV(t.Context(), target(t, url(g, "rtmpe", "swf/a")), nil, insecure, nil)
	if err == nil || !strings.Contains(err.Error(), "SWF verification failed: the player did not answer") {
		t.Errorf("a player without SWF: %v", err)
	}
	waitForRejected(t, g, "swf", 1)

	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("rtmp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(append([]byte{6}, make([]byte, 1536)...)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); n > 0 {
		t.Errorf("%d bytes for an unsigned C1 (%v)", n, err)
	}
	waitForRejected(t, g, "rtmpe", 1)

	for _, line := range []string{"rtmpcore: SWF verification failed: the player did not answer", "handshake: C1: signature does not verify"} {
		if n := strings.Count(log.String(), `"reason":"`+line); n != 1 {
			t.Errorf("%d lines say %q:\n%s", n, line, log)
		}
	}
}

// TestRTMPEHandshakeLimit goes beyond the number of handshakes at a time: some are
// closed and counted, and all others are served.
func TestRTMPEHandshakeLimit(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	cfg.RTMPE.Enabled = true
	cfg.Limits.RTMPEHandshakes = 1
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})
	tg := target(t, url(g, "rtmpe", "live/a"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var served, closed int
	var mu sync.Mutex
	for (served == 0 || closed == 0) && ctx.Err() == nil { // they meet sooner or later
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				c, err := client.Connect(ctx, tg, insecure)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					closed++
					return
				}
				served++
				_ = c.Close()
			})
		}
		clients.Wait()
	}
	waitForRejected(t, g, "rtmpe_handshakes", 1)
	if served == 0 || uint64(closed) != g.Snapshot().Rejected["rtmpe_handshakes"] {
		t.Errorf("%d served, %d closed, %d counted", served, closed, g.Snapshot().Rejected["rtmpe_handshakes"])
	}
	if !strings.Contains(log.String(), "limits.rtmpe_handshakes") {
		t.Errorf("the log does not name the setting:\n%s", log)
	}
}

// TestPlayRTMPEFromOthers: a server that does not encrypt is named as such.
func TestPlayRTMPEFromOthers(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	for _, scheme := range []string{"rtmpe", "rtmpte"} {
		_, err := client.Connect(t.Context(), target(t, url(g, scheme, "live/a")), insecure)
		if err == nil || !strings.Contains(err.Error(), "may not speak RTMPE") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
	waitForRejected(t, g, "rtmpe", 2)
}
