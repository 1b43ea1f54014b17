package portmux_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway/portmux"
)

// Conformance case 30: 443. TLS then 03 is RTMP, TLS then POST /open/1 goes to HTTP (the
// tunnel), TLS then GET / too; neither SNI nor ALPN is needed; h2 and http/1.1 offered
// gives http/1.1, h2 alone gives h2 on the bare TLS connection.
func TestCase30(t *testing.T) {
	cases := []struct {
		name, send string
		alpn       []string
		sni        string
		way, proto string
	}{
		{"RTMP without SNI and ALPN", "\x03" + strings.Repeat("c", 1536), nil, "", "rtmp", ""},
		{"RTMP with SNI", "\x03ccc", nil, "localhost", "rtmp", ""},
		{"RTMPE", "\x06ccc", nil, "", "rtmp", ""},
		{"tunnel without SNI and ALPN", "POST /open/1 HTTP/1.1\r\n", nil, "", "http", ""},
		{"web", "GET / HTTP/1.1\r\n", []string{"http/1.1"}, "localhost", "http", "http/1.1"},
		{"both offered", "GET / HTTP/1.1\r\n", []string{"h2", "http/1.1"}, "localhost", "http", "http/1.1"},
		{"h2 only", "PRI * HTTP/2.0\r\n", []string{"h2"}, "localhost", "h2", "h2"},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			cfg, calls := recorder(len(tt.send))
			cfg.TLS = certificate(t)
			m := start(t, cfg)
			raw := dial(t, m, "")
			c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.alpn, ServerName: tt.sni}) //nolint:gosec // the certificate is thrown away
			if _, err := io.WriteString(c, tt.send); err != nil {
				t.Fatal(err)
			}
			got := <-calls
			if got.way != tt.way || string(got.head) != tt.send {
				t.Errorf("%s got %q", got.way, got.head)
			}
			if got.info.TLS == nil || got.info.TLS.NegotiatedProtocol != tt.proto || got.info.TLS.ServerName != tt.sni {
				t.Errorf("TLS = %+v", got.info.TLS)
			}
			if _, bare := got.conn.(*tls.Conn); bare != (tt.way == "h2") {
				t.Errorf("the handler got a %T", got.conn)
			}
		})
	}
}

// Conformance case 31: raw port. 16 03 is TLS, 03 and 1536 bytes RTMP, POST the tunnel,
// 06 RTMPE; one byte and then silence is closed.
func TestCase31(t *testing.T) {
	for kind, listen := range listeners {
		t.Run(kind, func(t *testing.T) { sniff(t, listen) })
	}
	for name, first := range map[string]string{
		"silence": "", "one byte of TLS, then silence": "\x16", "one byte of a PROXY header, then silence": "P",
	} {
		t.Run(name, func(t *testing.T) {
			cert := certificate(t)
			synctest.Test(t, func(t *testing.T) { sniffDeadline(t, cert, first) })
		})
	}
	t.Run("silence of a parked connection", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.SniffTimeout = 20 * time.Millisecond
		m := start(t, cfg)
		closed(t, dial(t, m, ""))
		rejected(t, m, portmux.ReasonTimeout)
	})
}

