package tunnel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
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
		_, _ = c.Write([]byte("y"))
		p.send(idle(id, 71), "\x00")
		p.expect(200, "\x01y")
		p.send(idle(id, 72), "\x00")
		p.expect(200, "\x01")
		if n := b.srv.Stats().Published; n != 1 {
			t.Errorf("%d publishing", n)
		}
		c.SetPublishing(false)
		if d := took(func() { p.post(idle(id, 73), "\x00") }); d != 400*time.Millisecond {
			t.Errorf("held for %v after publishing", d)
		}
	})
}

func TestCase14_Replay(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		var core bytes.Buffer
		b.core(func(c *tunnel.Conn, data []byte) {
			core.Write(data)
			_, _ = fmt.Fprintf(c, "%s-%d", data, core.Len())
		})
		p := b.connect()
		id := p.open()
		first := p.post(send(id, 0), "body")
		for _, q := range []*peer{p, b.connect()} {
			if again := q.post(send(id, 0), "body"); again != first {
				t.Errorf("repeated: %+v, want %+v", again, first)
			}
		}
		empty := p.post(idle(id, 1), "\x00")
		if again := p.post(idle(id, 1), "\x00"); again != empty {
			t.Errorf("repeated idle: %+v, want %+v", again, empty)
		}
		// Repeated while the first is still held: both get the one answer.
		q := b.connect()
		p.send(idle(id, 2), "\x00")
		p.silent()
		q.send(idle(id, 2), "\x00")
		q.silent()
		p.expect(200, "\x01")
		q.expect(200, "\x01")
		p.post(send(id, 3), "!")
		if core.String() != "body!" {
			t.Errorf("core saw %q", core.String())
		}
		if n := b.srv.Stats().Replays; n != 4 {
			t.Errorf("%d replays counted, want 4", n)
		}
	})
}

func TestCase15_Early(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		var core bytes.Buffer
		b.core(func(_ *tunnel.Conn, data []byte) { core.Write(data) })
		p, q := b.connect(), b.connect()
		id := p.open()
		for i := range 7 {
			p.post(send(id, i), "")
		}
		q.send(send(id, 8), "8")
		q.silent()
		p.send(send(id, 7), "7")
		p.expect(200, "\x01")
		q.expect(200, "\x01")
		if core.String() != "78" {
			t.Errorf("core saw %q", core.String())
		}
		// 10 without 9.
		if d := took(func() {
			q.send(send(id, 10), "x")
			q.expect(404, "\x00")
		}); d != 5*time.Second {
			t.Errorf("parked for %v", d)
		}
		p.send(send(id, 9), "9")
		p.expect(404, "\x00")
		if core.String() != "78" {
			t.Errorf("core saw %q", core.String())
		}
		if st := b.srv.Stats(); st.Parked != 2 || st.Rejected[tunnel.RejectLost] != 1 || st.Sessions != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestParkingIsBounded(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{ParkedBytes: 1000}, func(t *testing.T, b *bench) {
		b.core(mute)
		id := b.connect().open()
		var all []*peer
		park := func(seq int, body string) *peer {
			q := b.connect()
			q.send(send(id, seq), body)
			all = append(all, q)
			return q
		}
		b.connect().post(send(id, 0), "x")
		for i := 2; i <= 9; i++ {
			park(i, "x").silent()
		}
		park(10, "x").expect(404, "\x00") // out of range: no effect
		b.connect().send(send(id, 1), "x")
		for _, q := range all[:8] {
			q.expect(200, "\x01")
		}
		park(11, strings.Repeat("x", 600)).silent()
		park(12, strings.Repeat("x", 600)).expect(404, "\x00") // too many bytes: the session ends
		all[9].expect(404, "\x00")
		if n := b.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

func TestCase16_FirstNumber(t *testing.T) {
	t.Parallel()
	for _, first := range []int{0, 1} {
		bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
			b.core(echo)
			p := b.connect()
			id := p.open()
			p.post(idle(id, first), "\x00")
			for i := range 3 {
				p.send(send(id, first+1+i), "x")
				p.expect(200, "\x01x")
			}
			p.send(idle(id, 100), "\x00") // nonsense: nothing for it
			p.expect(200, "\x01")
			p.send(send(id, 100), "z")
			p.expect(404, "\x00")
			p.send(send(id, first+4), "y")
			p.expect(200, "\x01y")
		})
	}
}

func TestSequenceWraps(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		b.core(echo)
		p := b.connect()
		id := p.open()
		p.post(send(id, 0), "x")
		// Signed and unsigned forms of the same 32 bits are the same number.
		p.write(request("/send/"+id+"/4294967297", "a"))
		p.expect(200, "\x01a")
		p.write(request("/send/"+id+"/-4294967295", "a"))
		p.expect(200, "\x01a") // the same again: a repetition
		p.write(request("/send/"+id+"/-4294967294", "b"))
		p.expect(200, "\x01b")
		for _, far := range []string{"-1", "-2147483648", "2147483647", "999999999999999999"} {
			p.write(request("/send/"+id+"/"+far, "c"))
			p.expect(404, "\x00")
		}
		p.write(request("/send/"+id+"/99999999999999999999", "c"))
		p.expect(404, "\x00")
		p.send(send(id, 3), "d")
		p.expect(200, "\x01d")
	})
}

