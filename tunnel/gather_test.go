package tunnel_test

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// TestPipelinedAnswers counts the writes of answers to requests that are at hand
// together, with a reader that has no goroutine: it answers while a request is served.
func TestPipelinedAnswers(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		b.parkedCore(echo)
		id := p.open()
		seq := 0
		writes := p.server.writes.Load
		before := writes()
		check := func(what string, want int32) {
			t.Helper()
			synctest.Wait()
			if n := writes() - before; n != want {
				t.Errorf("%s: %d writes, want %d", what, n, want)
			}
			before = writes()
		}
		p.write(request(send(id, 0), "first"))
		p.expect(200, "\x01first")
		check("a send", 1)
		for range 3 { // with a goroutine at first, then without where that can be
			p.write(request(idle(id, seq+1), "\x00") + request(send(id, seq+2), "x"))
			p.expect(200, "\x01")
			p.expect(200, "\x01x")
			check("an idle and a send in one piece", 1)
			p.write(request(idle(id, seq+3), "\x00"))
			p.silent()
			p.write(request(send(id, seq+4), "y"))
			p.expect(200, "\x01")
			p.expect(200, "\x01y")
			check("a send after a held idle", 1)
			seq += 4
		}
		p.write(request(send(id, seq+1), "z") + "POST /idle/")
		p.expect(200, "\x01z")
		check("a send and a part of an idle", 1)
	})
}

// TestPipelinedBehindLateAnswer has requests whose answer waits, for a reader or for the
// rest of a request: the answers before them do not.
func TestPipelinedBehindLateAnswer(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		id := p.open()
		seq := 0
		pair := func(what, second, rest string, answers ...string) {
			t.Helper()
			begin := time.Now()
			p.write(request(idle(id, seq), "\x00") + second)
			p.expect(200, "\x01")
			if late := time.Since(begin); late > 0 {
				t.Errorf("%s: the first answer came after %v", what, late)
			}
			p.silent()
			p.write(rest)
			for _, body := range answers {
				p.expect(200, body)
			}
			seq += 2
		}
		unread := func() string { return request(send(id, seq+1), "nobody reads this") }
		pair("served by a goroutine", unread(), "", "\x01")
		b.accept()
		pair("parked where that can be", unread(), "", "\x01")
		pair("half a head", unread()[:30], unread()[30:], "\x01")
		pair("half a body", unread()[:len(unread())-5], unread()[len(unread())-5:], "\x01")
		pair("the last of its connection", strings.Replace(unread(), "\r\n", "\r\nConnection: close\r\n", 1), "", "\x01")
		if err := p.end(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestLastRequest is answered although more bytes follow, which nobody will serve.
func TestLastRequest(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		b.parkedCore(echo)
		id := p.open()
		p.send(send(id, 0), "introduction")
		p.expect(200, "\x01introduction")
		p.write(strings.Replace(request(send(id, 1), "x"), "\r\n", "\r\nConnection: close\r\n", 1) + "POST /idle/")
		p.expect(200, "\x01x")
		if err := p.end(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestMalformedBehindIdle has the answers to both.
func TestMalformedBehindIdle(t *testing.T) {
	t.Parallel()
	bubble(t, tunnel.Config{}, func(t *testing.T, b *bench) {
		p := b.connect()
		b.parkedCore(mute)
		id := p.open()
		p.send(send(id, 0), "x")
		p.expect(200, "\x01")
		p.send(idle(id, 1), "\x00")
		p.silent()
		p.write("POST " + send(id, 2) + " HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
		p.expect(200, "\x01")
		p.expect(400, "")
	})
}

// TestHandle gives sessions to a function instead of Accept.
func TestHandle(t *testing.T) {
	t.Parallel()
	pool := sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}
	var given []*tunnel.Conn
	cfg := tunnel.Config{Handle: func(c *tunnel.Conn) {
		given = append(given, c)
		c.Park(func() bool {
			buf, n, err := c.TryRead(&pool)
			if err == nil {
				if stack := make([]byte, 8<<10); !bytes.Contains(stack[:runtime.Stack(stack, false)], []byte("httpConn")) {
					t.Errorf("not read by who serves the request:\n%s", stack)
				}
				echo(c, (*buf)[:n])
				pool.Put(buf)
			}
			return true
		}, func() {})
	}}
	for name, first := range map[string]int{"send": 0, "late first idle": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, cfg, func(t *testing.T, b *bench) {
				given = nil
				p := b.connect()
				id := p.open()
				if len(given) > 0 {
					t.Error("given before its first request")
				}
				if first == 0 {
					begin := time.Now()
					p.send(send(id, 0), "x")
					p.expect(200, "\x01x")
					if wait := time.Since(begin); wait > 0 {
						t.Errorf("the answer to the first send took %v", wait)
					}
				} else { // 0 never comes: the sweeper takes it in turn
					p.send(idle(id, 1), "\x00")
					p.expect(200, "\x01")
					p.send(send(id, 2), "x")
					p.expect(200, "\x01x")
				}
				if len(given) != 1 {
					t.Fatalf("given %d sessions", len(given))
				}
				_ = given[0].Close()
			})
		})
	}
}