func sniff(t *testing.T, listen func(*testing.T) net.Listener) {
	t.Helper()
	cases := []struct {
		name, send, way string
		reason          portmux.Reason
	}{
		{"RTMP", "\x03" + strings.Repeat("c", 1536), "rtmp", 0},
		{"RTMP, first byte alone", "\x03", "rtmp", 0},
		{"RTMPE 06", "\x06" + strings.Repeat("c", 1536), "rtmp", 0},
		{"RTMPE 08", "\x08c", "rtmp", 0},
		{"RTMPE 09", "\x09c", "rtmp", 0},
		{"tunnel", "POST /open/1 HTTP/1.1\r\n", "http", 0},
		{"web", "GET / HTTP/1.1\r\n", "http", 0},
		{"not TLS behind its first byte", "\x16GET / HTTP/1.1\r\n", "", portmux.ReasonTLSHandshake},
		{"PROXY v2 of a stranger", "\r\n\r\n\x00\r\nQUIT\n\x21", "", portmux.ReasonNotTrusted},
		{"almost PROXY v2", "\r\n\r\n\x00\r\nQUIT\r\x21", "", portmux.ReasonUnknown},
		{"SSLv2 hello", "\x80\x2e\x01\x00\x02", "", portmux.ReasonUnknown},
		{"lower case", "get / HTTP/1.1\r\n", "", portmux.ReasonUnknown},
		{"PROXY of an untrusted peer is HTTP", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "http", 0},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			cfg, calls := recorder(len(tt.send))
			cfg.TLS = certificate(t)
			m := startOn(t, listen(t), cfg)
			c := dial(t, m, tt.send)
			if tt.way == "" {
				closed(t, c)
				rejected(t, m, tt.reason)
				return
			}
			got := <-calls
			if got.way != tt.way || string(got.head) != tt.send || got.info.TLS != nil || got.info.Proxied {
				t.Errorf("%s got %q, %+v", got.way, got.head, got.info)
			}
			if got.info.ID == 0 || got.info.Listener != "test" || got.info.RemoteAddr.String() != c.LocalAddr().String() ||
				got.info.LocalAddr.String() != c.RemoteAddr().String() {
				t.Errorf("info = %+v", got.info)
			}
		})
	}
	t.Run("TLS", func(t *testing.T) {
		cfg, calls := recorder(1)
		cfg.TLS = certificate(t)
		m := startOn(t, listen(t), cfg)
		c := tls.Client(dial(t, m, ""), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is thrown away
		if _, err := c.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		if got := <-calls; got.way != "rtmp" || got.info.TLS == nil {
			t.Errorf("%s, %+v", got.way, got.info)
		}
	})
}

// A parked connection that begins like RTMP is offered to RTMPParked, with all its bytes,
// and to RTMP if that does not want it.
func TestParkedRTMP(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		cfg, calls := recorder(4)
		parked := make(chan string, 1)
		cfg.RTMPParked = func(c net.Conn, info portmux.Info) bool {
			if !wanted {
				return false
			}
			tcp := c.(interface {
				Park(step func() bool, left func()) bool
				TryReadTo(p []byte) (int, error)
			})
			var head []byte
			return tcp.Park(func() bool {
				b := make([]byte, 4)
				n, err := tcp.TryReadTo(b)
				if head = append(head, b[:n]...); len(head) < 4 {
					return err == nil || errors.Is(err, syscall.EAGAIN)
				}
				parked <- string(head) + " " + info.Listener
				return false
			}, func() { _ = c.Close() })
		}
		m := start(t, cfg)
		c := dial(t, m, "\x03a")
		if _, err := io.WriteString(c, "bc"); err != nil {
			t.Fatal(err)
		}
		if wanted {
			if got := <-parked; got != "\x03abc test" {
				t.Errorf("RTMPParked read %q", got)
			}
		} else if got := <-calls; got.way != "rtmp" || string(got.head) != "\x03abc" {
			t.Errorf("%s read %q", got.way, got.head)
		}
		closed(t, c)
		waitFor(t, func() bool { return m.Open() == 0 })
	}
}

// A handler that ends a parked connection at once has ended it.
func TestParkedRTMPClosed(t *testing.T) {
	cfg, _ := recorder(1)
	var offered atomic.Int64
	cfg.RTMPParked = func(c net.Conn, _ portmux.Info) bool {
		offered.Add(1)
		_ = c.Close()
		return true
	}
	m := start(t, cfg)
	closed(t, dial(t, m, "\x03"))
	waitFor(t, func() bool { return m.Open() == 0 })
	closed(t, dial(t, m, "x")) // served after all that the first one may have caused
	rejected(t, m, portmux.ReasonUnknown)
	if n := offered.Load(); n != 1 {
		t.Errorf("offered %d times", n)
	}
}