func TestCase23_LargeAnswers(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
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

func TestCase24_End(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		_, _ = c.Write(make([]byte, 100<<10))
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		total := 0
		var last reply
		for seq := 1; total < 100<<10; seq++ {
			last = p.post(idle(id, seq), "\x00")
			if last.status != 200 {
				t.Fatalf("%d after %d bytes", last.status, total)
			}
			total += len(last.body) - 1
		}
		if again := p.post(idle(id, 2), "\x00"); again != last {
			t.Errorf("the last answer cannot be fetched again: %d", again.status)
		}
		for seq := 3; seq < 5; seq++ {
			p.send(idle(id, seq), "\x00")
			p.expect(404, "\x00")
			p.send(send(id, seq), "x")
			p.expect(404, "\x00")
		}
		p.send("/close/"+id+"/5", "\x00")
		p.expect(200, "\x00")
		p.open() // the connection stays
	})
	// With nothing left to say a held idle is answered 404.
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		c := b.accept()
		p.silent()
		_ = c.Close()
		p.expect(404, "\x00")
	})
	// A client that does not come for the rest does not keep the session.
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		_, _ = c.Write([]byte("rest"))
		_ = c.Close()
		time.Sleep(29 * time.Second)
		if n := b.srv.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions before the idle time", n)
		}
		time.Sleep(2 * time.Second)
		if n := b.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions after the idle time", n)
		}
	})
}

func TestCase25_Expiry(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		unused, id := p.open(), p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		end := make(chan error, 1)
		go func() { // ends with the session
			_, err := c.Read(make([]byte, 1))
			end <- err
		}()
		time.Sleep(14 * time.Second)
		if n := b.srv.Stats().Sessions; n != 2 {
			t.Errorf("%d sessions", n)
		}
		time.Sleep(1 * time.Second)
		if n := b.srv.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions, the unused one is to be gone", n)
		}
		if d := took(func() {
			if err := <-end; !errors.Is(err, tunnel.ErrSessionExpired) {
				t.Errorf("read: %v", err)
			}
		}); d != 14600*time.Millisecond { // 30 s after its idle came, which was held 400 ms
			t.Errorf("expired %v later", d)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, tunnel.ErrSessionExpired) {
			t.Errorf("write: %v", err)
		}
		for _, id := range []string{unused, id} {
			p.send(idle(id, 1), "\x00")
			p.expect(404, "\x00")
		}
	})
}

