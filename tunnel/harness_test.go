package tunnel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// bench is a server whose connections are in memory.
type bench struct {
	t    testing.TB
	srv  *tunnel.Server
	park bool // connections can be parked
	wg   sync.WaitGroup
}

// bubble runs a test in a synctest bubble with a server, once with connections
// that always have a goroutine and once with such as can be parked.
func bubble(t *testing.T, cfg tunnel.Config, f func(t *testing.T, b *bench)) {
	t.Helper()
	for _, park := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, cfg)
			if b.park = park; park {
				b.srv.ParkAtOnce()
			}
			f(t, b)
			if t.Failed() {
				t.Logf("connections can be parked: %v", park)
			}
		})
	}
}

func newBench(tb testing.TB, cfg tunnel.Config) *bench {
	tb.Helper()
	var told [len(tunnel.RejectNames)]atomic.Uint64
	cfg.Refused = func(reason int, client net.Addr, _ error) {
		told[reason].Add(1)
		if client == nil {
			tb.Errorf("%s: nobody was refused", tunnel.RejectNames[reason])
		}
	}
	b := &bench{t: tb, srv: tunnel.NewServer(cfg)}
	tb.Cleanup(func() {
		_ = b.srv.Close()
		b.wg.Wait()
		for reason, n := range b.srv.Stats().Rejected {
			if n != told[reason].Load() {
				tb.Errorf("%s: counted %d times, told %d times", tunnel.RejectNames[reason], n, told[reason].Load())
			}
		}
	})
	return b
}

// peer is a client's end of an HTTP connection.
type peer struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
	// server is the other end, conn what the server was given.
	server *memConn
	conn   net.Conn
	ended  chan error // what ServeConn returned
}

// end waits until the server has done with the connection, and says how.
func (p *peer) end() error { return <-p.ended }

func (b *bench) connect() *peer { return b.connectWith(1<<20, tunnel.ConnInfo{}) }

func (b *bench) connectWith(limit int, meta tunnel.ConnInfo) *peer {
	client, server := memPipe(limit)
	p := &peer{t: b.t, nc: client, br: bufio.NewReader(client), server: server, ended: make(chan error, 1)}
	var conn net.Conn = server
	if b.park {
		conn = &parkConn{memConn: server}
	}
	p.conn = conn
	b.wg.Go(func() { p.ended <- b.srv.ServeConn(conn, meta) })
	b.t.Cleanup(func() { _ = client.Close() })
	return p
}

// dial is a Dialer's DialConn.
func (b *bench) dial(context.Context, string, string) (net.Conn, error) { return b.connect().nc, nil }

// reply is an HTTP answer.
type reply struct {
	status int
	head   string
	body   string
}

func (p *peer) write(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func request(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h:80\r\nContent-type: application/x-fcs\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func (p *peer) send(path, body string) {
	p.t.Helper()
	p.write(request(path, body))
}

func (p *peer) read() (r reply, err error) {
	for !strings.HasSuffix(r.head, "\r\n\r\n") {
		line, err := p.br.ReadString('\n')
		if err != nil {
			return r, err
		}
		r.head += line
	}
	if !strings.HasPrefix(r.head, "HTTP/1.1 ") {
		return r, fmt.Errorf("answer %q", r.head)
	}
	if r.status, err = strconv.Atoi(r.head[9:12]); err != nil {
		return r, err
	}
	if r.status < 200 {
		return r, nil
	}
	_, rest, ok := strings.Cut(r.head, "\r\nContent-Length: ")
	if !ok {
		return r, fmt.Errorf("no Content-Length in %q", r.head)
	}
	digits, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return r, err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(p.br, body)
	r.body = string(body)
	return r, err
}

func (p *peer) answer() reply {
	p.t.Helper()
	r, err := p.read()
	if err != nil {
		p.t.Fatalf("read answer: %v", err)
	}
	return r
}

func (p *peer) post(path, body string) reply {
	p.t.Helper()
	p.send(path, body)
	return p.answer()
}

func (p *peer) expect(status int, body string) {
	p.t.Helper()
	if r := p.answer(); r.status != status || r.body != body {
		p.t.Fatalf("answer %d %.60q, want %d %.60q", r.status, r.body, status, body)
	}
}

// silent fails if an answer is there already.
func (p *peer) silent() {
	p.t.Helper()
	synctest.Wait()
	p.server.out.mu.Lock()
	defer p.server.out.mu.Unlock()
	if n := len(p.server.out.buf) + p.br.Buffered(); n > 0 {
		p.t.Fatalf("%d bytes of an answer came early", n)
	}
}

// open opens a session and returns its id.
func (p *peer) open() string {
	p.t.Helper()
	r := p.post("/open/1", "\x00")
	id, ok := strings.CutSuffix(r.body, "\n")
	if r.status != 200 || !ok || len(id) != 18 {
		p.t.Fatalf("open: %d %q", r.status, r.body)
	}
	return id
}

func send(id string, seq int) string { return "/send/" + id + "/" + strconv.Itoa(seq) }
func idle(id string, seq int) string { return "/idle/" + id + "/" + strconv.Itoa(seq) }

// accept returns the next session.
func (b *bench) accept() *tunnel.Conn {
	b.t.Helper()
	c, err := b.srv.Accept()
	if err != nil {
		b.t.Fatalf("accept: %v", err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c.(*tunnel.Conn)
}

// core runs f for each piece of data that the next session receives, as an
// RTMP core would: reading, answering, and reading again. Where connections can be
// parked it has no goroutine while it waits.
func (b *bench) core(f func(c *tunnel.Conn, data []byte)) {
	if b.park {
		b.parkedCore(f)
		return
	}
	b.wg.Go(func() {
		nc, err := b.srv.Accept()
		if err != nil {
			return
		}
		c := nc.(*tunnel.Conn)
		pool := sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}
		for {
			buf, n, err := c.LazyRead(&pool)
			if err != nil {
				break
			}
			f(c, (*buf)[:n])
			pool.Put(buf)
		}
		_ = c.Close()
	})
}

func (b *bench) parkedCore(f func(c *tunnel.Conn, data []byte)) {
	b.wg.Go(func() {
		nc, err := b.srv.Accept()
		if err != nil {
			return
		}
		c := nc.(*tunnel.Conn)
		pool := sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}
		left := make(chan struct{})
		if !c.Park(func() bool {
			for {
				buf, n, err := c.TryRead(&pool)
				if err != nil {
					return errors.Is(err, syscall.EAGAIN)
				}
				f(c, (*buf)[:n])
				pool.Put(buf)
			}
		}, func() { close(left) }) {
			b.t.Error("a session cannot be parked")
			return
		}
		<-left
		_ = c.Close()
	})
}

// echo answers everything with itself.
func echo(c *tunnel.Conn, data []byte) { _, _ = c.Write(data) }

// mute answers nothing.
func mute(*tunnel.Conn, []byte) {}

// took runs f and returns how long it took on the bubble's clock.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