// sniffDeadline runs in a bubble: the connection is closed after 10 s to the moment.
func sniffDeadline(t *testing.T, cert *tls.Config, first string) {
	t.Helper()
	ln := newPipeListener()
	cfg, _ := recorder(1)
	cfg.SniffTimeout = 10 * time.Second
	cfg.TLS = cert
	cfg.TrustedProxies = loopback()
	m := portmux.New(ln, cfg)
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context()) }() // stopped by CloseListener; waited below
	c := ln.dial()
	defer c.Close()
	begin := time.Now()
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("bytes instead of the end")
	}
	if d := time.Since(begin); d != 10*time.Second {
		t.Errorf("closed after %v", d)
	}
	if err := m.CloseListener(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := m.Rejects().Count(portmux.ReasonTimeout); n != 1 || m.Open() != 0 {
		t.Errorf("%d open, %v", m.Open(), m.Rejects().Snapshot())
	}
}

// The sniff deadline is not the handler's.
func TestDeadlineEndsWithTheSniff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		cfg, calls := recorder(2)
		cfg.SniffTimeout = 10 * time.Second
		m := portmux.New(ln, cfg)
		done := make(chan error, 1)
		go func() { done <- m.Run(t.Context()) }() // stopped by CloseListener; waited below
		c := ln.dial()
		defer c.Close()
		for _, b := range []string{"\x03", "c"} {
			if _, err := io.WriteString(c, b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if got := <-calls; string(got.head) != "\x03c" {
			t.Errorf("the handler read %q", got.head)
		}
		if err := m.CloseListener(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pipeListener accepts the far ends of pipes, as if they came from loopback.
type pipeListener struct{ *portmux.Handoff }

func newPipeListener() pipeListener {
	return pipeListener{portmux.NewHandoff(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1935})}
}

func (l pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	_ = l.Deliver(loopbackConn{far})
	return near
}

type loopbackConn struct{ net.Conn }

func (loopbackConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}
}

func TestRejects(t *testing.T) {
	t.Run("empty", func(t *testing.T) { // certmagic and health checks dial and close
		cfg, _ := recorder(1)
		m := start(t, cfg)
		c := dial(t, m, "")
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		closed(t, c)
		rejected(t, m, portmux.ReasonEmpty)
	})
	t.Run("empty after TLS", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.TLS = certificate(t)
		m := start(t, cfg)
		raw := dial(t, m, "")
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is thrown away
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, raw); err != nil {
			t.Log(err)
		}
		rejected(t, m, portmux.ReasonEmpty)
	})
	t.Run("certificate not trusted by the client", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.TLS = certificate(t)
		m := start(t, cfg)
		raw := dial(t, m, "")
		if err := tls.Client(raw, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS13}).Handshake(); err == nil {
			t.Fatal("the client trusts the certificate")
		}
		_, _ = io.Copy(io.Discard, raw)
		rejected(t, m, portmux.ReasonTLSHandshake)
	})
	t.Run("TLS off", func(t *testing.T) {
		cfg, _ := recorder(1)
		m := start(t, cfg)
		closed(t, dial(t, m, "\x16\x03\x01"))
		rejected(t, m, portmux.ReasonTLSOff)
	})
	t.Run("no handler", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.RTMP = nil
		m := start(t, cfg)
		closed(t, dial(t, m, "\x03"))
		rejected(t, m, portmux.ReasonNotServed)
	})
	t.Run("h2 without a handler", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.TLS, cfg.H2 = certificate(t), nil
		m := start(t, cfg)
		raw := dial(t, m, "")
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // the certificate is thrown away
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, raw)
		rejected(t, m, portmux.ReasonNotServed)
	})
}

func TestLimits(t *testing.T) {
	cfg, calls := recorder(2)
	cfg.Limiter = portmux.NewLimiter(3, 2)
	m := start(t, cfg)
	first, second := dial(t, m, "\x03"), dial(t, m, "\x03")
	waitOpen(t, cfg.Limiter, 2)
	closed(t, dial(t, m, "\x03"))
	rejected(t, m, portmux.ReasonAddress)
	// A closed connection makes room.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	<-calls
	waitOpen(t, cfg.Limiter, 1)
	third := dial(t, m, "\x03c")
	if got := <-calls; string(got.head) != "\x03c" {
		t.Fatalf("got %q", got.head)
	}
	_, _ = third, second
}

