package tunnel_test

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// The cases are those of the tunnel's conformance list.

func TestCase01_Ident2(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		if r := p.post("/fcs/ident2", "\x00"); r.status != 404 || len(r.body) > 1 {
			t.Errorf("ident2: %d %q", r.status, r.body)
		}
		if r := p.post("/fcs/ident", ""); r.status != 200 || !strings.HasPrefix(r.body, "<fcs>") {
			t.Errorf("ident: %d %q", r.status, r.body)
		}
		p.write("GET /fcs/ident HTTP/1.1\r\nHost: h\r\n\r\n")
		if r := p.answer(); r.status != 200 {
			t.Errorf("GET ident: %d", r.status)
		}
		p.open()
	})
	bubble(t, tunnel.Config{Ident2: "192.0.2.9"}, func(t *testing.T, b *bench) {
		r := b.connect().post("/fcs/ident2", "\x00")
		if r.status != 200 || r.body != "192.0.2.9" || !strings.Contains(r.head, "\r\nContent-Type: text/plain\r\n") {
			t.Errorf("configured ident2: %+v", r)
		}
	})
}

// openHead is the exact head of the answer to open. librtmp depends on its
// spelling.
const openHead = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\nContent-Type: application/x-fcs\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\n\r\n"

func TestCase02_to_05_Open(t *testing.T) {
	t.Parallel()
	id := regexp.MustCompile(`^[1-9][0-9]{17}\n$`)
	for name, raw := range map[string]string{
		"body":           request("/open/1", "\x00"),
		"length 0":       request("/open/1", ""),
		"no length":      "POST /open/1 HTTP/1.1\r\nHost: h\r\n\r\n",
		"open/2":         request("/open/2", "\x00"),
		"open":           request("/open", "\x00"),
		"slash":          request("/open/1/", "\x00"),
		"slashes":        request("//open//1", "\x00"),
		"query":          request("/open/1?a=b", "\x00"),
		"absolute":       request("http://host:8080/open/1", "\x00"),
		"absolute https": request("HTTPS://host/open/1", "\x00"),
		"empty line":     "\r\n" + request("/open/1", "\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
				p := b.connect()
				p.write(raw)
				r := p.answer()
				if r.head != openHead || !id.MatchString(r.body) {
					t.Errorf("answer %q %q", r.head, r.body)
				}
			})
		})
	}
}

func TestCase04_Method(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		for _, path := range []string{"/open/1", "/idle/1/1", "/close/2"} {
			p.write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			if r := p.answer(); r.status != 405 || len(r.body) > 1 || !strings.Contains(r.head, "Allow: POST\r\n") {
				t.Errorf("GET %s: %+v", path, r)
			}
		}
		p.open()
	})
}

func TestCase17_OddPaths(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		for i, path := range []string{"/idel/" + id + "/0", "/idle/" + id + "/1/", "//idle//" + id + "//2", "/idle/" + id} {
			if r := p.post(path, "\x00"); r.status != 200 || r.body != "\x01" {
				t.Errorf("%d %s: %d %q", i, path, r.status, r.body)
			}
		}
		for _, path := range []string{"/close/" + id, "/close/" + p.open() + "/", "/close/" + p.open() + "/12", "/close/2"} {
			for range 2 { // again, to the tombstone
				if r := p.post(path, ""); r.status != 200 || r.body != "\x00" {
					t.Errorf("%s: %d %q", path, r.status, r.body)
				}
			}
		}
		for _, path := range []string{idle(id, 4), "/idle/" + id + "/x", "/send/" + p.open() + "/1x", "/send/" + p.open() + "/0/0"} {
			if r := p.post(path, "\x00"); r.status != 404 || len(r.body) > 1 {
				t.Errorf("%s: %d %q", path, r.status, r.body)
			}
		}
	})
}

func TestCase18_UnknownID(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		guess := func(n int) {
			t.Helper()
			if r := p.post(send("123456789012345678", n), "x"); r.status != 404 || len(r.body) > 1 {
				t.Fatalf("unknown id: %d %q", r.status, r.body)
			}
		}
		if d := took(func() {
			for i := range 100 {
				guess(i)
			}
		}); d != 0 {
			t.Errorf("the first 100 were delayed by %v", d)
		}
		if d := took(func() { guess(100) }); d < time.Second {
			t.Errorf("the 101st took %v", d)
		}
		if d := took(func() {
			if r := p.post(idle(id, 0), "\x00"); r.status != 200 {
				t.Errorf("valid session of the same address: %d", r.status)
			}
		}); d != 0 {
			t.Errorf("valid session was delayed by %v", d)
		}
		time.Sleep(11 * time.Second)
		if d := took(func() { guess(101) }); d != 0 {
			t.Errorf("after the window it took %v", d)
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectGuesses]; n != 1 {
			t.Errorf("%d guesses counted, want 1", n)
		}
	})
}

