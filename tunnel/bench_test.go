package tunnel_test

import (
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/tunnel"
)

// feedConn is a connection to measure with: what is given to it is read once,
// and each write is reported. It allocates nothing.
type feedConn struct {
	mu      sync.Mutex
	cond    sync.Cond
	in      []byte
	closed  bool
	answers chan int // sizes of writes
}

func newFeedConn() *feedConn {
	c := &feedConn{answers: make(chan int, 16)}
	c.cond.L = &c.mu
	return c
}

func (c *feedConn) give(b []byte) {
	c.mu.Lock()
	c.in = b
	c.mu.Unlock()
	c.cond.Signal()
}

func (c *feedConn) wait() error {
	for len(c.in) == 0 && !c.closed {
		c.cond.Wait()
	}
	if c.closed {
		return io.EOF
	}
	return nil
}

func (c *feedConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(); err != nil {
		return 0, err
	}
	n := copy(b, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *feedConn) LazyRead(pool *sync.Pool) (*[]byte, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(); err != nil {
		return nil, 0, err
	}
	buf := pool.Get().(*[]byte)
	n := copy(*buf, c.in)
	c.in = c.in[n:]
	return buf, n, nil
}

func (c *feedConn) TryWritev(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	c.answers <- n
	return n, nil
}

func (c *feedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cond.Broadcast()
	return nil
}

func (c *feedConn) Write([]byte) (int, error)        { return 0, syscall.EINVAL }
func (c *feedConn) WaitWritable() error              { return nil }
func (c *feedConn) SetQuickAck() error               { return nil }
func (c *feedConn) SetDeadline(time.Time) error      { return nil }
func (c *feedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *feedConn) SetWriteDeadline(time.Time) error { return nil }
func (c *feedConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }

func (c *feedConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)} }

// start opens a session over a feedConn and returns its Conn.
func (c *feedConn) start(b *testing.B, cfg tunnel.Config) (srv *tunnel.Server, core *tunnel.Conn, id string) {
	b.Helper()
	srv = tunnel.NewServer(cfg)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.ServeConn(c, tunnel.ConnInfo{}) })
	b.Cleanup(func() {
		_ = srv.Close()
		wg.Wait()
	})
	p := &peer{t: b}
	id = p.openOn(srv)
	c.give([]byte(request(idle(id, 0), "\x00")))
	nc, err := srv.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return srv, nc.(*tunnel.Conn), id
}

// openOn opens a session over a connection of its own.
func (p *peer) openOn(srv *tunnel.Server) string {
	bench := &bench{t: p.t, srv: srv}
	q := bench.connect()
	defer func() {
		_ = q.nc.Close()
		bench.wg.Wait()
	}()
	return q.open()
}

// numbered writes requests with growing sequence numbers into one buffer.
type numbered struct {
	text []byte
	at   int // of the last digit of the number
}

func number(path, body string) *numbered {
	text := request(path+"/00000000001", body)
	n := &numbered{text: []byte(text)}
	for n.text[n.at] != '\r' {
		n.at++
	}
	n.at -= len(" HTTP/1.1") + 1
	return n
}

func (n *numbered) next() {
	for i := n.at; ; i-- {
		if n.text[i]++; n.text[i] <= '9' {
			return
		}
		n.text[i] = '0'
	}
}

// BenchmarkPollEmpty is an idle request that finds nothing and is not held.
func BenchmarkPollEmpty(b *testing.B) {
	c := newFeedConn()
	_, core, id := c.start(b, tunnel.Config{})
	core.SetPublishing(true)
	<-c.answers
	req := number("/idle/"+id, "\x00")
	b.ReportAllocs()
	for b.Loop() {
		c.give(req.text)
		<-c.answers
		req.next()
	}
}

// BenchmarkPollData is an idle request that is held and then answered by a
// group of 1,200 bytes.
func BenchmarkPollData(b *testing.B) {
	c := newFeedConn()
	_, core, id := c.start(b, tunnel.Config{})
	group := [][]byte{make([]byte, 12), make([]byte, 1188)}
	write := func() {
		if _, err := core.TryWritev(group); err != nil {
			b.Fatal(err)
		}
	}
	write()
	<-c.answers
	req := number("/idle/"+id, "\x00")
	b.ReportAllocs()
	b.SetBytes(1200)
	for b.Loop() {
		c.give(req.text)
		write()
		<-c.answers
		req.next()
	}
}

// BenchmarkSend is a send of 1,200 bytes that a reader takes and says nothing
// to.
func BenchmarkSend(b *testing.B) {
	c := newFeedConn()
	_, core, id := c.start(b, tunnel.Config{})
	if _, err := core.Write([]byte("x")); err != nil {
		b.Fatal(err)
	}
	<-c.answers
	done := make(chan struct{})
	go func() { // ends with the session
		defer close(done)
		pool := sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}
		for {
			buf, _, err := core.LazyRead(&pool)
			if err != nil {
				return
			}
			pool.Put(buf)
		}
	}()
	req := number("/send/"+id, string(make([]byte, 1200)))
	b.ReportAllocs()
	b.SetBytes(1200)
	for b.Loop() {
		c.give(req.text)
		<-c.answers
		req.next()
	}
	_ = core.Close()
	<-done
}

// BenchmarkIdleSessions reports the memory of a session whose idle request is
// held, together with its connection and the goroutines of both ends.
func BenchmarkIdleSessions(b *testing.B) {
	const sessions = 2000
	for b.Loop() {
		srv := tunnel.NewServer(tunnel.Config{HoldSetup: time.Hour, SessionsPerAddress: sessions})
		var wg sync.WaitGroup
		before := inUse()
		ids := make([]string, sessions)
		for i := range ids {
			ids[i] = (&peer{t: b}).openOn(srv)
		}
		conns := make([]*feedConn, sessions)
		pool := sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}
		for i, id := range ids {
			c := newFeedConn()
			conns[i] = c
			wg.Go(func() { _ = srv.ServeConn(c, tunnel.ConnInfo{}) })
			c.give([]byte(request(idle(id, 0), "\x00")))
			core, err := srv.Accept()
			if err != nil {
				b.Fatal(err)
			}
			wg.Go(func() { _, _, _ = core.(*tunnel.Conn).LazyRead(&pool) })
		}
		for srv.Stats().Held < sessions {
			runtime.Gosched()
		}
		b.ReportMetric(float64(inUse()-before)/sessions/1024, "KiB/session")
		_ = srv.Close()
		wg.Wait()
		runtime.KeepAlive(conns)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkLoopback moves bytes from a Dialer's Conn to a Server's, and back,
// over TCP connections that have none of the abilities.
func BenchmarkLoopback(b *testing.B) {
	for _, name := range []string{"up", "down"} {
		b.Run(name, func(b *testing.B) {
			srv, addr, stop := serve(b, tunnel.Config{}, nil)
			to, from, stopAll, err := pipe(b, new(tunnel.Dialer), srv, addr, stop)
			if err != nil {
				b.Fatal(err)
			}
			defer stopAll()
			if name == "down" {
				to, from = from, to
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				piece := make([]byte, 16<<10)
				for {
					if _, err := from.Write(piece); err != nil {
						return
					}
				}
			})
			got := make([]byte, 64<<10)
			b.SetBytes(int64(len(got)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.ReadFull(to, got); err != nil {
					b.Fatal(err)
				}
			}
			_ = to.Close()
			_ = from.Close()
			wg.Wait()
		})
	}
}
