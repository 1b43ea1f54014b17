package netio_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/gateway/netio"
)

func TestTLSTryWritevGroups(t *testing.T) {
	cases := []struct {
		name string
		bufs [][]byte
	}{
		{"nothing", nil},
		{"frame", [][]byte{pattern(12), pattern(4096)}},
		{"many small", split(pattern(40_000), 100)},
		{"large", [][]byte{pattern(7), pattern(200_000), nil, pattern(16 << 10), pattern(3)}},
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range cases {
			t.Run(tls.VersionName(version)+"/"+tt.name, func(t *testing.T) {
				cfg := serverConfig(t)
				cfg.MaxVersion = version
				server, client := tlsPair(t, cfg, nil)
				want := bytes.Join(tt.bufs, nil)
				if n, err := server.TryWritev(tt.bufs); n != len(want) || err != nil {
					t.Fatalf("TryWritev = %d, %v, want %d", n, err, len(want))
				}
				if err := server.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(client)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("client got %d bytes, %v, want %d", len(got), err, len(want))
				}
			})
		}
	}
}

// A burst larger than what is kept is cut, and what the socket refuses is bounded.
func TestTLSBoundsWhatIsPending(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	burst := pattern(64 << 20)
	taken, err := server.TryWritev([][]byte{burst})
	if !errors.Is(err, syscall.EAGAIN) || taken == 0 || taken == len(burst) {
		t.Fatalf("TryWritev = %d, %v", taken, err)
	}
	if n, err := server.TryWritev([][]byte{burst}); n != 0 || !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("with ciphertext pending: TryWritev = %d, %v", n, err)
	}
	if got := server.Pending(); got < 1 || got > netio.PendingLimit+80<<10 {
		t.Fatalf("%d bytes pending", got)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- server.WaitWritable() }() // ends when the client has read; waited below
	got := make([]byte, taken)
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, burst[:taken]) {
		t.Fatal("bytes differ")
	}
	if got := server.Pending(); got != 0 {
		t.Fatalf("%d bytes pending after the flush", got)
	}
}

// A write deadline that passed breaks nothing: the same connection goes on.
func TestTLSSurvivesAWriteDeadline(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	data := pattern(32 << 20)
	if err := server.SetWriteDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := server.Write(data)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(data) {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if err := server.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // ends when the client has read; waited below
		_, err := server.Write(data[n:])
		done <- err
	}()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatal("bytes differ")
	}
}

// While a drain goroutine waits, an answer of crypto/tls must not block the reader, and
// Close must end both.
func TestTLSReaderNeverWaitsForTheWriter(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	stuff(t, server, client.NetConn().(*net.TCPConn), pattern(1<<20))
	waiting := make(chan error, 1)
	go func() { waiting <- server.WaitWritable() }() // ended by Close; waited below
	waitFor(t, server.Waiting)
	// The bad record makes crypto/tls send an alert from inside Read.
	if _, err := client.NetConn().Write([]byte{23, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 10)); err == nil {
		t.Fatal("Read took a forged record")
	}
	if err := server.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("WaitWritable = %v", err)
	}
}

// A peer that makes crypto/tls answer and reads nothing costs a bounded amount, also
// while a drain goroutine occupies the socket.
func TestTLSAnswersAreBounded(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	stuff(t, server, client.NetConn().(*net.TCPConn), pattern(1<<20))
	waiting := make(chan error, 1)
	go func() { waiting <- server.WaitWritable() }() // ended by Close; waited below
	waitFor(t, server.Waiting)
	record := pattern(1000)
	var err error
	sum := 0
	for err == nil && sum < 10*netio.PendingLimit {
		err = server.Answer(record)
		sum += len(record)
	}
	if err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("%d bytes of answers taken, %v", sum, err)
	}
	if got := server.Pending(); got > 2*netio.PendingLimit {
		t.Errorf("%d bytes pending", got)
	}
	_ = server.Close() // reports that close_notify could not be sent
	if err := <-waiting; err == nil {
		t.Error("WaitWritable reports success")
	}
	if got := server.Pending(); got != 0 {
		t.Errorf("%d bytes pending after Close", got)
	}
}

