package tunnel_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"culvert/tunnel"
)

func TestSessionLimits(t *testing.T) {
	t.Parallel()
	from := func(ip string) tunnel.ConnInfo {
		return tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	}
	bubble(t, tunnel.Config{Sessions: 5, SessionsPerAddress: 2}, func(t *testing.T, b *bench) {
		refused := func(p *peer) {
			t.Helper()
			r := p.post("/open/1", "\x00")
			if r.status != 503 || r.body != "" || !strings.Contains(r.head, "\r\nRetry-After: ") {
				t.Errorf("answer %+v", r)
			}
		}
		p := b.connectWith(1<<20, from("192.0.2.1"))
		first := p.open()
		p.open()
		refused(p)
		refused(b.connectWith(1<<20, from("::ffff:192.0.2.1"))) // the same address
		six := b.connectWith(1<<20, from("2001:db8::1"))
		six.open()
		six.open()
		refused(b.connectWith(1<<20, from("2001:db8::ffff"))) // the same /64
		other := b.connectWith(1<<20, from("192.0.2.2"))
		other.open()
		refused(other) // five in all
		p.post("/close/"+first, "")
		p.open()
		st := b.srv.Stats()
		if st.Rejected[tunnel.RejectAddress] != 3 || st.Rejected[tunnel.RejectSessions] != 1 || st.Sessions != 5 || st.Opened != 6 {
			t.Errorf("stats %+v", st)
		}
		time.Sleep(16 * time.Second)
		for range 2 {
			p.open() // the unused ones have expired
		}
	})
}

// TestManyOpens opens sessions as fast as one address can: those beyond the limit are
// refused, counted, and leave nothing behind.
func TestManyOpens(t *testing.T) { // not parallel: it measures memory
	const opens, allowed = 10_000, 1000
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		meta := tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}}
		p := b.connectWith(1<<20, meta)
		got, ids := map[int]int{}, map[string]bool{}
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		full := int64(0)
		for i := range opens {
			r := p.post("/open/1", "")
			got[r.status]++
			switch {
			case r.status == 200 && len(r.body) == 19:
				ids[r.body] = true
			case r.status != 503 || r.body != "" || !strings.Contains(r.head, "\r\nRetry-After: "):
				t.Fatalf("open %d was answered %d %q", i, r.status, r.body)
			}
			if i == allowed {
				full = heap()
			}
		}
		if got[200] != allowed || got[503] != opens-allowed || len(ids) != allowed {
			t.Errorf("answers by status: %v, with %d ids", got, len(ids))
		}
		if more := heap() - full; more > 1<<20 {
			t.Errorf("%d refusals hold %d bytes", opens-allowed, more)
		}
		st := b.srv.Stats()
		if st.Sessions != allowed || st.Opened != allowed || st.Rejected[tunnel.RejectAddress] != opens-allowed || st.Requests[tunnel.OpOpen][5] != opens-allowed {
			t.Errorf("stats %+v", st)
		}
		other := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1}})
		other.open() // nobody else notices
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if st := b.srv.Stats(); st.Sessions != 0 {
			t.Errorf("%d sessions are left that were never used", st.Sessions)
		}
	})
}

func TestServerClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := newBench(t, tunnel.Config{Log: zerolog.New(&log)})
		p, q := b.connect(), b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		c := b.accept()
		q.write("POST /se")
		synctest.Wait()
		if err := b.srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || !errors.Is(err, tunnel.ErrServerClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := b.srv.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		for _, p := range []*peer{p, q} {
			if err := <-p.ended; !errors.Is(err, tunnel.ErrServerClosed) {
				t.Errorf("ServeConn: %v", err)
			}
		}
		if err := <-b.connect().ended; !errors.Is(err, tunnel.ErrServerClosed) {
			t.Errorf("ServeConn after close: %v", err)
		}
		if strings.Contains(log.String(), id) {
			t.Error("the session id is in the log")
		}
		if !strings.Contains(log.String(), "tunnel session ended") {
			t.Errorf("log %s", log.String())
		}
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		done := make(chan error, 1)
		go func() { done <- b.srv.Shutdown(context.Background()) }() // ends with the session
		synctest.Wait()
		if r := p.post("/open/1", ""); r.status != 503 {
			t.Errorf("open while shutting down: %d", r.status)
		}
		if n := b.srv.Stats().Rejected; n[tunnel.RejectClosing] != 1 || n[tunnel.RejectSessions] != 0 {
			t.Errorf("counted %v", n)
		}
		_, _ = c.Write([]byte("bye"))
		_ = c.Close()
		p.send(idle(id, 1), "\x00")
		p.expect(200, "\x01bye")
		if err := <-done; err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.connect().open()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	real := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 1000}
	listener := &net.TCPAddr{Port: 80}
	bubble(t, tunnel.Config{Addr: listener}, func(t *testing.T, b *bench) {
		p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: real, Transport: "rtmpts"})
		p.send(idle(p.open(), 0), "\x00")
		c := b.accept()
		if c.RemoteAddr() != net.Addr(real) || c.LocalAddr() != p.server.LocalAddr() {
			t.Errorf("addresses %v, %v", c.RemoteAddr(), c.LocalAddr())
		}
		if c.Transport() != "rtmpts" {
			t.Errorf("transport %q", c.Transport())
		}
		if b.srv.Addr() != net.Addr(listener) {
			t.Errorf("listener address %v", b.srv.Addr())
		}
	})
}

