package tunnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

var errCut = errors.New("cut")

// cutConn is a connection that is lost after so many bytes in one of its
// directions, inside a request or an answer.
type cutConn struct {
	net.Conn
	mu       sync.Mutex
	up, down int
}

// spend takes n bytes from a budget and says how many are left to pass.
func (c *cutConn) spend(left *int, n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < *left {
		*left -= n
		return n, false
	}
	n, *left = *left, 0
	return n, true
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, err
	}
	n, cut := c.spend(&c.down, n)
	if cut {
		_ = c.Close()
		return n, errCut
	}
	return n, nil
}

func (c *cutConn) Write(b []byte) (int, error) {
	n, cut := c.spend(&c.up, len(b))
	n, err := c.Conn.Write(b[:n])
	if err == nil && cut {
		_ = c.Close()
		return n, errCut
	}
	return n, err
}

// slowProxy passes bytes on in small pieces, and some of them late.
type slowProxy struct {
	net.Conn
	mu  sync.Mutex
	rng *rand.Rand
}

// piece is how many of n bytes go together, after how long.
func (p *slowProxy) piece(n int) (int, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := time.Duration(0)
	if p.rng.IntN(4) == 0 {
		d = time.Duration(p.rng.IntN(30)) * time.Millisecond
	}
	return 1 + p.rng.IntN(min(n, 900)), d
}

func (p *slowProxy) Read(b []byte) (int, error) {
	n, d := p.piece(len(b))
	time.Sleep(d)
	return p.Conn.Read(b[:n])
}

func (p *slowProxy) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		m, d := p.piece(len(b))
		time.Sleep(d)
		m, err = p.Conn.Write(b[:m])
		n += m
		b = b[m:]
	}
	return n, err
}

// exchangeBytes sends size random bytes each way and compares them.
func exchangeBytes(t *testing.T, client, server net.Conn, size int, seed uint64) {
	t.Helper()
	var wg sync.WaitGroup
	transfer := func(name string, from, to net.Conn, seed uint64) {
		want := make([]byte, size)
		r := rand.New(rand.NewPCG(seed, 2))
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 3))
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+r.IntN(5000))
				if _, err := from.Write(rest[:n]); err != nil {
					t.Errorf("%s: write with %d bytes to go: %v", name, len(rest), err)
					return
				}
				rest = rest[n:]
			}
		})
		wg.Go(func() {
			got := make([]byte, size)
			if n, err := io.ReadFull(to, got); err != nil {
				t.Errorf("%s: read after %d bytes: %v", name, n, err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s: the bytes differ", name)
			}
		})
	}
	transfer("up", client, server, 2*seed)
	transfer("down", server, client, 2*seed+1)
	wg.Wait()
}

// TestCutConnections loses connections at random bytes and repeats the
// requests: everything arrives once and in order, both ways.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cuts, rng := 0, rand.New(rand.NewPCG(seed, 1))
				budget := func() int { return 1 + int(rng.ExpFloat64()*float64(int(3000)<<(2*(seed%3)))) }
				b := newBench(t, tunnel.Config{MaxAnswer: 4 << 10, IdleTimeout: time.Hour})
				if b.park = seed%2 == 1; b.park {
					b.srv.ParkAtOnce()
				}
				d := tunnel.Dialer{Redials: 1 << 20, MaxSend: 4 << 10, NoPipelining: seed == 2, DialConn: func(context.Context, string, string) (net.Conn, error) {
					p := b.connect()
					cuts++
					nc := p.nc
					if seed >= 3 {
						nc = &slowProxy{Conn: nc, rng: rand.New(rand.NewPCG(seed, uint64(cuts)))}
					}
					c := &cutConn{Conn: nc, up: budget(), down: budget()}
					if cuts == 1 { // the answer to open cannot be had again
						c.up += 1000
						c.down += 1000
					}
					return c, nil
				}}
				client, err := d.DialContext(t.Context(), "tcp", "server:80")
				if err != nil {
					t.Fatal(err)
				}
				server := b.accept()
				exchangeBytes(t, client, server, size, seed)
				_ = server.Close()
				_ = client.Close()
				st := b.srv.Stats()
				t.Logf("%d connections, %d requests answered again", cuts, st.Replays)
				if cuts < 10 || st.Replays == 0 {
					t.Error("the connections were not cut")
				}
			})
		})
	}
}

// TestCutConnectionsHTTP2 does the same over HTTP/2, with a send beside each idle, and
// cuts anywhere from the TLS handshake on.
func TestCutConnectionsHTTP2(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			cuts, rng := 0, rand.New(rand.NewPCG(seed, 1))
			b, d := overH2(t, tunnel.Config{MaxAnswer: 4 << 10}, nil)
			dial := d.DialConn
			d.Redials, d.MaxSend = 1<<20, 4<<10
			d.DialConn = func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := dial(ctx, network, addr)
				mu.Lock()
				defer mu.Unlock()
				budget := func() int { return 1 + int(rng.ExpFloat64()*80_000) }
				c := &cutConn{Conn: nc, up: budget(), down: budget()}
				if cuts++; cuts == 1 { // the answer to open cannot be had again
					c.up += 4000
					c.down += 4000
				}
				return c, err
			}
			client, server := b.dialled(t, d)
			exchangeBytes(t, client, server, 1<<20, seed)
			st := b.srv.Stats()
			mu.Lock()
			defer mu.Unlock()
			t.Logf("%d connections, %d requests answered again", cuts, st.Replays)
			if cuts < 10 || st.Replays == 0 {
				t.Error("the connections were not cut")
			}
		})
	}
}