func TestTLSCloseSaysGoodbyeAndDoesNotWait(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	if _, err := server.TryWritev([][]byte{[]byte("bye")}); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(client) // fails with io.ErrUnexpectedEOF without close_notify
	if err != nil || string(got) != "bye" {
		t.Fatalf("client got %q, %v", got, err)
	}
	if _, err := server.TryWritev([][]byte{{1}}); err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestTLSLazyRead(t *testing.T) {
	for _, size := range []int{1, 100, 16 << 10, 64 << 10} {
		server, client := tlsPair(t, serverConfig(t), nil)
		bufs := pool(size)
		server.Unread([]byte("head"))
		data := pattern(300_000)
		sent := make(chan error, 1)
		go func() { // ends with the write; waited below
			_, err := client.Write(data[4:])
			if err == nil {
				err = client.Close()
			}
			sent <- err
		}()
		copy(data, "head")
		var got []byte
		for {
			buf, n, err := server.LazyRead(bufs)
			if err == io.EOF { //nolint:errorlint // io.EOF is returned as it is
				break
			}
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			got = append(got, (*buf)[:n]...)
			bufs.Put(buf)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("size %d: bytes differ", size)
		}
	}
}

// recorder keeps what is written to it while on.
type recorder struct {
	net.Conn

	on   bool
	kept []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.on {
		r.kept = append(r.kept, p...)
		return len(p), nil
	}
	return r.Conn.Write(p)
}

// The bytes of a record come one by one: reading goes on where it stopped, also after a
// deadline, and the end of the stream inside a record is not a clean one.
func TestTLSReadsInPieces(t *testing.T) {
	server, client := tcpPair(t)
	rec := &recorder{Conn: client}
	c := tls.Client(rec, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is thrown away
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }() // ends with the handshake; waited below
	s, err := netio.ServerTLS(t.Context(), server, serverConfig(t), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rec.on = true
	for _, text := range []string{"first", "second"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	bufs := pool(100)
	lost := 3
	for i, b := range rec.kept[:len(rec.kept)-lost] {
		if _, err := client.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		if err := server.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		buf, n, err := s.LazyRead(bufs)
		switch {
		case err == nil && string((*buf)[:n]) == "first" && i < len(rec.kept)-lost-1:
			lost = -1 // seen
		case !errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("byte %d: %d bytes, %v", i, n, err)
		}
	}
	if lost != -1 {
		t.Fatal("the whole record was not delivered")
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.LazyRead(bufs); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("cut record: %v", err)
	}
}

func TestServerTLSFails(t *testing.T) {
	t.Run("timeout", func(t *testing.T) {
		server, _ := tcpPair(t)
		_, err := netio.ServerTLS(t.Context(), server, serverConfig(t), 20*time.Millisecond)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("err = %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		server, _ := tcpPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := netio.ServerTLS(ctx, server, serverConfig(t), time.Minute); !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v", err)
		}
	})
	t.Run("not TLS", func(t *testing.T) {
		server, client := tcpPair(t)
		if _, err := client.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_, err := netio.ServerTLS(t.Context(), server, serverConfig(t), time.Minute)
		var re tls.RecordHeaderError
		if !errors.As(err, &re) {
			t.Fatalf("err = %v", err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("not closed: %v", err)
		}
	})
}

// net/http serves HTTP/2 on the bare conn, HTTP/1.1 on the TLSConn itself with
// Request.TLS filled in.
func TestTLSUnderNetHTTP(t *testing.T) {
	for _, proto := range []string{"h2", "http/1.1"} {
		t.Run(proto, func(t *testing.T) {
			cfg := serverConfig(t)
			cfg.NextProtos = []string{proto}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			body := pattern(3 << 20)
			conns := &oneListener{Listener: ln, accept: func(c net.Conn) (net.Conn, error) {
				s, err := netio.ServerTLS(t.Context(), netio.NewTCP(c.(*net.TCPConn)), cfg, time.Minute)
				if err != nil {
					return nil, err
				}
				if s.ConnectionState().NegotiatedProtocol == "h2" {
					return s.Conn(), nil
				}
				return s, nil
			}}
			srv := &http.Server{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.TLS == nil || r.TLS.NegotiatedProtocol != proto {
						t.Errorf("Request.TLS = %+v", r.TLS)
					}
					_, _ = w.Write(body)
				}),
				ReadHeaderTimeout: time.Minute,
			}
			var wg sync.WaitGroup
			wg.Go(func() { _ = srv.Serve(conns) }) // stopped by Close; waited below
			transport := &http.Transport{
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}, //nolint:gosec // the certificate is thrown away
				ForceAttemptHTTP2: proto == "h2",
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ln.Addr().String()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: transport}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if want := map[string]int{"h2": 2, "http/1.1": 1}[proto]; resp.ProtoMajor != want {
				t.Errorf("HTTP/%d, want %d", resp.ProtoMajor, want)
			}
			transport.CloseIdleConnections()
			if err := srv.Close(); err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
}

// oneListener turns accepted connections into what accept makes of them.
type oneListener struct {
	net.Listener

	accept func(net.Conn) (net.Conn, error)
}

func (l *oneListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.accept(c)
}
