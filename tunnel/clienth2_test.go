package tunnel_test

import (
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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"culvert/tunnel"
)

// identity is a certificate for example.com, and who trusts it.
var identity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	hs := httptest.NewTLSServer(nil)
	defer hs.Close()
	pool := x509.NewCertPool()
	pool.AddCert(hs.Certificate())
	return hs.TLS.Certificates[0], pool
})

// serveTLS gives requests that come over TLS with these protocols to h, and returns a
// Dialer for "rtmpts://example.com". Nothing of it works in a bubble: net/http keeps
// channels of HTTP/2 from one to the next.
func (b *bench) serveTLS(h http.Handler, protos ...string) tunnel.Dialer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	cert, pool := identity()
	hs := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)} // it complains of connections that were cut
	hs.Protocols.SetHTTP1(true)
	hs.Protocols.SetHTTP2(true)
	secure := tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos, MinVersion: tls.VersionTLS12})
	b.wg.Go(func() { _ = hs.Serve(secure) })
	b.t.Cleanup(func() {
		_ = b.srv.Close()
		_ = hs.Close()
	})
	return tunnel.Dialer{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DialConn: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	}}
}

// overH2 is a server that chooses HTTP/2, and a Dialer for it. wrap may be nil.
func overH2(t *testing.T, cfg tunnel.Config, wrap func(http.Handler) http.Handler) (*bench, tunnel.Dialer) {
	t.Helper()
	b := newBench(t, cfg)
	var h http.Handler = b.srv
	if wrap != nil {
		h = wrap(h)
	}
	return b, b.serveTLS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s came over %s", r.URL.Path, r.Proto)
		}
		h.ServeHTTP(w, r)
	}), "h2", "http/1.1")
}

// dialled opens a session with d and returns both ends.
func (b *bench) dialled(t *testing.T, d tunnel.Dialer) (client, server *tunnel.Conn) {
	t.Helper()
	client, err := d.Dial(t.Context(), "rtmpts://example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, b.accept()
}

// TestDialerALPN has servers choose.
func TestDialerALPN(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		server, client []string
		want           int
	}{
		{[]string{"h2", "http/1.1"}, nil, 2},
		{[]string{"h2"}, nil, 2},
		{[]string{"acme-tls/1", "http/1.1", "h2"}, nil, 1}, // culvert's, unless told otherwise
		{nil, nil, 1},
		{[]string{"h2", "http/1.1"}, []string{"http/1.1"}, 1},
	} {
		t.Run(fmt.Sprint(tc.server, tc.client), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tunnel.Config{})
			var mu sync.Mutex
			var heads []string
			d := b.serveTLS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				heads = append(heads, fmt.Sprint(r.ProtoMajor, " ", r.Host, " ", r.Header.Get("Content-Type"), " ", r.Header.Get("X-Way"), " ", r.ContentLength))
				mu.Unlock()
				b.srv.ServeHTTP(w, r)
			}), tc.server...)
			d.TLS.NextProtos = tc.client
			d.Header = map[string]string{"X-Way": "/"}
			c, _ := b.dialled(t, d)
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if c.Transport() != "rtmpts" {
				t.Errorf("transport %s", c.Transport())
			}
			mu.Lock()
			defer mu.Unlock()
			want := fmt.Sprint(tc.want, " example.com application/x-fcs / 1")
			if len(heads) < 2 || slices.ContainsFunc(heads, func(h string) bool { return h != want }) {
				t.Errorf("requests %q, want %q", heads, want)
			}
		})
	}
}

// TestConnHTTP2 is TestConn over HTTP/2.
func TestConnHTTP2(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"server", "client"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				b := &bench{t: t, srv: tunnel.NewServer(tunnel.Config{})}
				d := b.serveTLS(b.srv, "h2")
				client, err := d.Dial(context.Background(), "rtmpts://example.com")
				if err != nil {
					return nil, nil, nil, err
				}
				server, err := b.srv.Accept()
				stop := func() {
					if server != nil {
						_ = server.Close()
					}
					_ = client.Close()
					_ = b.srv.Close()
				}
				if of == "client" {
					return client, server, stop, err
				}
				return server, client, stop, err
			})
		})
	}
}

