package tunnel_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

func TestCase06_AnswerCarriesWhatTheBodyCaused(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(func(c *tunnel.Conn, data []byte) {
			time.Sleep(300 * time.Millisecond) // a handshake takes its time
			for _, part := range []string{"s0", "s1", "s2"} {
				_, _ = c.Write([]byte(part))
			}
		})
		p := b.connect()
		id := p.open()
		if d := took(func() {
			p.send(send(id, 0), "c0c1")
			p.expect(200, "\x01s0s1s2")
		}); d != 300*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
	})
}

func TestCase07_HandshakeInPieces(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		got := 0
		b.core(func(c *tunnel.Conn, data []byte) {
			if got += len(data); got == 1537 {
				_, _ = c.Write(make([]byte, 3073))
			}
		})
		p := b.connect()
		id := p.open()
		for i, n := range []int{1, 700, 836} {
			r := p.post(send(id, i), strings.Repeat("c", n))
			want := 1
			if i == 2 {
				want = 3074
			}
			if r.status != 200 || len(r.body) != want {
				t.Errorf("send/%d: %d with %d bytes, want %d", i, r.status, len(r.body), want)
			}
		}
	})
}

func TestSendWaitIsBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		answers int // with data, before
		pub     bool
		want    time.Duration
	}{{0, false, time.Second}, {1, false, time.Second}, {2, false, 20 * time.Millisecond}, {2, true, 0}} {
		bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
			p := b.connect()
			id := p.open()
			p.send(idle(id, 0), "\x00")
			c := b.accept()
			p.expect(200, "\x01")
			for i := range tc.answers {
				_, _ = c.Write([]byte("d"))
				p.send(idle(id, i+1), "\x00")
				p.expect(200, "\x01d")
			}
			c.SetPublishing(tc.pub)
			if d := took(func() { p.post(send(id, tc.answers+1), "x") }); d != tc.want {
				t.Errorf("%+v: a core that does not read held the send for %v", tc, d)
			}
		})
	}
}

func TestCase09_Pipelined(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(func(c *tunnel.Conn, data []byte) {
			if bytes.HasSuffix(data, []byte("connect")) {
				_, _ = c.Write([]byte("_result"))
			}
		})
		p := b.connect()
		id := p.open()
		p.send(send(id, 0), "C2connect")
		p.expect(200, "\x01_result")
		p.write(request(send(id, 1), "C2") + request(send(id, 2), "connect"))
		first, second := p.answer(), p.answer()
		if first.status != 200 || second.status != 200 || first.body[1:]+second.body[1:] != "_result" || second.body == "\x01" {
			t.Errorf("answers %q, %q", first.body, second.body)
		}
	})
}

func TestCase10_HeldIdle(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		if d := took(func() {
			if r := p.post(idle(id, 0), "\x00"); r.status != 200 || r.body != "\x01" {
				t.Errorf("empty idle: %+v", r)
			}
		}); d != 400*time.Millisecond {
			t.Errorf("held for %v during setup", d)
		}
		c := b.accept()
		p.send(idle(id, 1), "\x00")
		time.Sleep(100 * time.Millisecond)
		p.silent()
		if d := took(func() {
			if n, err := c.TryWritev([][]byte{[]byte("da"), []byte("ta")}); n != 4 || err != nil {
				t.Errorf("TryWritev: %d, %v", n, err)
			}
			p.expect(200, "\x01data")
		}); d != 0 {
			t.Errorf("data took %v", d)
		}
		// Once media flows idles are held for longer.
		_, _ = c.Write(make([]byte, 20000))
		p.post(idle(id, 2), "\x00")
		if d := took(func() { p.post(idle(id, 3), "\x00") }); d != time.Second {
			t.Errorf("held for %v while playing", d)
		}
		// What is queued already is answered at once, with one answer per body.
		_, _ = c.Write([]byte("a"))
		_, _ = c.Write([]byte("b"))
		if d := took(func() {
			p.send(idle(id, 4), "\x00")
			p.expect(200, "\x01ab")
		}); d != 0 {
			t.Errorf("queued data took %v", d)
		}
	})
}

// TestPollLadder has a server that holds nothing ask clients to come less often while there is nothing for them.
func TestPollLadder(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Hold: -1, HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		ladder := append(bytes.Repeat([]byte{1}, 10), 3, 5, 9, 17, 33, 33)
		seq := 0
		climb := func() {
			t.Helper()
			var got []byte
			if d := took(func() {
				for range ladder {
					got = append(got, p.post(idle(id, seq), "\x00").body...)
					seq++
				}
			}); d != 0 || !bytes.Equal(got, ladder) {
				t.Errorf("poll bytes %v in %v, want %v at once", got, d, ladder)
			}
		}
		climb()
		_, _ = b.accept().Write([]byte("data"))
		p.send(idle(id, seq), "\x00")
		seq++
		p.expect(200, "\x01data")
		climb()
	})
}

func TestCoalesce(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Coalesce: 10 * time.Millisecond}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		c := b.accept()
		time.Sleep(50 * time.Millisecond)
		_, _ = c.Write([]byte("a"))
		if d := took(func() {
			time.Sleep(5 * time.Millisecond)
			_, _ = c.Write([]byte("b"))
			p.expect(200, "\x01ab")
		}); d != 10*time.Millisecond {
			t.Errorf("answered %v after the first byte", d)
		}
	})
}

