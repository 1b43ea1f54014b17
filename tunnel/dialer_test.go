package tunnel_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// script is a server that answers one request after the other with what it was
// told, and notes the requests.
type script struct {
	t       *testing.T
	answers []string // whole answers; the empty one closes the connection unanswered
	hold    time.Duration

	mu    sync.Mutex
	conns int
	seen  []string    // request line and body
	heads []string    // request heads
	times []time.Time // when they came
	wg    sync.WaitGroup
}

func (s *script) dial(context.Context, string, string) (net.Conn, error) {
	client, server := memPipe(1 << 20)
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	s.wg.Go(func() {
		defer server.Close()
		br := bufio.NewReader(server)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.seen = append(s.seen, fmt.Sprintf("%s %x", req.RequestURI, body))
			s.heads = append(s.heads, fmt.Sprint(req.Host, req.Header))
			s.times = append(s.times, time.Now())
			answer := respond("\x01")
			if n := len(s.seen); n <= len(s.answers) {
				answer = s.answers[n-1]
			}
			s.mu.Unlock()
			if answer == "" {
				return
			}
			time.Sleep(s.hold)
			if _, err := io.WriteString(server, answer); err != nil || strings.Contains(answer, "Connection: close") {
				return
			}
		}
	})
	return client, nil
}

func (s *script) log() (seen []string, times []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...), append([]time.Time(nil), s.times...)
}

func respond(body string, headers ...string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(body), strings.Join(headers, ""), body)
}

func dialScript(t *testing.T, s *script, d tunnel.Dialer) *tunnel.Conn {
	t.Helper()
	d.DialConn = s.dial
	c, err := d.Dial(t.Context(), "rtmpt://example.net/live/x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		s.wg.Wait()
	})
	return c
}

func TestDialerRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		d      tunnel.Dialer
		prefix string
		head   string
	}{
		{tunnel.Dialer{}, "", "example.net"},
		{tunnel.Dialer{Host: "h:81", Proxy: mustURL("http://eva:secret@proxy:8080"), Header: map[string]string{"X-Way": "1"}}, "http://h:81", "h:81"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{t: t, answers: []string{respond("ID42\n"), respond("\x01hello")}, hold: time.Millisecond}
			c := dialScript(t, s, tc.d)
			buf := make([]byte, 10)
			if n, err := c.Read(buf); string(buf[:n]) != "hello" || err != nil {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			synctest.Wait()
			if _, err := c.Write([]byte("abc")); err != nil {
				t.Errorf("write: %v", err)
			}
			time.Sleep(10 * time.Millisecond)
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			want := []string{"/open/1 00", "/idle/ID42/0 00", "/idle/ID42/1 00", "/send/ID42/2 616263"}
			seen, _ := s.log()
			for i := range want {
				want[i] = tc.prefix + want[i]
			}
			if len(seen) < 5 || fmt.Sprint(seen[:4]) != fmt.Sprint(want) {
				t.Errorf("requests %q, want %q first", seen, want)
			}
			if last := seen[len(seen)-1]; !strings.HasPrefix(last, tc.prefix+"/close/ID42/") || !strings.HasSuffix(last, " 00") {
				t.Errorf("last request %q", last)
			}
			for _, h := range s.heads {
				if !strings.HasPrefix(h, tc.head+"map[") || !strings.Contains(h, "application/x-fcs") ||
					strings.Contains(h, "Proxy-Authorization:[Basic ZXZhOnNlY3JldA==] ") != (tc.d.Proxy != nil) || strings.Contains(h, "X-Way:[1]") != (tc.d.Proxy != nil) {
					t.Errorf("head %s", h)
				}
			}
			if s.conns != 1 {
				t.Errorf("%d connections", s.conns)
			}
		})
	}
}

// TestDialerConversation makes no request that brings nothing.
func TestDialerConversation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, answers: []string{respond("1\n"), respond("\x01S0"), respond("\x01S2"), respond("\x01news")}, hold: 5 * time.Millisecond}
		c := dialScript(t, s, tunnel.Dialer{})
		buf := make([]byte, 10)
		begin := time.Now()
		for _, say := range []string{"C0", "C2", ""} {
			if _, err := c.Write([]byte(say)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		seen, times := s.log()
		if want := "[/open/1 00 /send/1/0 4330 /send/1/1 4332 /idle/1/2 00]"; fmt.Sprint(seen[:4]) != want {
			t.Errorf("requests %q, want %q", seen, want)
		}
		if wait, most := times[3].Sub(begin), 2*s.hold+2*time.Millisecond; wait > most {
			t.Errorf("the idle came after %v, later than %v", wait, most)
		}
	})
}

func TestDialerPace(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer string
		hold   time.Duration
		want   time.Duration // between idles
	}{
		{"poll byte", "\x05", 0, 80 * time.Millisecond},
		{"zero", "\x00", 0, 16 * time.Millisecond},
		{"capped", "\xff", 0, 528 * time.Millisecond},
		{"data", "\x21x", time.Millisecond, time.Millisecond},
		{"held", "\x21", time.Second, time.Second},
		{"held a little", "\x05", 30 * time.Millisecond, 80 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, answers: []string{respond("1\n")}, hold: tc.hold}
				for range 5 {
					s.answers = append(s.answers, respond(tc.answer))
				}
				dialScript(t, s, tunnel.Dialer{})
				time.Sleep(4 * time.Second)
				_, times := s.log()
				for i := 2; i <= 4; i++ {
					if d := times[i].Sub(times[i-1]); d != tc.want {
						t.Errorf("idle %d came %v after the one before, want %v", i, d, tc.want)
					}
				}
			})
		})
	}
}

func TestDialerClosedConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closing := "Connection: close\r\n"
		s := &script{t: t, answers: []string{
			respond("1\n", closing), respond("\x01a", closing), respond("\x01b", closing),
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\x01c\r\n1;x\r\nd\r\n0\r\n\r\n",
			"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n\x01e",
			"", // lost: the request is repeated
			"HTTP/1.1 100 Continue\r\n\r\n" + respond("\x01f"),
			"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n\x00",
		}}
		c := dialScript(t, s, tunnel.Dialer{})
		got, err := io.ReadAll(c)
		if string(got) != "abcdef" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, tunnel.ErrSessionEnded) {
			t.Errorf("write: %v", err)
		}
		seen, _ := s.log()
		want := []string{"/open/1 00", "/idle/1/0 00", "/idle/1/1 00", "/idle/1/2 00", "/idle/1/3 00", "/idle/1/4 00", "/idle/1/4 00", "/idle/1/5 00"}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("requests %q", seen)
		}
	})
}

func TestDialerNoRepeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, answers: []string{respond("1\n"), ""}}
		c := dialScript(t, s, tunnel.Dialer{NoRepeat: true})
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read: %v", err)
		}
		if seen, _ := s.log(); len(seen) != 2 {
			t.Errorf("requests %q", seen)
		}
	})
}

func TestDialerGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, answers: []string{respond("1\n"), "", "", "", "", "", "", "", ""}}
		c := dialScript(t, s, tunnel.Dialer{})
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read succeeded")
		}
		if s.conns != 4 {
			t.Errorf("%d connections, want 4", s.conns)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a server that says nothing
		s := &script{t: t, answers: []string{respond("1\n")}, hold: time.Hour}
		d := tunnel.Dialer{DialConn: s.dial}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(func() {
			if _, err := d.DialContext(ctx, "tcp", "h:80"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dial: %v", err)
			}
		}); d != time.Second {
			t.Errorf("dial took %v", d)
		}
		s.wg.Wait()
	})
	synctest.Test(t, func(t *testing.T) { // Close does not wait for one that hangs
		s := &script{t: t, answers: []string{respond("1\n")}, hold: time.Minute}
		d := tunnel.Dialer{DialConn: s.dial, AnswerTimeout: time.Hour}
		c, err := d.DialContext(t.Context(), "tcp", "h:80")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		if d := took(func() { _ = c.Close() }); d != 3*time.Second {
			t.Errorf("close took %v", d)
		}
		s.wg.Wait()
	})
}

func TestDialerOpenFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		status int
	}{
		"503":         {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503},
		"404":         {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404},
		"page":        {respond("<html>log in</html>"), 0},
		"empty":       {respond(""), 0},
		"long":        {respond(strings.Repeat("a", 120)), 0},
		"not HTTP":    {"SSH-2.0-x\r\n\r\n", 0},
		"lost":        {"", 0},
		"cut":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", 0},
		"too large":   {"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", 0},
		"two lengths": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n1\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, answers: []string{tc.answer}}
				d := tunnel.Dialer{DialConn: s.dial, AnswerTimeout: time.Second}
				_, err := d.Dial(t.Context(), "http://h")
				if err == nil {
					t.Fatal("opened")
				}
				var st *tunnel.StatusError
				if errors.As(err, &st) != (tc.status != 0) || st != nil && (st.Code != tc.status || st.Op != "open") {
					t.Errorf("error %v", err)
				}
				s.wg.Wait()
			})
		})
	}
	for _, u := range []string{"rtmp://h/x", "rtmpt://", "://", "rtmpt://h:port"} {
		if _, err := new(tunnel.Dialer).Dial(t.Context(), u); err == nil {
			t.Errorf("dialled %q", u)
		}
	}
	for _, d := range []tunnel.Dialer{{Host: "a\r\nb"}, {Header: map[string]string{"A": "b\nC: d"}}} {
		if _, err := d.Dial(t.Context(), "rtmpt://h"); err == nil {
			t.Errorf("dialled with %+v", d)
		}
	}
}

func TestDialerTLS(t *testing.T) {
	t.Parallel()
	b := newBench(t, tunnel.Config{HoldSetup: 5 * time.Millisecond})
	hs := httptest.NewUnstartedServer(b.srv)
	hs.Config.ErrorLog = log.New(io.Discard, "", 0) // for the handshake that is to fail
	hs.StartTLS()
	t.Cleanup(hs.Close)
	pool := x509.NewCertPool()
	pool.AddCert(hs.Certificate())
	d := tunnel.Dialer{TLS: &tls.Config{RootCAs: pool}}
	c, err := d.Dial(t.Context(), "rtmpts://"+strings.TrimPrefix(hs.URL, "https://")+"/app/name")
	if err != nil {
		t.Fatal(err)
	}
	b.core(echo)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
	if c.Quiet() {
		t.Error("a client's end is quiet")
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := new(tunnel.Dialer).Dial(t.Context(), strings.Replace(hs.URL, "https", "rtmpts", 1)); err == nil {
		t.Error("dialled a server with an unknown certificate")
	}
}