// TestHTTP2SendOvertakes: a send is answered while an idle is held, which no byte of the
// connection releases.
func TestHTTP2SendOvertakes(t *testing.T) {
	t.Parallel()
	idle := make(chan bool, 10)
	b, d := overH2(t, tunnel.Config{Hold: time.Hour, HoldSetup: time.Hour}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/idle/") {
				idle <- true
			}
			h.ServeHTTP(w, r)
		})
	})
	c, s := b.dialled(t, d)
	b.wg.Go(func() { _, _ = io.Copy(s, s) })
	<-idle
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
}

// TestHTTP2AnswersOvertake has the answers to idles arrive after those to the sends that
// followed them.
func TestHTTP2AnswersOvertake(t *testing.T) {
	t.Parallel()
	const rounds = 20
	held, sent, overtaken := make(chan bool, 1), make(chan bool, 1), 0
	b, d := overH2(t, tunnel.Config{Hold: time.Hour, HoldSetup: time.Hour}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasPrefix(r.URL.Path, "/send/"):
				h.ServeHTTP(w, r)
				w.(http.Flusher).Flush()
				sent <- true
			case strings.HasPrefix(r.URL.Path, "/idle/"):
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				if rec.Body.Len() > 1 {
					held <- true
					<-sent
					overtaken++
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	c, s := b.dialled(t, d)
	for i := range rounds {
		if _, err := fmt.Fprintf(s, "idle %d|", i); err != nil { // on its way back
			t.Fatal(err)
		}
		<-held
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(s, "send %d|", i); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("idle %d|send %d|", i, i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v, want %q", got, err, want)
		}
	}
	if overtaken != rounds {
		t.Errorf("%d idles were overtaken", overtaken)
	}
}

// TestHTTP2Goodbyes has a server that ends its connections in good order after a few
// requests, as proxies do: no byte is lost, and none of them counts as lost.
func TestHTTP2Goodbyes(t *testing.T) {
	t.Parallel()
	for _, noRepeat := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoRepeat %v", noRepeat), func(t *testing.T) {
			t.Parallel()
			var requests, conns, active, most atomic.Int32
			b, d := overH2(t, tunnel.Config{Hold: time.Millisecond, HoldSetup: time.Millisecond}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					most.Store(max(most.Load(), active.Add(1)))
					defer active.Add(-1)
					if requests.Add(1)%5 == 0 {
						w.Header().Set("Connection", "close") // GOAWAY, over HTTP/2
					}
					h.ServeHTTP(w, r)
				})
			})
			dial := d.DialConn
			d.DialConn = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conns.Add(1)
				return dial(ctx, network, addr)
			}
			d.NoRepeat = noRepeat
			d.Redials = -1 // the first one ends the session
			c, s := b.dialled(t, d)
			b.wg.Go(func() { _, _ = io.Copy(s, s) })
			const rounds = 100
			for i := range rounds {
				text := fmt.Sprintf("%04d", i)
				if _, err := c.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, len(text))
				if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
					t.Fatalf("read %q, %v, want %q", buf, err, text)
				}
			}
			if conns.Load() < rounds/10 {
				t.Errorf("%d connections", conns.Load())
			}
			if noRepeat && most.Load() != 1 {
				t.Errorf("%d requests at a time", most.Load())
			}
		})
	}
}

// TestHTTP2Failures has what servers and proxies can answer instead.
func TestHTTP2Failures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at     int32 // the request that is not answered as it should be, and all after it
		answer http.HandlerFunc
		status int // of a StatusError
	}{
		"refused":       {0, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 503},
		"a page":        {0, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in</html>") }, 0},
		"stopped":       {0, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		"refused later": {2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, 502},
		"stopped later": {2, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		"stopped in answer": {2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte{1})
		}, 0},
		"silence":  {2, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0},
		"too much": {2, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20+1)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			_, d := overH2(t, tunnel.Config{HoldSetup: time.Millisecond}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) > tc.at {
						tc.answer(w, r)
						return
					}
					h.ServeHTTP(w, r)
				})
			})
			d.MaxAnswer = 1 << 20
			if name == "silence" {
				d.AnswerTimeout = 300 * time.Millisecond
			}
			c, err := d.Dial(t.Context(), "rtmpts://example.com/app")
			if (err != nil) != (tc.at == 0) {
				t.Fatalf("dial: %v", err)
			}
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			var st *tunnel.StatusError
			if errors.As(err, &st) != (tc.status != 0) || st != nil && st.Code != tc.status || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("error %v", err)
			}
			if n := requests.Load(); tc.at > 0 && tc.status == 0 && n != tc.at+4 {
				t.Errorf("%d requests, want three repetitions", n-tc.at)
			}
		})
	}
}