func TestCase19_TolerantHeads(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		for i, head := range []string{
			"host: h\r\ncontent-length: 2\r\n",
			"Host: h\r\nContent-Length:2\r\nUser-Agent: a\r\nUser-Agent: a\r\nUser-Agent: a\r\nUser-Agent: a\r\n",
			"Host: h\r\nCONTENT-LENGTH: 2 \t\r\nCookie: a=b\r\nX: \r\n",
			"Host: h\r\nContent-Length: 2\r\nContent-Length: 2\r\nContent-Type: text/html\r\n",
		} {
			p.write(fmt.Sprintf("POST /send/%s/%d?x=1 HTTP/1.1\r\n%s\r\nab", id, i+1, head))
			p.expect(200, "\x01ab")
		}
	})
}

func TestCase20_ChunkedAndExpect(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p := b.connect()
		id := p.open()
		p.write("POST " + send(id, 0) + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00a;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n")
		p.expect(200, "\x01abc0123456789")
		for i, tc := range [][2]string{
			{"Content-Length: 3", "xyz"},
			{"Transfer-Encoding: chunked", "3\r\nxyz\r\n0\r\n\r\n"},
			{"content-length: 3", "xyz"},
		} {
			p.write("POST " + send(id, i+1) + " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + tc[0] + "\r\n\r\n")
			if r := p.answer(); r.status != 100 {
				t.Fatalf("expect: %+v", r)
			}
			p.write(tc[1])
			p.expect(200, "\x01xyz")
		}
	})
}

func TestCase21_HTTP10(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		for range 3 { // on the same connection
			p.write("POST /open/1 HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n\x00")
			if r := p.answer(); r.head != openHead {
				t.Errorf("head %q", r.head)
			}
		}
		for name, head := range map[string]string{
			"1.0":       " HTTP/1.0\r\nContent-Length: 1\r\n\r\n\x00",
			"1.1 close": " HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\n\x00",
		} {
			p := b.connect()
			id := p.open()
			p.write("POST " + idle(id, 0) + head)
			r := p.answer()
			if !strings.HasPrefix(r.head, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n") || !strings.Contains(r.head, "Connection: close\r\n") {
				t.Errorf("%s: head %q", name, r.head)
			}
			if _, err := p.read(); err == nil {
				t.Errorf("%s: the connection was kept", name)
			}
			if err := <-p.ended; err != nil {
				t.Errorf("%s: ServeConn: %v", name, err)
			}
		}
	})
}

func TestCase22_ManyRequests(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		for i := range 10000 {
			if r := p.post(idle(id, i), "\x00"); r.status != 200 || strings.Contains(strings.ToLower(r.head), "connection: close") {
				t.Fatalf("request %d: %+v", i, r)
			}
		}
	})
}

func TestSmugglingShapes(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"two lengths":            "POST /open/1 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"length list":            "POST /open/1 HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx",
		"length and chunked":     "POST /open/1 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked twice":          "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"other coding":           "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked in 1.0":         "POST /open/1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"negative length":        "POST /open/1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"signed length":          "POST /open/1 HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
		"hexadecimal length":     "POST /open/1 HTTP/1.1\r\nContent-Length: 0x1\r\n\r\nx",
		"empty length":           "POST /open/1 HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"folded":                 "POST /open/1 HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
		"blank before colon":     "POST /open/1 HTTP/1.1\r\nContent-Length : 1\r\n\r\nx",
		"no colon":               "POST /open/1 HTTP/1.1\r\nContent-Length\r\n\r\n",
		"bare LF in the head":    "POST /open/1 HTTP/1.1\r\nA: b\nContent-Length: 1\r\n\r\nx",
		"bare LF after the line": "POST /open/1 HTTP/1.1\nContent-Length: 1\r\n\r\nx",
		"bare LF in front":       "\nPOST /open/1 HTTP/1.1\r\n\r\n",
		"bare CR":                "POST /open/1 HTTP/1.1\r\nA: b\rc\r\n\r\n",
		"NUL":                    "POST /open/1 HTTP/1.1\r\nA: b\x00\r\n\r\n",
		"blank in the target":    "POST /open /1 HTTP/1.1\r\n\r\n",
		"HTTP/2":                 "POST /open/1 HTTP/2.0\r\n\r\n",
		"no version":             "POST /open/1\r\n\r\n",
		"head too large":         "POST /open/1 HTTP/1.1\r\nA: " + strings.Repeat("a", 9000),
		"line too long":          "POST /open/1?" + strings.Repeat("a", 9000),
		"chunk size":             "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"chunk size too large":   "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"chunk with bare LF":     "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
		"chunk longer than said": "POST /open/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
				p := b.connect()
				p.write(raw)
				if r := p.answer(); r.status != 400 || len(r.body) > 1 || !strings.Contains(r.head, "Connection: close\r\n") {
					t.Errorf("answer %+v", r)
				}
				if _, err := p.read(); err == nil {
					t.Error("the connection was kept")
				}
				reason, why := tunnel.RejectMalformed, tunnel.ErrMalformed
				if name == "head too large" || name == "line too long" {
					reason, why = tunnel.RejectHead, tunnel.ErrHead
				}
				if n := b.srv.Stats().Rejected[reason]; n != 1 {
					t.Errorf("counted %d times", n)
				}
				if err := p.end(); !errors.Is(err, why) {
					t.Errorf("ended with %v, want %v", err, why)
				}
			})
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{MaxRequest: 1000}, func(t *testing.T, b *bench) {
		id := b.connect().open()
		for name, raw := range map[string]string{
			"length":   "POST " + send(id, 0) + " HTTP/1.1\r\nContent-Length: 1001\r\n\r\n",
			"gigabyte": "POST " + send(id, 0) + " HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\nabc",
			"chunked":  "POST " + send(id, 0) + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("x", 1000) + "\r\n1\r\n",
		} {
			p := b.connect()
			p.write(raw)
			if r := p.answer(); r.status != 413 || len(r.body) > 1 {
				t.Errorf("%s: %+v", name, r)
			}
			if _, err := p.read(); err == nil {
				t.Errorf("%s: the connection was kept", name)
			}
			if err := p.end(); !errors.Is(err, tunnel.ErrTooLarge) {
				t.Errorf("%s: ended with %v", name, err)
			}
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectTooLarge]; n != 3 {
			t.Errorf("counted %d times", n)
		}
		p := b.connect()
		b.core(mute)
		if r := p.post(send(id, 0), strings.Repeat("x", 1000)); r.status != 200 {
			t.Errorf("largest body: %d", r.status)
		}
	})
}

