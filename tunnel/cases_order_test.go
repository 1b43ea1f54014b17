package tunnel_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/tunnel"
)

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

// TestPipelinedReplay repeats a held idle and the send that followed it, of
// which neither answer arrived.
func TestPipelinedReplay(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		var core bytes.Buffer
		b.core(func(c *tunnel.Conn, data []byte) {
			core.Write(data)
			_, _ = c.Write(data)
		})
		p := b.connect()
		id := p.open()
		p.post(send(id, 0), "0")
		p.send(send(id, 1), "1")
		p.send(send(id, 2), "2")
		first, second := p.answer(), p.answer()
		q := b.connect()
		for seq, want := range []reply{1: first, 2: second} {
			if seq > 0 {
				if got := q.post(send(id, seq), strconv.Itoa(seq)); got != want {
					t.Errorf("repeated %d: %+v, want %+v", seq, got, want)
				}
			}
		}
		for seq := 3; seq < 10; seq++ {
			p.post(send(id, seq), strconv.Itoa(seq))
		}
		q.send(send(id, 2), "2") // the eighth last
		q.expect(200, second.body)
		q.send(send(id, 1), "1") // too old
		q.expect(404, "\x00")
		large := strings.Repeat("x", 20<<10)
		p.post(send(id, 10), large)
		p.post(send(id, 11), large)
		q.send(send(id, 10), large) // two are kept however large
		q.expect(200, "\x01"+large)
		q.send(send(id, 9), "9") // and no more
		q.expect(404, "\x00")
		if want := "0123456789" + large + large; core.String() != want {
			t.Errorf("core saw %d bytes: %.20q, want %d", core.Len(), core.String(), len(want))
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

// TestFirstComesLate has the first two requests of a session overtake each other.
func TestFirstComesLate(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"send", "idle"} {
		bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
			b.core(echo)
			p, q := b.connect(), b.connect()
			id := p.open()
			paths := []string{send(id, 0), idle(id, 1)}
			if first == "idle" {
				paths = []string{idle(id, 0), send(id, 1)}
			}
			p.send(paths[1], "x")
			time.Sleep(100 * time.Millisecond)
			q.send(paths[0], "x")
			q.expect(200, "\x01") // the other is there already
			p.expect(200, "\x01x")
			p.send(send(id, 2), "y")
			p.expect(200, "\x01y")
		})
	}
	bubble(t, tunnel.Config{HoldSetup: -1}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		if d := took(func() { p.post(idle(id, 1), "\x00") }); d != 200*time.Millisecond {
			t.Errorf("an idle with the number 1 waited %v for number 0", d)
		}
		p.send(idle(id, 2), "\x00")
		p.expect(200, "\x01")
	})
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

// TestSequenceTurnsOver crosses 2^31 and 2^32, where clients that count in 32 bits with a sign go on with
// negative numbers and come back to 0: in order, early, and again.
func TestSequenceTurnsOver(t *testing.T) {
	t.Parallel()
	for name, number := range map[string]func(n uint32) string{
		"signed":   func(n uint32) string { return strconv.Itoa(int(int32(n))) },
		"unsigned": func(n uint32) string { return strconv.Itoa(int(n)) },
	} {
		for _, turn := range []uint32{1 << 31, 0} {
			bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
				var core bytes.Buffer
				b.core(func(c *tunnel.Conn, data []byte) {
					core.Write(data)
					_, _ = c.Write(data)
				})
				p, q := b.connect(), b.connect()
				id := p.open()
				p.post(send(id, 0), "x")
				path := func(i int) string { return "/send/" + id + "/" + number(turn-3+uint32(i)) }
				b.srv.SkipTo(id, turn-3)
				for i := 0; i < 6; i += 2 {
					q.send(path(i+1), "b") // early
					q.silent()
					p.send(path(i), "a")
					p.expect(200, "\x01") // the other is there already
					q.expect(200, "\x01ab")
					p.send(path(i), "a") // repeated, also from before the turn
					p.expect(200, "\x01")
					p.send(path(i+1), "b")
					p.expect(200, "\x01ab")
				}
				p.send("/send/"+id+"/"+number(turn-100), "c")
				p.expect(404, "\x00")
				if core.String() != "xababab" {
					t.Errorf("%s at %d: core saw %q", name, turn, core.String())
				}
			})
		}
	}
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
					_ = p.end()
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
