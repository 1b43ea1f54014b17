package netio_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/gateway/netio"
)

// nonBlocking are the abilities under test, as a consumer would declare them.
type nonBlocking interface {
	net.Conn
	TryWritev(bufs [][]byte) (int, error)
	WaitWritable() error
	LazyRead(pool *sync.Pool) (*[]byte, int, error)
}

var (
	_ nonBlocking = (*netio.TCPConn)(nil)
	_ nonBlocking = (*netio.TLSConn)(nil)
)

func TestTryWritevTakesAll(t *testing.T) {
	cases := []struct {
		name string
		bufs [][]byte
	}{
		{"nothing", nil},
		{"empty buffers", [][]byte{{}, nil}},
		{"one", [][]byte{[]byte("abc")}},
		{"empty between", [][]byte{[]byte("a"), nil, []byte("bc"), {}}},
		{"exactly one round", split(pattern(640), 10)},
		{"three rounds", split(pattern(64*2*10+10), 10)},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			server, client := tcpPair(t)
			want := bytes.Join(tt.bufs, nil)
			n, err := server.TryWritev(tt.bufs)
			if n != len(want) || err != nil {
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

// split cuts b in pieces of n bytes.
func split(b []byte, n int) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		n = min(n, len(b))
		pieces = append(pieces, b[:n:n])
		b = b[n:]
	}
	return pieces
}

// fill offers data until c refuses and returns how much it took.
func fill(t *testing.T, c nonBlocking, data []byte) int {
	t.Helper()
	total := 0
	for {
		n, err := c.TryWritev([][]byte{data})
		total += n
		if errors.Is(err, syscall.EAGAIN) {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// stuff offers data until c refuses and stays so: the kernel may move bytes to the
// receiver's side and find room again.
func stuff(t *testing.T, c nonBlocking, client *net.TCPConn, data []byte) {
	t.Helper()
	if err := client.SetReadBuffer(64 << 10); err != nil { // or the window grows for a long time
		t.Fatal(err)
	}
	for full := 0; full < 3; { // a window probe, after 200 and 400 ms, can make room once more
		taken := fill(t, c, data)
		if err := c.SetWriteDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		err := c.WaitWritable()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := c.SetWriteDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			full++
		case err != nil:
			t.Fatal(err)
		}
		if err == nil || taken > 0 { // the kernel had some room, perhaps less than it calls writable
			full = 0
		}
	}
}

// discard reads c until the test ends.
func discard(tb testing.TB, c net.Conn) {
	tb.Helper()
	done := make(chan struct{})
	go func() { // ended by closing c; waited by the cleanup
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	tb.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// drain writes data through TryWritev and WaitWritable until all is taken and sent.
func drain(c nonBlocking, data []byte) error {
	for {
		n, err := c.TryWritev([][]byte{data})
		data = data[n:]
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EAGAIN):
			return err
		}
		if err := c.WaitWritable(); err != nil {
			return err
		}
		if len(data) == 0 {
			return nil
		}
	}
}

func TestTryWritevRefusesWithoutWaiting(t *testing.T) {
	server, client := tcpPair(t)
	data := pattern(1 << 20)
	total := fill(t, server, data)
	if n, err := server.TryWritev([][]byte{data}); n != 0 || !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("full socket: TryWritev = %d, %v", n, err)
	}
	// Everything taken arrives, then the socket takes more.
	if _, err := io.CopyN(io.Discard, client, int64(total)); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitWritable(); err != nil {
		t.Fatal(err)
	}
	if n, err := server.TryWritev([][]byte{{1}}); n != 1 || err != nil {
		t.Fatalf("after the drain: TryWritev = %d, %v", n, err)
	}
}

// A wait that is not preceded by a refusal finds no edge to wake it: it must see by
// itself that the socket is writable, and that it became so before the wait began.
func TestWaitWritableNeverHangs(t *testing.T) {
	server, client := tcpPair(t)
	for range 1000 {
		if err := server.WaitWritable(); err != nil { // fresh: writable all the time
			t.Fatal(err)
		}
	}
	data := pattern(1 << 20)
	for range 20 {
		total := fill(t, server, data)
		// The reader empties the socket before, while and after the wait begins.
		read := make(chan error, 1)
		go func() { // ends when all is read; waited below
			_, err := io.CopyN(io.Discard, client, int64(total))
			read <- err
		}()
		if err := server.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := server.WaitWritable(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}
}

func TestDrainDelivers(t *testing.T) {
	conns := map[string]func(t *testing.T) (nonBlocking, io.Reader){
		"tcp": func(t *testing.T) (nonBlocking, io.Reader) {
			t.Helper()
			s, c := tcpPair(t)
			return s, c
		},
		"tls": func(t *testing.T) (nonBlocking, io.Reader) {
			t.Helper()
			s, c := tlsPair(t, serverConfig(t), nil)
			return s, c
		},
	}
	for name, pair := range conns {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t)
			data := pattern(24 << 20)
			sent := make(chan error, 1)
			go func() { sent <- drain(server, data) }() // ends when all is sent; waited below
			got := make([]byte, len(data))
			if _, err := io.ReadFull(client, got); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data) {
				t.Fatal("bytes differ")
			}
		})
	}
}