func TestCase26_CloseWithoutReading(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		var core bytes.Buffer
		ended := make(chan struct{})
		p := b.connect()
		id := p.open()
		b.wg.Go(func() {
			defer close(ended)
			nc, err := b.srv.Accept()
			if err != nil {
				return
			}
			time.Sleep(time.Millisecond) // everything is there when it begins to read
			if _, err := io.Copy(&core, nc); err != nil {
				t.Errorf("copy: %v", err)
			}
			if _, err := nc.Write([]byte("x")); !errors.Is(err, tunnel.ErrSessionEnded) {
				t.Errorf("write: %v", err)
			}
			_ = nc.Close()
		})
		p.write(request(send(id, 0), "FCUnpublish") + request(send(id, 1), "deleteStream") + request("/close/"+id+"/2", "\x00"))
		_ = p.nc.Close()
		<-ended
		if core.String() != "FCUnpublishdeleteStream" {
			t.Errorf("core saw %q", core.String())
		}
		<-p.ended
		if n := b.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestCase27_NeverReads(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		got := 0
		b.core(func(_ *tunnel.Conn, data []byte) { got += len(data) })
		p := b.connectWith(4<<10, tunnel.ConnInfo{})
		id := p.open()
		for i := range 5000 {
			p.send(send(id, i), "0123456789")
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if got != 50000 {
			t.Errorf("core saw %d bytes", got)
		}
		for i := range 5000 {
			if r := p.answer(); r.status != 200 || r.body != "\x01" {
				t.Fatalf("answer %d: %+v", i, r)
			}
		}
		p.send(idle(id, 5000), "\x00")
		p.expect(200, "\x01")
	})
	bubble(t, tunnel.Config{MaxUnread: 100 << 10}, func(t *testing.T, b *bench) {
		b.core(mute)
		p := b.connectWith(4<<10, tunnel.ConnInfo{})
		id := p.open()
		var err error
		for i := 0; i < 5000 && err == nil; i++ {
			_, err = io.WriteString(p.nc, request(send(id, i), "x"))
		}
		if err == nil {
			t.Error("the connection outlived 600 KB of answers that nobody reads")
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectUnread]; n != 1 {
			t.Errorf("counted %d times", n)
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

func TestStalledCore(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{MaxRequest: 1000}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(idle(id, 0), "\x00")
		c := b.accept()
		p.post(send(id, 1), strings.Repeat("a", 600))
		p.send(send(id, 2), strings.Repeat("b", 600))
		p.silent()
		buf := make([]byte, 2000)
		if n, err := c.Read(buf); n != 600 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		p.expect(200, "\x01") // now it has room
		p.send(send(id, 3), strings.Repeat("c", 600))
		if d := took(func() { p.expect(404, "\x00") }); d != 10*time.Second {
			t.Errorf("ended after %v", d)
		}
		if n, err := c.Read(buf); n != 600 || err != nil {
			t.Errorf("what was taken is lost: %d, %v", n, err)
		}
		if _, err := c.Read(buf); !errors.Is(err, tunnel.ErrStalled) {
			t.Errorf("read: %v", err)
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
			if err := c.WaitWritable(); err == nil || !err.(net.Error).Timeout() {
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

// TestLostConnection loses the connection of a held idle. Data that comes later
// is not written to it but kept for whatever the client asks next.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(p *peer){
		"closed": func(p *peer) { _ = p.nc.Close() },
		"broken": func(p *peer) { _ = p.server.SetReadDeadline(time.Unix(1, 0)) },
	} {
		for _, next := range []int{0, 1} {
			t.Run(fmt.Sprint(name, next), func(t *testing.T) {
				t.Parallel()
				bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
					p := b.connect()
					id := p.open()
					p.send(idle(id, 0), "\x00")
					c := b.accept()
					p.silent()
					lose(p)
					<-p.ended
					_, _ = c.Write([]byte("data"))
					time.Sleep(2 * time.Second)
					q := b.connect()
					got := q.post(idle(id, next), "\x00").body
					got += q.post(idle(id, next+1), "\x00").body[1:]
					if got != "\x01data" {
						t.Errorf("got %q", got)
					}
				})
			})
		}
	}
}
