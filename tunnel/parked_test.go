package tunnel_test

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// TestParkedConnection has requests in one piece and in several.
func TestParkedConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, tunnel.Config{HoldSetup: -1})
		b.park = true
		b.srv.ParkAtOnce()
		p := b.connect()
		conn := p.conn.(*parkConn)
		b.core(echo)
		id := p.open()
		if n := conn.parks.Load(); n != 0 {
			t.Errorf("parked %d times after one request", n)
		}
		seq := 0
		calm := func(times int32) {
			t.Helper()
			for range 3 {
				p.post(idle(id, seq), "\x00")
				seq++
			}
			p.send(send(id, seq), "x")
			seq++
			p.expect(200, "\x01x")
			if n := conn.parks.Load(); n != times {
				t.Errorf("parked %d times, want %d", n, times)
			}
		}
		calm(1)
		r := request(send(id, seq), "in two pieces")
		p.write(r[:60])
		synctest.Wait()
		p.write(r[60:])
		seq++
		p.expect(200, "\x01in two pieces")
		calm(2)
		p.write(request(idle(id, seq), "\x00") + request(send(id, seq+1), "pipelined") + request("/close/"+id, "\x00"))
		p.expect(200, "\x01")
		p.expect(200, "\x01pipelined")
		p.expect(200, "\x00")
		_ = p.nc.Close()
		if err := p.end(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestParkedConnectionEnds ends parked connections in all the ways there are.
func TestParkedConnectionEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(b *bench, p *peer, id string)
		want error
		late time.Duration
	}{
		"client":   {func(_ *bench, p *peer, _ string) { _ = p.nc.Close() }, nil, 0},
		"server":   {func(b *bench, _ *peer, _ string) { _ = b.srv.Close() }, tunnel.ErrServerClosed, 0},
		"silence":  {func(*bench, *peer, string) {}, os.ErrDeadlineExceeded, 102 * time.Second},
		"a secret": {func(_ *bench, p *peer, _ string) { p.write("SECRET\r\n\r\n"); _, _ = io.ReadAll(p.br) }, tunnel.ErrMalformed, time.Second},
		"half": {func(_ *bench, p *peer, id string) {
			p.write(request(send(id, 3), "0123456789")[:115])
			_ = p.nc.Close()
		}, io.ErrUnexpectedEOF, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, tunnel.Config{HoldSetup: -1})
				b.park = true
				b.srv.ParkAtOnce()
				p := b.connect()
				id := p.open()
				for i := range 3 {
					p.post(idle(id, i), "\x00")
				}
				synctest.Wait()
				if n := p.conn.(*parkConn).parks.Load(); n != 1 {
					t.Fatalf("parked %d times", n)
				}
				start := time.Now()
				tc.end(b, p, id)
				if err := p.end(); !errors.Is(err, tc.want) {
					t.Errorf("ended with %v, want %v", err, tc.want)
				}
				if d := time.Since(start); d > tc.late || tc.late > time.Minute && d < 90*time.Second {
					t.Errorf("ended after %v", d)
				}
			})
		})
	}
}

// TestParkedSession has a reader without a goroutine meet what a session can bring.
func TestParkedSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, tunnel.Config{})
		b.park = true
		b.srv.ParkAtOnce()
		p, q := b.connect(), b.connect()
		id := p.open()
		got, left := "", 0
		p.send(send(id, 0), "0")
		c := b.accept()
		stay := true
		pool := sync.Pool{New: func() any { b := make([]byte, 100); return &b }}
		step := func() bool {
			for {
				k, n, err := c.TryRead(&pool)
				if err != nil {
					return errors.Is(err, syscall.EAGAIN) && stay
				}
				got += string((*k)[:n])
			}
		}
		if !c.Park(step, func() { left++ }) {
			t.Fatal("cannot be parked")
		}
		p.expect(200, "\x01") // what was there before is read
		q.send(send(id, 2), "2")
		q.silent()
		p.send(send(id, 1), "1")
		p.expect(200, "\x01")
		q.expect(200, "\x01")
		if got != "012" || left != 0 {
			t.Errorf("got %q, left %d times", got, left)
		}
		stay = false
		c.Wake()
		synctest.Wait()
		if left != 1 {
			t.Errorf("left %d times after Wake", left)
		}
		stay = true
		c.Wake()
		c.Park(func() bool { got += "!"; return false }, func() { left++ })
		synctest.Wait()
		if got != "012!" || left != 2 {
			t.Errorf("Wake before Park: got %q, left %d times", got, left)
		}
		c.Park(step, func() { left++ })
		p.post("/close/"+id, "")
		synctest.Wait()
		if left != 3 {
			t.Errorf("left %d times after the end of the session", left)
		}
	})
	d, err := (&tunnel.Dialer{DialConn: newBench(t, tunnel.Config{}).dial}).DialContext(t.Context(), "tcp", "h:80")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Park(func() bool { return true }, func() {}) {
		t.Error("a dialled Conn was parked")
	}
}

// TestParkedUnread overflows the answers of a parked connection.
func TestParkedUnread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, tunnel.Config{MaxUnread: 8 << 10, MaxAnswer: 4 << 10})
		b.park = true
		b.srv.ParkAtOnce()
		p := b.connectWith(1<<10, tunnel.ConnInfo{})
		id := p.open()
		p.send(idle(id, 0), "\x00")
		c := b.accept()
		_, _ = c.Write([]byte("x"))
		p.expect(200, "\x01x")
		for i := 1; i < 20; i++ {
			if _, err := io.WriteString(p.nc, request(idle(id, i), "\x00")); err != nil {
				break
			}
			_, _ = c.Write(make([]byte, 3000))
			synctest.Wait()
		}
		if err := p.end(); err == nil || b.srv.Stats().Rejected[tunnel.RejectUnread] != 1 {
			t.Errorf("ended with %v, counted %v", err, b.srv.Stats().Rejected)
		}
	})
}