func TestWaitWritableEnds(t *testing.T) {
	cases := []struct {
		name string
		end  func(c nonBlocking) error
		want error
	}{
		{"deadline", func(c nonBlocking) error { return c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"deadline has passed", func(c nonBlocking) error { return c.SetWriteDeadline(time.Now().Add(-time.Second)) }, os.ErrDeadlineExceeded},
		{"closed", func(c nonBlocking) error { return c.Close() }, net.ErrClosed},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			plain, plainClient := tcpPair(t)
			secure, secureClient := tlsPair(t, serverConfig(t), nil)
			for name, c := range map[string]nonBlocking{"tcp": plain, "tls": secure} {
				client := plainClient
				if name == "tls" {
					client = secureClient.NetConn().(*net.TCPConn)
				}
				stuff(t, c, client, pattern(1<<20))
				done := make(chan error, 1)
				go func() { done <- c.WaitWritable() }() // ended by tt.end; waited below
				if err := tt.end(c); err != nil {
					t.Fatal(err)
				}
				if err := <-done; !errors.Is(err, tt.want) {
					t.Errorf("%s: WaitWritable = %v, want %v", name, err, tt.want)
				}
			}
		})
	}
}

func TestTryWritevFinalErrors(t *testing.T) {
	server, _ := tcpPair(t)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.TryWritev([][]byte{{1}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	server, client := tcpPair(t)
	if err := client.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Fatal("read after a reset")
	}
	_, err := server.TryWritev([][]byte{{1}})
	if err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Errorf("after a reset: %v", err)
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "write" || op.Addr == nil {
		t.Errorf("after a reset: %#v is not the error package net gives", err)
	}
}

func TestLazyRead(t *testing.T) {
	server, client := tcpPair(t)
	bufs := pool(4)
	server.Unread([]byte("ab"))
	if _, err := client.Write([]byte("cdefg")); err != nil {
		t.Fatal(err)
	}
	want := pattern(0)
	for len(want) < 7 {
		buf, n, err := server.LazyRead(bufs)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, (*buf)[:n]...)
		bufs.Put(buf)
	}
	if string(want) != "abcdefg" {
		t.Fatalf("got %q", want)
	}
	if err := server.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if buf, _, err := server.LazyRead(bufs); buf != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("deadline: %v, %v", buf, err)
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if buf, _, err := server.LazyRead(bufs); buf != nil || err != io.EOF { //nolint:errorlint // io.EOF is returned as it is
			t.Fatalf("end: %v, %v", buf, err)
		}
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if buf, _, err := server.LazyRead(bufs); buf != nil || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("closed: %v, %v", buf, err)
	}
}