// TestProxied marks sessions that were opened through a proxy, so that nobody
// takes its address for the client's.
func TestProxied(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		head string
		meta tunnel.ConnInfo
		want bool
	}{
		{"", tunnel.ConnInfo{}, false},
		{"X-Forwarded-Fox: a\r\nViA2: b\r\n", tunnel.ConnInfo{}, false},
		{"via: 1.1 squid\r\n", tunnel.ConnInfo{}, true},
		{"X-FORWARDED-FOR: 192.0.2.1\r\n", tunnel.ConnInfo{}, true},
		{"Forwarded: for=192.0.2.1\r\n", tunnel.ConnInfo{}, true},
		{"", tunnel.ConnInfo{Proxied: true}, true},
	} {
		bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
			p := b.connectWith(1<<20, tc.meta)
			p.write("POST /open/1 HTTP/1.1\r\nHost: h\r\n" + tc.head + "\r\n")
			id := strings.TrimSpace(p.answer().body)
			p.send(idle(id, 0), "\x00")
			if c := b.accept(); c.Proxied() != tc.want {
				t.Errorf("%q, %v: proxied %v", tc.head, tc.meta.Proxied, c.Proxied())
			}
		})
		if tc.meta.Proxied {
			continue
		}
		b := newBench(t, tunnel.Config{HoldSetup: -1})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/open/1", nil)
		for line := range strings.SplitSeq(strings.TrimSpace(tc.head), "\r\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				req.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		b.srv.ServeHTTP(w, req)
		id := strings.TrimSpace(w.Body.String())
		b.srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, idle(id, 0), nil))
		if c := b.accept(); c.Proxied() != tc.want {
			t.Errorf("%q by ServeHTTP: proxied %v", tc.head, c.Proxied())
		}
	}
}

func TestIsTunnelPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/open/1": true, "/open": true, "/send/1/2": true, "/idle/1/2": true, "/idel/1/2": true,
		"/close/1": true, "//close//1/": true, "/fcs/ident": true, "/fcs/ident2": true, "/fcs/ident2/": true,
		"/open/1?x": true,
		"":          false, "/": false, "open/1": false, "/opening": false, "/fcs": false, "/fcs/other": false,
		"/fcs/ident/x": false, "/live/open/1": false, "/Open/1": false, "*": false,
	} {
		if got := tunnel.IsTunnelPath(path); got != want {
			t.Errorf("IsTunnelPath(%q) = %v", path, got)
		}
	}
}

// TestHandoff mixes pages and the tunnel on one connection.
func TestHandoff(t *testing.T) {
	t.Parallel()
	ln := newConnListener()
	var srv *tunnel.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := r.RemoteAddr + " " + r.URL.Path + " " + string(body)
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = io.WriteString(w, text)
	})
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tunnel.IsTunnelPath(r.URL.Path) {
			srv.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})}
	b := newBench(t, tunnel.Config{Fallback: ln.give, Hold: 5 * time.Millisecond, HoldSetup: 5 * time.Millisecond})
	srv = b.srv
	var wg sync.WaitGroup
	wg.Go(func() { _ = hs.Serve(ln) })
	t.Cleanup(func() {
		_ = hs.Close()
		wg.Wait()
	})
	b.core(echo)
	p := b.connectWith(1<<20, tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 99}})
	id := p.open()
	p.send(send(id, 0), "x")
	p.expect(200, "\x01x")
	p.write(request("/page", "hello") + request(send(id, 1), "y"))
	p.expect(200, "203.0.113.5:99 /page hello")
	p.expect(200, "\x01y") // net/http holds the connection now
	p.send(idle(id, 2), "\x00")
	p.expect(200, "\x01")
	if err := <-p.ended; err != nil {
		t.Errorf("ServeConn: %v", err)
	}
	for name, raw := range map[string]string{
		"GET":          "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"in pieces":    "GET /" + strings.Repeat("a", 20000) + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"other method": "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		p := b.connect()
		p.write(raw)
		if r := p.answer(); r.status != 200 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := b.srv.Stats().Handoffs; n != 4 {
		t.Errorf("%d handoffs counted", n)
	}
}

func TestNoFallback(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		p.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		p.expect(404, "\x00")
		p.open()
	})
}

// connListener is a net.Listener of the connections that it is given.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn, 16), done: make(chan struct{})}
}

func (l *connListener) give(nc net.Conn) { l.conns <- nc }

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *connListener) Addr() net.Addr { return &net.TCPAddr{} }
