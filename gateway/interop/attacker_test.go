//go:build interop

package interop_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"culvert/rtmpcore/amf"
)

// attacker makes connections from an address of its own, so that limits per address hit nobody else.
type attacker struct {
	s    *server
	book *logbook
	ip   string // any of 127.0.0.0/8 is on this machine

	counted tally // what the gateway must have counted, where only the run of a case tells
}

// raw is a TCP connection whose bytes a test writes by hand.
type raw struct {
	net.Conn
	t    *testing.T
	book *logbook
	from string // our address, which the gateway logs

	counted tally // the attacker's

	got []byte // all that came and was not used
}

// dial connects to a listener of the gateway.
func (a *attacker) dial(t *testing.T, listener string) *raw {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.ip)}}
	for {
		conn, err := dialer.Dial("tcp", a.s.addr(t, listener))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if from := conn.LocalAddr().String(); a.book.claim(from) {
			return &raw{Conn: conn, t: t, book: a.book, from: from, counted: a.counted}
		}
		conn.Close() // its port has been another connection's, whose log lines would be taken for this one's
		a.counted["empty"]++
	}
}

// send writes; the gateway may have hung up already, which shows elsewhere.
func (c *raw) send(parts ...[]byte) *raw {
	c.t.Helper()
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	for _, p := range parts {
		if _, err := c.Write(p); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Fatalf("the gateway does not read: %v", err)
			}
			break
		}
	}
	return c
}

// await reads until the word has come, and uses up what came until then.
func (c *raw) await(word string) *raw {
	c.t.Helper()
	if !c.sees(word) {
		c.t.Fatalf("the gateway ended the connection before it said %q; it said %q, its log %q", word, c.got, c.book.reasons(c.from))
	}
	return c
}

// sees reads until the word has come or the connection has ended.
func (c *raw) sees(word string) bool {
	c.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		if i := bytes.Index(c.got, []byte(word)); i >= 0 {
			c.got = c.got[i+len(word):]
			return true
		}
		c.limit()
		n, err := c.Read(buf)
		c.got = append(c.got, buf[:n]...)
		if n == 0 && err != nil {
			c.notTimeout(err, word)
			return false
		}
	}
}

func (c *raw) limit() {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) notTimeout(err error, what string) {
	c.t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("waited %v in vain for %q from the gateway; it said %q", patience, what, c.got)
	}
}

// ends waits until the gateway has hung up and has logged why, with one of the words.
func (c *raw) ends(words ...string) {
	c.t.Helper()
	c.limit()
	_, err := io.Copy(io.Discard, c.Conn)
	if err != nil {
		c.notTimeout(err, "the end of the connection")
	}
	c.Close() // else the gateway waits a moment for us to read its last words
	c.book.requireEnd(c.t, c.from, words...)
}

// leaves hangs up and waits until the gateway has noticed.
func (c *raw) leaves(words ...string) {
	c.t.Helper()
	c.Close()
	c.book.requireEnd(c.t, c.from, append(words, "client left")...)
}

// handshake does the plain handshake.
func (c *raw) handshake() *raw {
	c.t.Helper()
	c.send([]byte{3}, make([]byte, 1536), make([]byte, 1536))
	for len(c.got) < 1+2*1536 {
		c.limit()
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		if err != nil {
			c.t.Fatalf("handshake: %v", err)
		}
		c.got = append(c.got, buf[:n]...)
	}
	c.got = c.got[1+2*1536:]
	return c
}

// The commands of a client, each with what the gateway answers.

func (c *raw) connect() *raw {
	c.t.Helper()
	return c.handshake().send(message0(3, 20, 0, values("connect", 1.0, connectObject("rtmp://host/live")))).
		await("NetConnection.Connect.Success")
}

func (c *raw) stream() *raw {
	c.t.Helper()
	return c.connect().send(message0(3, 20, 0, values("createStream", 2.0, nil))).await("_result")
}

func (c *raw) publish(name string) *raw {
	c.t.Helper()
	return c.stream().send(message0(3, 20, 1, values("publish", 3.0, nil, name, "live"))).await("NetStream.Publish.Start")
}

func connectObject(tcURL string) amf.Object {
	return amf.Object{{Key: "app", Value: "live"}, {Key: "tcUrl", Value: tcURL}}
}

// values is an AMF0 payload.
func values(v ...any) []byte {
	b, err := amf.AppendAll(nil, v...)
	if err != nil {
		panic(err) // of what the tests themselves write
	}
	return b
}

// Chunks, RTMP 1.0 §5.3.1; the chunk size is 128 until the tests say otherwise.

// header0 is a chunk header of type 0.
func header0(csid, length int, typeID byte, streamID uint32) []byte {
	var b []byte
	switch {
	case csid < 64:
		b = []byte{byte(csid)}
	case csid < 320:
		b = []byte{0, byte(csid - 64)}
	default:
		b = []byte{1, byte(csid - 64), byte((csid - 64) >> 8)}
	}
	b = append(b, 0, 0, 0, byte(length>>16), byte(length>>8), byte(length), typeID)
	return binary.LittleEndian.AppendUint32(b, streamID)
}

// message0 is a whole message in chunks of 128 bytes.
func message0(csid int, typeID byte, streamID uint32, payload []byte) []byte {
	return chunked(csid, typeID, streamID, payload, 128)
}

func chunked(csid int, typeID byte, streamID uint32, payload []byte, size int) []byte {
	b := header0(csid, len(payload), typeID, streamID)
	for i, part := range slices.Collect(slices.Chunk(payload, size)) {
		if i > 0 {
			b = append(b, 0xC0|byte(csid))
		}
		b = append(b, part...)
	}
	return b
}

func setChunkSize(n uint32) []byte { return message0(2, 1, 0, be32(n)) }
func abort(csid int) []byte        { return message0(2, 2, 0, be32(uint32(csid))) }
func be32(n uint32) []byte         { return binary.BigEndian.AppendUint32(nil, n) }

// request sends an HTTP request and returns the status line of the answer, or "" when the connection ended without one.
func (c *raw) request(head string) string {
	c.t.Helper()
	c.send([]byte(head))
	return c.status()
}

func (c *raw) status() string {
	c.t.Helper()
	if !c.sees("HTTP/1.1 ") {
		return ""
	}
	for len(c.got) < 3 {
		c.limit()
		buf := make([]byte, 1024)
		n, err := c.Read(buf)
		if err != nil {
			return ""
		}
		c.got = append(c.got, buf[:n]...)
	}
	return string(c.got[:3])
}

// background returns a context that ends with the patience.
func background(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