// Connections of a trusted proxy count for the clients it names.
func TestLimitsBehindAProxy(t *testing.T) {
	cfg, _ := recorder(2)
	cfg.Limiter = portmux.NewLimiter(3, 1)
	cfg.TrustedProxies = loopback()
	m := start(t, cfg)
	header := func(client string) string { return "PROXY TCP4 " + client + " 192.0.2.9 1 2\r\n\x03" }
	dial(t, m, header("192.0.2.1"))
	waitOpen(t, cfg.Limiter, 1)
	dial(t, m, header("192.0.2.2"))
	waitOpen(t, cfg.Limiter, 2)
	waitClients(t, cfg.Limiter, 2)
	closed(t, dial(t, m, header("192.0.2.1")))
	rejected(t, m, portmux.ReasonAddress)
	waitOpen(t, cfg.Limiter, 2)
	dial(t, m, header("192.0.2.3"))
	waitOpen(t, cfg.Limiter, 3)
	closed(t, dial(t, m, ""))
	rejected(t, m, portmux.ReasonAddress, portmux.ReasonTotal)
	m.CloseConns()
	waitOpen(t, cfg.Limiter, 0)
	waitClients(t, cfg.Limiter, 0)
}

// Connections on which a trusted proxy names no client are not those of one client.
func TestNoLimitForAProxy(t *testing.T) {
	cfg, _ := recorder(3) // which waits for a third byte
	cfg.Limiter = portmux.NewLimiter(10, 1)
	cfg.TrustedProxies = loopback()
	m := start(t, cfg)
	for i, header := range []string{"", "PROXY UNKNOWN\r\n", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"} {
		dial(t, m, header+"\x03c")
		dial(t, m, header+"\x03c")
		waitOpen(t, cfg.Limiter, 2*i+2)
	}
	if n := m.Rejects().Count(portmux.ReasonAddress); n > 0 {
		t.Errorf("%d connections of the proxy were refused", n)
	}
	waitClients(t, cfg.Limiter, 0)
}

func waitOpen(t *testing.T, l *portmux.Limiter, n int) {
	t.Helper()
	waitFor(t, func() bool { return l.Open() == n })
}

func waitClients(t *testing.T, l *portmux.Limiter, n int) {
	t.Helper()
	waitFor(t, func() bool { return l.Clients() == n })
}

// waitFor polls a condition that another goroutine makes true.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("condition did not come true")
		}
	}
}

// CloseListener refuses the new and leaves the old alone; the end of the context closes
// what is still being sniffed; CloseConns closes the rest.
func TestStages(t *testing.T) {
	for kind, listen := range listeners {
		t.Run(kind, func(t *testing.T) { stages(t, listen(t)) })
	}
}

func stages(t *testing.T, ln net.Listener) {
	t.Helper()
	inside := make(chan struct{})
	var handled sync.WaitGroup
	m := portmux.New(ln, portmux.Config{RTMP: func(c net.Conn, _ portmux.Info) {
		defer handled.Done()
		close(inside)
		_, _ = io.Copy(c, c)
	}})
	handled.Add(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }() // stopped by CloseListener and CloseConns; waited below
	served := dial(t, m, "\x03")
	<-inside
	sniffed := dial(t, m, "")
	waitFor(t, func() bool { return m.Open() == 2 })

	if err := m.CloseListener(); err != nil {
		t.Fatal(err)
	}
	if err := m.CloseListener(); err != nil {
		t.Fatalf("closing again: %v", err)
	}
	if c, err := net.Dial("tcp", m.Addr().String()); err == nil {
		_ = c.Close()
		t.Fatal("the listener still accepts")
	}
	cancel()
	closed(t, sniffed)
	select {
	case err := <-done:
		t.Fatalf("Run returned %v while a handler runs", err)
	default:
	}
	echo := make([]byte, 2)
	if _, err := served.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(served, echo); err != nil {
		t.Fatalf("the served connection is gone: %v", err)
	}
	m.CloseConns()
	closed(t, served)
	handled.Wait()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if m.Open() != 0 {
		t.Errorf("%d open", m.Open())
	}
	for reason, n := range m.Rejects().Snapshot() {
		if n > 0 {
			t.Errorf("%s = %d: closed by ourselves", reason, n)
		}
	}
}