// What has come before a reader takes what was given back is not forgotten with it.
func TestLazyReadAfterUnread(t *testing.T) {
	for name, size := range map[string]int{"buffer is full of it": 2, "buffer has room": 8} {
		t.Run(name, func(t *testing.T) {
			server, client := pairOf(t, poller(t, 1))
			send(t, client, "cd")
			waitFor(t, server.Notified)
			server.Unread([]byte("ab"))
			g := &guest{conn: server, pool: pool(size)}
			read := make(chan struct{})
			go func() { // ends with the reads; waited below
				defer close(read)
				for got := ""; len(got) < 4; got, _, _ = g.state() {
					buf, n, err := server.LazyRead(g.pool)
					if err != nil {
						return
					}
					g.mu.Lock()
					g.got = append(g.got, (*buf)[:n]...)
					g.mu.Unlock()
				}
			}()
			t.Cleanup(func() { _ = server.Close(); <-read })
			g.awaitBytes(t, "abcd")
		})
	}
}

// The buffer is not taken before there is something to read.
func TestLazyReadHoldsNothingWhileIdle(t *testing.T) {
	plain, plainClient := tcpPair(t)
	secure, secureClient := tlsPair(t, serverConfig(t), nil)
	cases := []struct {
		name   string
		server interface {
			nonBlocking
			Reading() bool
		}
		client net.Conn
		tries  int // reads that may find nothing: the buffer is put back
	}{{"tcp", plain, plainClient, 0}, {"tls", secure, secureClient, 1}}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			out := 0
			tracked := &sync.Pool{New: func() any {
				mu.Lock()
				defer mu.Unlock()
				out++
				b := make([]byte, 64)
				return &b
			}}
			got := make(chan int)
			go func() { // ends with the read; waited below
				_, n, _ := tt.server.LazyRead(tracked)
				got <- n
			}()
			waitFor(t, tt.server.Reading)
			mu.Lock()
			taken := out
			mu.Unlock()
			if taken > tt.tries {
				t.Errorf("%d buffers were taken before there was something to read", taken)
			}
			if _, err := tt.client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if n := <-got; n != 1 {
				t.Fatalf("LazyRead = %d bytes", n)
			}
		})
	}
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

func TestListenTunesConnections(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	server, _ := accepted(t, ln, ln.Addr().String())
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name               string
		level, option, val int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000},
	} {
		var val int
		var optErr error
		if err := raw.Control(func(fd uintptr) { val, optErr = unix.GetsockoptInt(int(fd), tt.level, tt.option) }); err != nil {
			t.Fatal(err)
		}
		if optErr != nil || val != tt.val {
			t.Errorf("%s = %d, %v, want %d", tt.name, val, optErr, tt.val)
		}
	}
	if err := server.SetQuickAck(); err != nil {
		t.Error(err)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	plain, plainClient := tcpPair(t)
	cfg := serverConfig(t)
	cfg.DynamicRecordSizingDisabled = true
	secure, secureClient := tlsPair(t, cfg, nil)
	header, payload := pattern(12), pattern(4096)
	bufs := [][]byte{header, payload}
	in := make([]byte, 4108)
	rest := pool(4096)
	check := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(200, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	check("TCP TryWritev", func() {
		if _, err := plain.TryWritev(bufs); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(plainClient, in); err != nil {
			t.Fatal(err)
		}
	})
	check("TCP LazyRead", func() {
		if _, err := plainClient.Write(header); err != nil {
			t.Fatal(err)
		}
		buf, _, err := plain.LazyRead(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest.Put(buf)
	})
	check("TCP WaitWritable", func() {
		if err := plain.WaitWritable(); err != nil {
			t.Fatal(err)
		}
	})
	check("TCP SetQuickAck", func() {
		if err := plain.SetQuickAck(); err != nil {
			t.Fatal(err)
		}
	})
	// Only the socket is emptied: crypto/tls allocates when it reads.
	discard(t, secureClient.NetConn())
	check("TLS TryWritev", func() {
		_, err := secure.TryWritev(bufs)
		if errors.Is(err, syscall.EAGAIN) {
			err = secure.WaitWritable()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
