package tunnel_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

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
		st := b.srv.Stats()
		if st.Ended != 1 {
			t.Errorf("%d ended sessions remembered, want 1", st.Ended)
		}
		if unused, expired := st.Rejected[tunnel.RejectUnused], st.Rejected[tunnel.RejectExpired]; unused != 1 || expired != 1 {
			t.Errorf("counted as never used %d, as expired %d, want 1 and 1", unused, expired)
		}
		time.Sleep(11 * time.Second)
		if n := b.srv.Stats().Ended; n != 0 {
			t.Errorf("%d ended sessions remembered", n)
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
		_ = p.end()
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