func TestSlowRequests(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		id := b.connect().open()
		for name, tc := range map[string]struct {
			raw  string
			want time.Duration
		}{
			"head": {"POST /open/1 HT", 10 * time.Second},
			"body": {"POST " + send(id, 0) + " HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc", 30 * time.Second},
		} {
			p := b.connect()
			p.write(tc.raw)
			if d := took(func() {
				if err := <-p.ended; err == nil {
					t.Errorf("%s: ended without an error", name)
				}
			}); d != tc.want {
				t.Errorf("%s: closed after %v, want %v", name, d, tc.want)
			}
		}
		// A head that trickles in does not buy more time.
		p := b.connect()
		start := time.Now()
		for range 12 {
			if _, err := p.nc.Write([]byte("P")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		_ = p.end()
		if d := time.Since(start); d > 13*time.Second {
			t.Errorf("trickled head was read for %v", d)
		}
		// Nor does a body that trickles in.
		for name, tc := range map[string]struct {
			head, part string
			want       time.Duration
		}{
			"length":       {"Content-Length: 1000000", "x", 35 * time.Second},
			"chunked":      {"Transfer-Encoding: chunked", "1\r\nx\r\n", 35 * time.Second},
			"10 KiB a 5 s": {"Content-Length: 1000000", strings.Repeat("x", 10<<10), 65 * time.Second},
		} {
			for _, path := range []string{send(id, 0), "/open/1"} {
				p := b.connect()
				start := time.Now()
				p.write("POST " + path + " HTTP/1.1\r\n" + tc.head + "\r\n\r\n")
				for range 100 {
					if _, err := io.WriteString(p.nc, tc.part); err != nil {
						break
					}
					time.Sleep(5 * time.Second)
				}
				_ = p.end()
				if d := time.Since(start); d > tc.want {
					t.Errorf("trickled body (%s) was read for %v", name, d)
				}
			}
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectSlow]; n != 9 {
			t.Errorf("counted %d, want 9", n)
		}
		// An idle connection is kept for at least the keep-alive time.
		p = b.connect()
		p.open()
		if d := took(func() { _ = p.end() }); d < 90*time.Second || d > 113*time.Second {
			t.Errorf("idle connection closed after %v", d)
		}
	})
}

// TestLongBody has a body that takes longer than a session without requests lives: on a slow line a
// key frame does.
func TestLongBody(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		got := 0
		b.core(func(_ *tunnel.Conn, data []byte) { got += len(data) })
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		const parts, part = 20, 50 << 10 // 10 KiB a second
		p.write(fmt.Sprintf("POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n", send(id, 1), parts*part))
		for range parts {
			time.Sleep(5 * time.Second)
			p.write(strings.Repeat("x", part))
		}
		p.expect(200, "\x01")
		if got != parts*part {
			t.Errorf("core saw %d bytes", got)
		}
	})
}

func TestQuickAck(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p := b.connect()
		id := p.open()
		p.post(send(id, 0), "whole")
		if p.server.quickAcks != 0 {
			t.Error("acknowledged a complete request early")
		}
		p.write("POST " + send(id, 1) + " HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
		synctest.Wait()
		if p.server.quickAcks != 1 {
			t.Errorf("%d early acknowledgements of a head without its body, want 1", p.server.quickAcks)
		}
		p.write("abc")
		p.expect(200, "\x01abc")
	})
}
