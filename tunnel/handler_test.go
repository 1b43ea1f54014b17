package tunnel_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"culvert/tunnel"
)

// TestServeHTTP speaks the tunnel through net/http, over HTTP/1.1 and HTTP/2.
func TestServeHTTP(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		name := map[bool]string{false: "h1", true: "h2"}[h2]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tunnel.Config{MaxRequest: 100 << 10, HoldSetup: 20 * time.Millisecond})
			hs := httptest.NewUnstartedServer(b.srv)
			hs.EnableHTTP2 = h2
			hs.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
			hs.StartTLS()
			t.Cleanup(hs.Close)
			client := hs.Client()
			post := func(method, path, body string) (int, string, *http.Response) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, hs.URL+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, string(got), resp
			}
			expect := func(method, path, body string, status int, want string) {
				t.Helper()
				code, got, resp := post(method, path, body) //nolint:bodyclose // closed in post
				if code != status || got != want {
					t.Errorf("%s %s: %d %.40q, want %d %.40q", method, path, code, got, status, want)
				}
				if resp.ContentLength != int64(len(want)) {
					t.Errorf("%s %s: Content-Length %d", method, path, resp.ContentLength)
				}
				if (resp.ProtoMajor == 2) != h2 {
					t.Errorf("spoke %s", resp.Proto)
				}
			}
			code, id, resp := post("POST", "/open/1", "\x00") //nolint:bodyclose // closed in post
			id, _ = strings.CutSuffix(id, "\n")
			if code != 200 || len(id) != 18 || resp.Header.Get("Content-Type") != "application/x-fcs" || resp.Header.Get("Date") != "" {
				t.Fatalf("open: %d %q %v", code, id, resp.Header)
			}
			b.core(echo)
			expect("POST", send(id, 0), "hello", 200, "\x01hello")
			expect("POST", send(id, 0), "hello", 200, "\x01hello") // a repetition
			expect("POST", idle(id, 1), "\x00", 200, "\x01")
			big := strings.Repeat("b", 60<<10)
			expect("POST", send(id, 2), big, 200, "\x01"+big)
			expect("POST", send(id, 3), strings.Repeat("b", 101<<10), 413, "")
			expect("GET", send(id, 3), "", 405, "")
			expect("POST", "/fcs/ident2", "\x00", 404, "\x00")
			expect("GET", "/fcs/ident", "", 200, "<fcs><Company>culvert</Company></fcs>\n")
			expect("POST", "/close/"+id, "", 200, "\x00")
			expect("POST", idle(id, 3), "\x00", 404, "\x00")
			expect("POST", "/close/2", "\x00", 200, "\x00")
			expect("POST", "/other", "", 404, "\x00")
		})
	}
}

// TestServeHTTPGone gives up a request while it is held.
func TestServeHTTPGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, tunnel.Config{HoldSetup: time.Hour})
	hs := httptest.NewServer(b.srv)
	t.Cleanup(hs.Close)
	p := &peer{t: t}
	id := p.openOn(b.srv)
	client := &http.Client{Timeout: 50 * time.Millisecond, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, hs.URL+idle(id, 0), strings.NewReader("\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatal("answered")
	}
	c := b.accept()
	if _, err := c.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	q := b.connect()
	q.send(idle(id, 0), "\x00") // the same again, on another connection
	q.expect(200, "\x01data")
}
