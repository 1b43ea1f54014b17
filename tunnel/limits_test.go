package tunnel_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// Tests that go up to a limit and one beyond it.

func TestHeadLimit(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{MaxHead: 500, HoldSetup: -1}, func(t *testing.T, b *bench) {
		head := func(path string, size int) string {
			const form = "POST %s HTTP/1.1\r\nContent-Length: 1\r\nX: %s\r\n\r\n"
			return fmt.Sprintf(form, path, strings.Repeat("x", size-len(form)+4-len(path)))
		}
		p := b.connect()
		id := p.open()
		seq := 0
		post := func(p *peer, size, cut int) reply {
			t.Helper()
			text := head(idle(id, seq), size) + "\x00"
			p.write(text[:cut])
			synctest.Wait()
			p.write(text[cut:])
			seq++
			return p.answer()
		}
		for _, cut := range []int{0, 1, 499} {
			for range 3 { // the last ones find a connection that may be parked
				if r := post(p, 500, cut); r.status != 200 {
					t.Errorf("a head of 500 bytes, cut at %d: %+v", cut, r)
				}
			}
		}
		for i, cut := range []int{0, 1, 499, 500} {
			q := b.connect()
			for range 3 {
				post(q, 100, 0)
			}
			if r := post(q, 501, cut); r.status != 400 {
				t.Errorf("a head of 501 bytes, cut at %d: %+v", cut, r)
			}
			seq--
			if _, err := q.read(); err == nil {
				t.Errorf("cut at %d: the connection was kept", cut)
			}
			if n := b.srv.Stats().Rejected[tunnel.RejectHead]; n != uint64(i+1) {
				t.Errorf("counted %d times, want %d", n, i+1)
			}
			if err := q.end(); !errors.Is(err, tunnel.ErrHead) {
				t.Errorf("cut at %d: ended with %v", cut, err)
			}
		}
	})
}

// early opens a session of which number 0 was answered.
func early(b *bench) (id string, park func(seq int, body string) *peer) {
	b.core(mute)
	p := b.connect()
	id = p.open()
	p.post(send(id, 0), "x")
	return id, func(seq int, body string) *peer {
		q := b.connect()
		q.send(send(id, seq), body)
		return q
	}
}

// refusedAtOnce tells a refusal from the end of a session that waited in vain.
func refusedAtOnce(t *testing.T, p *peer) {
	t.Helper()
	if d := took(func() { p.expect(404, "\x00") }); d != 0 {
		t.Errorf("refused after %v", d)
	}
}

