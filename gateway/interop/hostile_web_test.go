//go:build interop

package interop_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	openSession = "POST /open/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n\x00"
	sessionID   = "123456789012345678" // as long as one that is given out
)

// openTunnel opens a session of the tunnel and returns its ID.
func (c *raw) openTunnel() string {
	c.t.Helper()
	if status := c.request(openSession); status != "200" {
		c.t.Fatalf("open: status %q", status)
	}
	c.await("\r\n\r\n")
	for len(c.got) < 19 {
		c.limit()
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		if err != nil {
			c.t.Fatalf("open: %v", err)
		}
		c.got = append(c.got, buf[:n]...)
	}
	id := string(c.got[:18])
	c.got = c.got[19:]
	return id
}

// webCases are TLS and HTTP that are not what they seem.
var webCases = []hostileCase{
	{"TLS garbage", tally{"tls_handshake": 9}, func(t *testing.T, a *attacker) {
		random := rand.New(rand.NewPCG(5, 6))
		for _, listener := range []string{"https", "rtmp", "http"} {
			hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3}
			for range 506 {
				hello = append(hello, byte(random.Uint32()))
			}
			a.dial(t, listener).send(hello).ends("tls_handshake")
			a.dial(t, listener).send([]byte{0x16, 3, 1, 0xFF, 0xFF}, make([]byte, 0xFFFF)).ends("tls_handshake")
			a.dial(t, listener).send([]byte{0x16, 9, 9, 0, 5, 0xFF, 0, 0, 1, 0}).ends("tls_handshake")
		}
	}},
	{"requests that no two read alike", tally{"tunnel_malformed": 22, "tunnel_head": 4, "tunnel_too_large": 4}, func(t *testing.T, a *attacker) {
		for name, head := range map[string]string{
			"a gigabyte":         "Content-Length: 1073741824\r\n\r\n",
			"2^64 bytes":         "Content-Length: 18446744073709551617\r\n\r\n",
			"a negative length":  "Content-Length: -1\r\n\r\n",
			"two lengths":        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
			"length and chunked": "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"chunked twice":      "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
			"a folded header":    "X: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
			"a bare LF":          "Host: h\nContent-Length: 1\n\nx",
			"a space in a name":  "Content-Length : 1\r\n\r\nx",
			"a NUL":              "X: a\x00b\r\nContent-Length: 1\r\n\r\nx",
			"a head of 1 MB":     strings.Repeat("X: "+strings.Repeat("y", 997)+"\r\n", 1024) + "\r\n",
			"a header of 1 MB":   "X: " + strings.Repeat("y", 1<<20) + "\r\n\r\n",
			"a chunk of 2^64":    "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
			"chunks of a GB":     "Transfer-Encoding: chunked\r\n\r\n40000000\r\n",
			"a chunk line of KB": "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 4096) + "\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				for _, path := range []string{"/open/1", "/send/" + sessionID + "/1"} {
					c := a.dial(t, "http")
					if status := c.request("POST " + path + " HTTP/1.1\r\n" + head); status != "400" && status != "413" {
						t.Errorf("%s: status %q, want 400 or 413", path, status)
					}
					c.ends("malformed request", "request head is too large", "request body is too large")
				}
			})
		}
	}},
	{"requests that are none", tally{"http_request": 5}, func(t *testing.T, a *attacker) {
		for _, request := range []string{
			"POST\r\n\r\n", "POST /open/1\r\n\r\n", "POST /open/1 HTTP/9.9\r\n\r\n", "G\x00T / HTTP/1.1\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "X" + strings.Repeat("y", 100_000) + "\r\n\r\n", "CONNECT host:443 HTTP/1.1\r\n\r\n",
		} {
			c := a.dial(t, "http")
			if status := c.request(request); status != "" && status[0] != '4' && status[0] != '5' {
				t.Errorf("%.40q was answered with status %s", request, status)
			}
			c.leaves("")
		}
	}},
	{"a body that ends half way", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		id := c.openTunnel()
		c.send([]byte("POST /send/" + id + "/0 HTTP/1.1\r\nContent-Length: 100000\r\n\r\n\x03abc"))
		c.leaves("unexpected EOF", "reset")
	}},
	{"10,000 opens from one address", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		counts := map[string]int{}
		begin := time.Now()
		for range 100 {
			c.send([]byte(strings.Repeat(openSession, 100)))
			for range 100 {
				counts[c.status()]++
			}
		}
		most := 50 * (1 + int(time.Since(begin)/(2*time.Second))) // unused sessions end after open_timeout and make room
		a.counted["tunnel_address"] = counts["503"]
		if counts["200"] < 50 || counts["200"] > most || counts["200"]+counts["503"] != 10_000 {
			t.Errorf("answers by status: %v, want 50 sessions at a time, %d in all at most", counts, most)
		}
		c.leaves("")
	}},
	{"150 connections from one address", tally{"connections_per_address": 50, "empty": 100}, func(t *testing.T, a *attacker) {
		var conns []*raw
		for range 150 {
			conns = append(conns, a.dial(t, "rtmp"))
		}
		for _, c := range conns[100:] {
			c.ends("connections_per_address")
		}
		for _, c := range conns[:100] {
			c.Close()
		}
		for _, c := range conns[:100] {
			c.book.requireEnd(t, c.from, "empty")
		}
	}},
	{"sessions that do not exist", tally{"tunnel_unknown": 91}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		for i := range 60 {
			for _, op := range []string{"send", "idle"} {
				if i < 25 || op == "send" {
					request := fmt.Sprintf("POST /%s/%d/0 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", op, 100000000000000000+i)
					if status := c.request(request); status != "404" {
						t.Fatalf("status %q, want 404", status)
					}
				}
			}
		}
		for _, path := range []string{"/send/-1/0", "/send//0", "/send/1/0", "/idle/" + strings.Repeat("9", 500) + "/0", "/send/../../etc/passwd/0", "/send/%00/0"} {
			if status := c.request("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"); status == "" || status[0] != '4' {
				t.Errorf("%s: status %q", path, status)
				break
			}
		}
		c.leaves("")
	}},
	{"guesses", tally{"tunnel_unknown": 100, "tunnel_guesses": 20}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		for i := range 120 {
			if status := c.request(fmt.Sprintf("POST /send/%d/0 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 100000000000000000+i)); status != "404" {
				t.Fatalf("status %q, want 404", status)
			}
		}
		c.leaves("")
	}},
	{"answers that nobody reads", tally{"tunnel_unread": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		requests := []byte(strings.Repeat("POST /close/2 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 1000))
		for c.SetWriteDeadline(time.Now().Add(patience)) == nil {
			if _, err := c.Write(requests); err != nil {
				break
			}
		}
		c.Close()
		c.book.requireEnd(t, c.from, "does not read its answers")
	}},
	{"requests ahead of one that never comes", tally{"tunnel_lost": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		id := c.openTunnel()
		send := func(c *raw, seq, size int) {
			c.send(fmt.Appendf(nil, "POST /send/%s/%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n", id, seq, size), make([]byte, size))
		}
		send(c, 0, 0)
		if status := c.status(); status != "200" {
			t.Errorf("number 0: status %q", status)
		}
		first, second := a.dial(t, "http"), a.dial(t, "http")
		send(first, 2, 600<<10)
		send(second, 3, 600<<10)
		for _, early := range []*raw{first, second} {
			if status := early.status(); status != "404" {
				t.Errorf("an early request of a session that was ended for them: status %q", status)
			}
			early.leaves("")
		}
		c.leaves("")
	}},
	{"sequence numbers", tally{"tunnel_unknown": 22}, func(t *testing.T, a *attacker) {
		for _, first := range []string{"0", "-1", "-2147483648", "2147483647", "4294967295", "4294967296", "99999999999999999999"} {
			c := a.dial(t, "http")
			id := c.openTunnel()
			for _, next := range []string{first, "-2147483648", "4294967295", "2147483648", "-1", "", "x", "1e9", "99999999999999999999"} {
				status := c.request("POST /idle/" + id + "/" + next + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n\x00")
				if status != "200" && status != "404" && status != "400" {
					t.Errorf("first %s, then %s: status %q", first, next, status)
				}
				if status == "" {
					break
				}
			}
			c.request("POST /close/" + id + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n\x00")
			c.leaves("")
		}
	}},
	{"PROXY header of a stranger", tally{"http_request": 1, "proxy_not_trusted": 1}, func(t *testing.T, a *attacker) {
		const v1, v2 = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 1935\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0C\xC0\x00\x02\x01\xC0\x00\x02\x02\x04\xD2\x07\x8F"
		c := a.dial(t, "rtmp").send([]byte(v1+"\x03"), make([]byte, 1536))
		if status := c.status(); status != "400" {
			t.Errorf("status %q, want 400", status)
		}
		c.ends("")
		a.dial(t, "rtmp").send([]byte(v2+"\x03"), make([]byte, 1536)).ends("proxy_not_trusted")
	}},
	{"RTMP in the tunnel that is none", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "http")
		id := c.openTunnel()
		body := append([]byte{3}, make([]byte, 2*1536)...)
		body = append(body, setChunkSize(0)...)
		c.send(fmt.Appendf(nil, "POST /send/%s/0 HTTP/1.1\r\nContent-Length: %d\r\n\r\n", id, len(body)), body)
		seq := 1
		eventually(t, "the end of the session", func() bool {
			status := c.request(fmt.Sprintf("POST /idle/%s/%d HTTP/1.1\r\nContent-Length: 1\r\n\r\n\x00", id, seq))
			seq++
			return status == "404"
		})
		c.leaves("")
	}},
}

// drip sends byte by byte until the connection is closed. It ends with it.
func drip(t *testing.T, c *raw, b []byte) {
	t.Helper()
	var dripping sync.WaitGroup
	stop := make(chan struct{})
	dripping.Go(func() { // stopped by stop or by the end of the connection; waited by the cleanup
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := range b {
			if _, err := c.Write(b[i : i+1]); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		dripping.Wait()
	})
}

// each makes a connection for each text that is sent on it, after which there is silence.
func each(t *testing.T, a *attacker, listener string, texts ...string) []*raw {
	t.Helper()
	var conns []*raw
	for _, text := range texts {
		conns = append(conns, a.dial(t, listener).send([]byte(text)))
	}
	return conns
}

// silentCases end by the gateway's own clocks.
var silentCases = []silentCase{
	{"silence", tally{"timeout": 6}, func(t *testing.T, a *attacker) []*raw {
		return append(append(each(t, a, "rtmp", "", ""), each(t, a, "http", "", "")...), each(t, a, "https", "", "")...)
	}, []string{"timeout"}},
	{"one byte, then silence", tally{"handshake_timeout": 1, "timeout": 1, "tunnel_slow": 2}, func(t *testing.T, a *attacker) []*raw {
		return each(t, a, "rtmp", "\x03", "\x16", "P", "G")
	}, []string{"timeout"}},
	{"a TLS record, then silence", tally{"timeout": 3}, func(t *testing.T, a *attacker) []*raw {
		return each(t, a, "https", "\x16\x03\x01\x02\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", "\x16")
	}, []string{"timeout"}},
	{"half handshakes", tally{"handshake_timeout": 14}, func(t *testing.T, a *attacker) []*raw {
		half := "\x03" + strings.Repeat("x", 700)
		whole := "\x03" + strings.Repeat("x", 1536)
		return each(t, a, "rtmp", half, half, half, half, half, half, half, half, whole, whole, whole, whole, whole+whole[1:], whole+whole[1:])
	}, []string{"timeout"}},
	{"a handshake byte by byte", tally{"handshake_timeout": 5}, func(t *testing.T, a *attacker) []*raw {
		var conns []*raw
		for range 5 {
			c := a.dial(t, "rtmp")
			drip(t, c, append([]byte{3}, make([]byte, 1536)...))
			conns = append(conns, c)
		}
		return conns
	}, []string{"timeout"}},
	{"media instead of connect", tally{"handshake_timeout": 1}, func(t *testing.T, a *attacker) []*raw {
		c := a.dial(t, "rtmp").handshake()
		for range 1000 {
			c.send(message0(6, videoType, 1, keyFrame("early")), message0(4, audioType, 1, []byte("\xAF\x01x")))
		}
		return []*raw{c}
	}, []string{"no connect command"}},
	{"a slow head", tally{"http_request": 1, "tunnel_slow": 1}, func(t *testing.T, a *attacker) []*raw {
		var conns []*raw
		for _, head := range []string{"POST /open/1 HTTP/1.1\r\nHost: h\r\nX: ", "GET / HTTP/1.1\r\nHost: h\r\nX: "} {
			c := a.dial(t, "http")
			drip(t, c, []byte(head+strings.Repeat("y", 1000)))
			conns = append(conns, c)
		}
		return conns
	}, []string{""}},
	{"a body that stops half way", tally{"tunnel_slow": 3}, func(t *testing.T, a *attacker) []*raw {
		conns := each(t, a, "http", "POST /send/"+sessionID+"/0 HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc",
			"POST /send/"+sessionID+"/0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\nabc")
		c := a.dial(t, "http")
		id := c.openTunnel()
		return append(conns, c.send([]byte("POST /send/"+id+"/0 HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n\x03abc")))
	}, []string{"timeout"}},
}
