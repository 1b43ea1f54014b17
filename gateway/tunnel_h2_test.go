package gateway_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// TestTunnelOverHTTP2 publishes over RTMPT with a client that speaks nothing but HTTP/2, and
// finds that one that can speak both is given HTTP/1.1.
func TestTunnelOverHTTP2(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	addr := g.Addr("https").String()
	var only http.Protocols
	only.SetHTTP2(true)
	transport := &http.Transport{Protocols: &only, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own server
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	seq, id := 0, ""
	post := func(kind string, body []byte) []byte {
		t.Helper()
		path := "/open/1"
		if id != "" {
			path = fmt.Sprintf("/%s/%s/%d", kind, id, seq)
			seq++
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || len(b) == 0 {
			t.Fatalf("%s: %s %s, %d bytes, %v", path, resp.Proto, resp.Status, len(b), err)
		}
		return b
	}
	id = strings.TrimSpace(string(post("open", []byte{0})))
	if body := post("send", capturedC0C1(t, handshake.ClientConfig{})); len(body) != 3074 {
		t.Errorf("the answer to C0 and C1 has %d bytes", len(body))
	}
	if body := post("send", append(make([]byte, 1536), connectCommand(t)...)); !bytes.Contains(body, []byte(message.StatusConnectSuccess)) {
		t.Errorf("connect was answered with %q", body)
	}
	post("send", encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
	if body := post("send", encode(t, 1, message.Command{Name: "publish", TransactionID: 3, Args: []any{"h2", "live"}})); !bytes.Contains(body, []byte(message.StatusPublishStart)) {
		t.Errorf("publish was answered with %q", body)
	}
	post("close", []byte{0})

	both := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}} //nolint:gosec // its own server
	conn, err := both.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("a client that can speak both is given %q", got)
	}
}

// publishA opens a session and publishes a stream, and returns what the gateway says of that.
func publishA(t *testing.T, g *gateway.Gateway) (*poller, string) {
	t.Helper()
	p := dialTunnel(t, g)
	p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
	p.post("send", append(make([]byte, 1536), connectCommand(t)...))
	p.post("send", encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
	return p, string(p.post("send", encode(t, 1, message.Command{Name: "publish", TransactionID: 3, Args: []any{"a", "live"}})))
}

// TestCase25_PublisherExpires has a publisher vanish without a word: its stream is free when its
// session has expired, and not before, and what it asks then is answered 404.
func TestCase25_PublisherExpires(t *testing.T) {
	cfg := config(t)
	cfg.Limits.Tunnel.IdleTimeout = configs.Duration(time.Second)
	g, _ := start(t, cfg, gateway.Options{})
	began := time.Now()
	lost, first := publishA(t, g)
	if !strings.Contains(first, message.StatusPublishStart) {
		t.Fatalf("publish was answered with %q", first)
	}
	for {
		p, said := publishA(t, g)
		p.write(p.path("close"), []byte{0})
		p.answer()
		if strings.Contains(said, message.StatusPublishStart) {
			break
		}
		if !strings.Contains(said, message.StatusPublishBadName) || time.Since(began) > 30*time.Second {
			t.Fatalf("another publisher was answered with %q", said)
		}
	}
	if d := time.Since(began); d < time.Second {
		t.Errorf("the session ended after %v", d)
	}
	lost.write(lost.path("idle"), []byte{0})
	resp, err := http.ReadResponse(lost.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the late idle was answered %s", resp.Status)
	}
}

// TestCase26_GoodbyeWithoutReading has a publisher say goodbye in three pipelined requests and
// leave without reading an answer, as librtmp does: its stream is free at once.
func TestCase26_GoodbyeWithoutReading(t *testing.T) {
	var log logBuffer
	g, _ := start(t, config(t), gateway.Options{Log: zerolog.New(&log).Level(zerolog.InfoLevel)})
	began := len(log.String())
	p, first := publishA(t, g)
	if !strings.Contains(first, message.StatusPublishStart) {
		t.Fatalf("publish was answered with %q", first)
	}
	if _, second := publishA(t, g); !strings.Contains(second, message.StatusPublishBadName) {
		t.Fatalf("a second publisher was answered with %q", second)
	}
	p.write(p.path("send"), encode(t, 0, message.Command{Name: "FCUnpublish", TransactionID: 4, Args: []any{"a"}}))
	p.write(p.path("send"), encode(t, 0, message.Command{Name: "deleteStream", TransactionID: 5, Args: []any{1.0}}))
	p.write(p.path("close"), []byte{0})
	if err := p.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, p.conn) // its end says that all three were processed
	if _, third := publishA(t, g); !strings.Contains(third, message.StatusPublishStart) {
		t.Errorf("afterwards a publisher was answered with %q", third)
	}
	if said := log.String()[began:]; strings.Contains(said, `"level":"warn"`) || strings.Contains(said, `"level":"error"`) || strings.Count(said, "\n") > 20 {
		t.Errorf("an ordinary goodbye is made much of:\n%s", said)
	}
}