func TestEarlyRequestsLimit(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{ParkedRequests: 3}, func(t *testing.T, b *bench) {
		_, park := early(b)
		var waiting []*peer
		for seq := 2; seq <= 4; seq++ {
			q := park(seq, "x")
			q.silent()
			waiting = append(waiting, q)
		}
		refusedAtOnce(t, park(5, "x"))
		for _, q := range waiting {
			q.expect(404, "\x00")
		}
		if st := b.srv.Stats(); st.Sessions != 0 || st.Rejected[tunnel.RejectLost] != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestEarlyBytesLimit(t *testing.T) {
	t.Parallel()
	body := func(n int) string { return strings.Repeat("x", n) }
	bubble(t, tunnel.Config{ParkedBytes: 1000}, func(t *testing.T, b *bench) {
		id, park := early(b)
		answered := func(list ...*peer) {
			t.Helper()
			for _, q := range list {
				q.expect(200, "\x01")
			}
		}
		first, second := park(2, body(400)), park(3, body(600))
		second.silent()
		one := b.connect()
		one.send(send(id, 1), "x")
		answered(one, first, second)
		// Those that were processed have given their bytes back.
		full := park(5, body(1000))
		full.silent()
		// The same request again, which is one more that waits for its answer.
		again := park(5, body(1000))
		again.silent()
		four := b.connect()
		four.send(send(id, 4), "x")
		answered(four, full, again)
		full = park(7, body(1000))
		full.silent()
		// A connection that is lost takes its bytes with it.
		_ = full.server.SetReadDeadline(time.Unix(1, 0))
		_ = full.end()
		full = park(7, body(1000))
		full.silent()
		six := b.connect()
		six.send(send(id, 6), "x")
		answered(six, full)
		full = park(9, body(400))
		full.silent()
		refusedAtOnce(t, park(10, body(601)))
		full.expect(404, "\x00")
		if st := b.srv.Stats(); st.Sessions != 0 || st.Rejected[tunnel.RejectLost] != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestSameRequestLimit sends one request on more connections than may wait for its
// answer, before its turn and in it.
func TestSameRequestLimit(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{ParkedRequests: 2}, func(t *testing.T, b *bench) {
		id, park := early(b)
		list := []*peer{park(2, "x"), park(2, "x"), park(2, "x")}
		list[2].silent()
		park(2, "x").expect(404, "\x00")
		one := b.connect()
		one.send(send(id, 1), "x")
		for _, q := range append(list, one) {
			q.expect(200, "\x01")
		}
		hold := func() *peer {
			q := b.connect()
			q.send(idle(id, 3), "\x00")
			return q
		}
		list = []*peer{hold(), hold(), hold()}
		list[2].silent()
		hold().expect(404, "\x00")
		for _, q := range list {
			q.expect(200, "\x01")
		}
	})
}

// TestGuessersAreBounded guesses session ids from as many addresses as are counted,
// and from one more.
func TestGuessersAreBounded(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		guess := func(i int) time.Duration {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/send/123456789012345678/1", http.NoBody)
			r.RemoteAddr = fmt.Sprintf("10.1.%d.%d:1", i>>8, i&0xFF)
			return took(func() { b.srv.ServeHTTP(httptest.NewRecorder(), r) })
		}
		for i := range 4096 {
			if d := guess(i); d != 0 {
				t.Fatalf("the guess of address %d was delayed by %v", i, d)
			}
		}
		if d := guess(4096); d != time.Second {
			t.Errorf("beyond the addresses that are counted: delayed by %v", d)
		}
		if d := guess(0); d != 0 {
			t.Errorf("an address that is counted: delayed by %v", d)
		}
		time.Sleep(11 * time.Second)
		if d := guess(4096); d != 0 {
			t.Errorf("later: delayed by %v", d)
		}
	})
}

// plain is a connection without any ability.
type plain struct{ net.Conn }

func TestUnreadLimit(t *testing.T) {
	t.Parallel()
	const answers = 20
	size := 0
	bubble(t, tunnel.Config{}, func(_ *testing.T, b *bench) {
		r := b.connect().post("/close/2", "")
		size = len(r.head) + len(r.body)
	})
	for name, tt := range map[string]struct {
		taken   int // bytes of the answers that the connection has
		connect func(b *bench) net.Conn
	}{
		"without waiting": {1000, func(b *bench) net.Conn { return b.connectWith(1000, tunnel.ConnInfo{}).nc }},
		"waiting": {0, func(b *bench) net.Conn { // for the first byte of the first answer
			client, server := memPipe(1)
			b.wg.Go(func() { _ = b.srv.ServeConn(plain{server}, tunnel.ConnInfo{}) })
			b.t.Cleanup(func() { _ = client.Close() })
			return client
		}},
	} {
		bubble(t, tunnel.Config{MaxUnread: answers*size - tt.taken}, func(t *testing.T, b *bench) {
			c := tt.connect(b)
			for i := range answers + 1 {
				if n := b.srv.Stats().Rejected[tunnel.RejectUnread]; n != 0 {
					t.Fatalf("%s: closed after %d answers", name, i)
				}
				if _, err := io.WriteString(c, request("/close/2", "")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if n := b.srv.Stats().Rejected[tunnel.RejectUnread]; n != 1 {
				t.Errorf("%s: counted %d times after %d answers", name, n, answers+1)
			}
		})
	}
}

// TestEndedSessionsAreBounded opens and closes sessions as fast as it can.
func TestEndedSessionsAreBounded(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Sessions: 3}, func(t *testing.T, b *bench) {
		p := b.connect()
		last := ""
		for range 20 {
			last = p.open()
			p.post("/close/"+last, "")
		}
		if n := b.srv.Stats().Ended; n != 3 {
			t.Errorf("%d ended sessions are remembered, want 3", n)
		}
		p.send(idle(last, 0), "\x00")
		p.expect(404, "\x00")
		time.Sleep(11 * time.Second)
		if n := b.srv.Stats().Ended; n != 0 {
			t.Errorf("%d ended sessions are remembered for ever", n)
		}
	})
}

// TestInputLimit has a reader that does not read.
func TestInputLimit(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{MaxRequest: 1000}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		p.post(send(id, 0), strings.Repeat("a", 600))
		c := b.accept()
		if d := took(func() { p.post(send(id, 1), strings.Repeat("b", 400)) }); d > 2*time.Second {
			t.Errorf("what fits waited for %v", d)
		}
		p.send(send(id, 2), "c")
		time.Sleep(9 * time.Second)
		p.silent()
		p.expect(404, "\x00")
		if st := b.srv.Stats(); st.Rejected[tunnel.RejectStalled] != 1 || st.Sessions != 0 {
			t.Errorf("stats %+v", st)
		}
		if n, err := io.Copy(io.Discard, c); n != 1000 || err == nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
}

func TestReceivedLimit(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Received: 3000}, func(t *testing.T, b *bench) {
		fill := func(n, status int) {
			t.Helper()
			p := b.connect()
			if r := p.post(send(p.open(), 0), strings.Repeat("x", n)); r.status != status {
				t.Errorf("status %d, want %d", r.status, status)
			}
			if status == 200 {
				b.accept()
			}
		}
		fill(2999, 200)
		fill(1, 200)
		fill(1, 503)
		if n := b.srv.Stats().Rejected[tunnel.RejectReceived]; n != 1 {
			t.Errorf("counted %d times", n)
		}
	})
}

// TestBodyLimitOfNetHTTP is TestBodyTooLarge for requests that net/http reads.
func TestBodyLimitOfNetHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t, tunnel.Config{MaxRequest: 1000})
	b.core(mute)
	id := b.connect().open()
	for i, want := range []int{200, 413} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, send(id, i), strings.NewReader(strings.Repeat("x", 1000+i)))
		w := httptest.NewRecorder()
		b.srv.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("a body of %d bytes: %d, want %d", 1000+i, w.Code, want)
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectTooLarge]; n != uint64(i) {
			t.Errorf("counted %d times, want %d", n, i)
		}
	}
}