// temporary is what accept returns when descriptors run out.
type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

// flaky fails to accept a few times first.
type flaky struct {
	pipeListener

	failures atomic.Int32
	err      error
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, l.err
	}
	return l.pipeListener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &flaky{pipeListener: newPipeListener(), err: &net.OpError{Op: "accept", Err: temporary{}}}
		ln.failures.Store(10)
		cfg, calls := recorder(1)
		var log bytes.Buffer // of one goroutine, which waits when it is read
		cfg.Log = zerolog.New(&log).Level(zerolog.WarnLevel)
		m := portmux.New(ln, cfg)
		done := make(chan error, 1)
		go func() { done <- m.Run(t.Context()) }() // stopped by CloseListener; waited below
		begin := time.Now()
		c := ln.dial()
		defer c.Close()
		// 5, 10, 20 ... 640 ms, then 1 s twice.
		if d := time.Since(begin); d != 3275*time.Millisecond {
			t.Errorf("accepted after %v", d)
		}
		if _, err := c.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		<-calls
		// After a success the pause begins small again.
		synctest.Wait() // it accepts
		ln.failures.Store(1)
		for _, want := range []time.Duration{0, 5 * time.Millisecond} {
			begin := time.Now()
			c := ln.dial()
			if d := time.Since(begin); d != want {
				t.Errorf("accepted after %v, want %v", d, want)
			}
			_ = c.Close()
		}
		// The log has the first failure, and a minute later the number of those since then.
		time.Sleep(time.Minute)
		synctest.Wait()
		ln.failures.Store(1)
		for range 2 {
			_ = ln.dial().Close()
		}
		synctest.Wait()
		const line = `{"level":"warn","error":"accept: too many open files","failed":%d,"message":"accept failed, pausing"}` + "\n"
		if want := fmt.Sprintf(line+line, 1, 11); log.String() != want {
			t.Errorf("the log has\n%swant\n%s", &log, want)
		}
		if err := m.CloseListener(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("final", func(t *testing.T) {
		ln := &flaky{pipeListener: newPipeListener(), err: errors.New("broken")}
		ln.failures.Store(1)
		if err := portmux.New(ln, portmux.Config{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "accept: broken") {
			t.Errorf("Run = %v", err)
		}
	})
}

// A Handoff feeds net/http with connections of both kinds.
func TestHandoffToNetHTTP(t *testing.T) {
	web := portmux.NewHandoff(&net.TCPAddr{})
	cfg := portmux.Config{
		TLS:  certificate(t),
		HTTP: func(c net.Conn, _ portmux.Info) { _ = web.Deliver(c) },
		H2:   func(c *tls.Conn, _ portmux.Info) { _ = web.Deliver(c) },
	}
	m := start(t, cfg)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto)
			if r.TLS != nil {
				_, _ = io.WriteString(w, " TLS")
			}
		}),
		ReadHeaderTimeout: time.Minute,
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(web) }) // stopped by Close; waited below
	for _, tt := range []struct {
		url  string
		alpn []string
		want string
	}{
		{"http://", nil, "HTTP/1.1"},
		{"https://", []string{"h2", "http/1.1"}, "HTTP/1.1 TLS"},
		{"https://", []string{"h2"}, "HTTP/2.0 TLS"},
	} {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: tt.alpn}, //nolint:gosec // the certificate is thrown away
			Protocols:       new(http.Protocols),
		}
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetHTTP1(len(tt.alpn) != 1)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url+m.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if err != nil || body.String() != tt.want {
			t.Errorf("%s %v: %q, %v, want %q", tt.url, tt.alpn, body.String(), err, tt.want)
		}
		transport.CloseIdleConnections()
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	near, far := net.Pipe()
	defer near.Close()
	if err := web.Deliver(far); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Deliver after Close: %v", err)
	}
	if _, err := near.Write([]byte{1}); err == nil {
		t.Error("a conn that could not be delivered is open")
	}
}