func TestCase11_ReleasedByAnotherConnection(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p, q := b.connect(), b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		p.silent()
		if d := took(func() {
			q.send(send(id, 1), "x")
			q.expect(200, "\x01x")
			p.expect(200, "\x01")
		}); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

func TestCase12_ReleasedByReadableBytes(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p := b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		p.silent()
		if d := took(func() {
			p.write("P") // one byte of the next request is enough
			p.expect(200, "\x01")
		}); d != 0 {
			t.Errorf("released after %v", d)
		}
		p.write(request(send(id, 1), "x")[1:])
		p.expect(200, "\x01x")
	})
}

func TestCase13_PublishingIsNeverHeld(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		c := b.accept()
		if !c.Quiet() {
			t.Error("not quiet")
		}
		p.silent()
		if d := took(func() {
			c.SetPublishing(true) // releases the idle
			p.expect(200, "\x01")
			for i := range 50 {
				p.send(send(id, 1+i), "x")
				p.expect(200, "\x01")
			}
		}); d != 0 {
			t.Errorf("publisher waited %v", d)
		}
		var got []byte
		if d := took(func() {
			for i := range 20 {
				got = append(got, p.post(idle(id, 51+i), "\x00").body...)
			}
		}); d != 0 {
			t.Errorf("publisher's idles were held for %v", d)
		}
		ladder := append(bytes.Repeat([]byte{1}, 9), 3, 5, 9, 17, 33)
		if !bytes.HasPrefix(got, ladder) || got[19] != 33 {
			t.Errorf("poll bytes %v", got)
		}
		// A publisher that has stopped sending is held like others.
		time.Sleep(2 * time.Second)
		if d := took(func() { p.post(idle(id, 71), "\x00") }); d != 400*time.Millisecond {
			t.Errorf("the idle of a silent publisher was held for %v", d)
		}
		p.send(send(id, 72), "x")
		p.expect(200, "\x01")
		if d := took(func() { p.post(idle(id, 73), "\x00") }); d != 0 {
			t.Errorf("the idle of a publisher that sends again was held for %v", d)
		}
		_, _ = c.Write([]byte("y"))
		p.send(idle(id, 74), "\x00")
		p.expect(200, "\x01y")
		p.send(idle(id, 75), "\x00")
		p.expect(200, "\x01")
		if n := b.srv.Stats().Published; n != 1 {
			t.Errorf("%d publishing", n)
		}
		c.SetPublishing(false)
		if d := took(func() { p.post(idle(id, 76), "\x00") }); d != 400*time.Millisecond {
			t.Errorf("held for %v after publishing", d)
		}
	})
}

func TestCase23_LargeAnswers(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{QueueBytes: 256 << 10}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		want := make([]byte, 200<<10)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		// Groups of 3,000 to 30,000 bytes, one larger than an answer.
		sizes := map[int]bool{}
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 3000+len(rest)%27000)
			if len(rest) < 90<<10 && len(rest) > 80<<10 {
				n = 70 << 10
			}
			if k, err := c.TryWritev([][]byte{rest[:n/3], rest[n/3 : n]}); k != n || err != nil {
				t.Fatalf("TryWritev: %d, %v", k, err)
			}
			rest = rest[n:]
			sizes[len(want)-len(rest)] = true
		}
		var got []byte
		for seq := 1; len(got) < len(want); seq++ {
			r := p.post(idle(id, seq), "\x00")
			if len(r.body) > 64<<10 || len(r.body) < 2 {
				t.Fatalf("answer of %d bytes", len(r.body))
			}
			got = append(got, r.body[1:]...)
			if !sizes[len(got)] && len(r.body) < 60<<10 {
				t.Errorf("a group was cut after %d bytes", len(got))
			}
		}
		if !bytes.Equal(got, want) {
			t.Error("the bytes differ")
		}
	})
}

func TestCase28_FewPolls(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		polls := 0
		for start := time.Now(); time.Since(start) < 10*time.Second; polls++ {
			p.post(idle(id, polls), "\x00")
		}
		if polls > 50 {
			t.Errorf("%d polls in 10 s", polls)
		}
	})
}

func TestTryWritev(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{QueueBytes: 1000, MaxAnswer: 500}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		try := func(n, want int, wantErr error) {
			t.Helper()
			got, err := c.TryWritev([][]byte{make([]byte, n/2), make([]byte, n-n/2)})
			if got != want || !errors.Is(err, wantErr) {
				t.Errorf("TryWritev of %d: %d, %v, want %d, %v", n, got, err, want, wantErr)
			}
		}
		try(700, 700, nil)
		try(400, 0, syscall.EAGAIN)    // would fit later: not cut
		try(1500, 300, syscall.EAGAIN) // never fits: cut
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if d := took(func() {
			if err := c.WaitWritable(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("WaitWritable: %v", err)
			}
		}); d != time.Second {
			t.Errorf("waited %v", d)
		}
		_ = c.SetWriteDeadline(time.Time{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.WaitWritable(); err != nil {
				t.Errorf("WaitWritable: %v", err)
			}
		})
		synctest.Wait()
		p.post(idle(id, 1), "\x00")
		p.post(idle(id, 2), "\x00")
		wg.Wait()
		wg.Go(func() {
			for {
				if err := c.WaitWritable(); err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("WaitWritable: %v", err)
					}
					return
				}
				if _, err := c.TryWritev([][]byte{make([]byte, 1000)}); err != nil && !errors.Is(err, syscall.EAGAIN) {
					return
				}
			}
		})
		synctest.Wait()
		_ = c.Close()
		wg.Wait()
		try(1, 0, net.ErrClosed)
	})
}
