package tunnel_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"culvert/tunnel"
)

// TestReceivedIsBounded has sessions whose readers do not read hold more together than
// is allowed.
func TestReceivedIsBounded(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{Received: 3000}, func(t *testing.T, b *bench) {
		var conns []*tunnel.Conn
		fill := func(n int) *peer {
			p := b.connect()
			id := p.open()
			p.post(send(id, 0), strings.Repeat("x", n))
			conns = append(conns, b.accept())
			return p
		}
		fill(2000)
		fill(1500) // the first to go beyond is taken
		p := b.connect()
		id := p.open()
		p.send(idle(id, 0), "\x00")
		p.expect(200, "\x01")
		q := b.connect()
		if r := q.post(send(id, 1), "x"); r.status != 503 || r.body != "" || !strings.Contains(r.head, "Connection: close\r\n") {
			t.Errorf("beyond the limit: %+v", r)
		}
		if _, err := q.read(); err == nil {
			t.Error("the connection was kept")
		}
		if n := b.srv.Stats().Rejected[tunnel.RejectReceived]; n != 1 {
			t.Errorf("counted %d times", n)
		}
		_, _ = conns[0].Read(make([]byte, 1000))
		p.send(send(id, 1), "x") // the same request, now that there is room
		p.expect(200, "\x01")
		for _, c := range conns {
			_ = c.Close()
		}
		c := b.accept()
		if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		fill(2999)
	})
}

// TestSessionFromTwoAddresses moves a session to another address in the middle, as
// proxies with several addresses do. It stays the session of the first one.
func TestSessionFromTwoAddresses(t *testing.T) {
	t.Parallel()
	from := func(ip string) tunnel.ConnInfo {
		return tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	}
	bubble(t, tunnel.Config{SessionsPerAddress: 1}, func(t *testing.T, b *bench) {
		b.core(echo)
		p, q := b.connectWith(1<<20, from("192.0.2.1")), b.connectWith(1<<20, from("198.51.100.1"))
		id := p.open()
		p.post(send(id, 0), "a")
		q.send(send(id, 1), "b")
		q.expect(200, "\x01b")
		p.send(send(id, 2), "c")
		p.expect(200, "\x01c")
		q.send(send(id, 1), "b")
		q.expect(200, "\x01b")
		q.open() // it counts for the address that has opened it
		if r := p.post("/open/1", "\x00"); r.status != 503 {
			t.Errorf("a second session of the first address: %d", r.status)
		}
		// Without its id there is no session, whatever address asks.
		wrong := "1" + id[1:17] + string('0'+(id[17]-'0'+1)%10)
		for _, r := range []*peer{p, q} {
			r.send(send(wrong, 3), "x")
			r.expect(404, "\x00")
		}
	})
}

// TestHalfBody loses a connection in the middle of a send: none of it is used.
func TestHalfBody(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		got := ""
		b.core(func(_ *tunnel.Conn, data []byte) { got += string(data) })
		p := b.connect()
		id := p.open()
		p.post(send(id, 0), "first,")
		whole := request(send(id, 1), "second")
		chunked := "POST " + send(id, 1) + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\no"
		for _, half := range []string{whole[:len(whole)-1], chunked} {
			q := b.connect()
			q.write(half)
			_ = q.nc.Close()
			if err := q.end(); err == nil {
				t.Error("ended without an error")
			}
		}
		time.Sleep(time.Second)
		p.send(send(id, 1), "second")
		p.expect(200, "\x01")
		if got != "first,second" {
			t.Errorf("core saw %q", got)
		}
	})
}
