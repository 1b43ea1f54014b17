package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// poller is an RTMPT client that shows each request and answer.
type poller struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	id   string
	seq  int
}

func dialTunnel(t *testing.T, g *gateway.Gateway) *poller {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := &poller{t: t, conn: conn, r: bufio.NewReader(conn)}
	p.write("/open/1", []byte{0})
	p.id = strings.TrimSpace(string(p.answer()))
	return p
}

// write sends a request and does not wait.
func (p *poller) write(path string, body []byte) {
	p.t.Helper()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/x-fcs\r\nContent-Length: %d\r\n\r\n", path, len(body))
	if _, err := p.conn.Write(append([]byte(head), body...)); err != nil {
		p.t.Fatal(err)
	}
}

// answer reads the body of the next answer.
func (p *poller) answer() []byte {
	p.t.Helper()
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("answered %s", resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// post sends bytes and returns the answer's, without the poll byte.
func (p *poller) post(kind string, body []byte) []byte {
	p.t.Helper()
	p.write(p.path(kind), body)
	b := p.answer()
	if len(b) == 0 {
		p.t.Fatal("an answer without a byte kills ffmpeg")
	}
	return b[1:]
}

func (p *poller) path(kind string) string {
	path := fmt.Sprintf("/%s/%s/%d", kind, p.id, p.seq)
	p.seq++
	return path
}

// capturedC0C1 is what a handshake client writes first.
func capturedC0C1(t *testing.T, cfg handshake.ClientConfig) []byte {
	t.Helper()
	var c firstWrite
	_, _ = handshake.Client(&c, cfg) // ends after its first write
	if len(c) != 1537 {
		t.Fatalf("%d bytes of C0 and C1", len(c))
	}
	return c
}

type firstWrite []byte

func (f *firstWrite) Write(p []byte) (int, error) {
	*f = append(*f, p...)
	return len(p), nil
}

func (*firstWrite) Read([]byte) (int, error) { return 0, io.EOF }

func TestCase06_HandshakeInOneAnswer(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	p := dialTunnel(t, g)
	c0c1 := capturedC0C1(t, handshake.ClientConfig{})
	body := p.post("send", c0c1)
	if len(body) != 3073 {
		t.Fatalf("the answer has %d RTMP bytes, want 3073", len(body))
	}
	if body[0] != 3 || !bytes.Equal(body[5:9], make([]byte, 4)) || !bytes.Equal(body[1537:], c0c1[1:]) {
		t.Error("S0 is not 3, S1 has a version, or S2 is not C1")
	}
}

func TestCase07_HandshakeInPieces(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	p := dialTunnel(t, g)
	c0c1 := capturedC0C1(t, handshake.ClientConfig{})
	for _, piece := range [][]byte{c0c1[:1], c0c1[1:701]} {
		if body := p.post("send", piece); len(body) != 0 {
			t.Errorf("%d RTMP bytes for a part of C1", len(body))
		}
	}
	if body := p.post("send", c0c1[701:]); len(body) != 3073 {
		t.Errorf("%d RTMP bytes for the last part of C1, want 3073", len(body))
	}
}

// TestCase08_SignedHandshake posts a C1 signed in either scheme and judges the
// answer by the test's own reading of where signatures are.
func TestCase08_SignedHandshake(t *testing.T) {
	const player, server = "Genuine Adobe Flash Player 001", "Genuine Adobe Flash Media Server 001"
	tail, err := hex.DecodeString("F0EEC24A8068BEE82E00D0D1029E7E576EEC5D2D29806FAB93B8E636CFEB31AE")
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	g, _ := start(t, config(t), gateway.Options{})
	for scheme, pointer := range []int{8, 772} {
		t.Run(fmt.Sprint("scheme ", scheme), func(t *testing.T) {
			digestAt := func(c []byte) int {
				return (int(c[pointer])+int(c[pointer+1])+int(c[pointer+2])+int(c[pointer+3]))%728 + pointer + 4
			}
			c1 := make([]byte, 1536)
			for i := range c1 {
				c1[i] = byte(i*i>>3 + scheme)
			}
			copy(c1[4:], []byte{10, 0, 32, 18})
			at := digestAt(c1)
			copy(c1[at:], mac([]byte(player), c1[:at], c1[at+32:]))
			body := dialTunnel(t, g).post("send", append([]byte{3}, c1...))
			if len(body) != 3073 || body[0] != 3 {
				t.Fatalf("%d bytes for a signed C1", len(body))
			}
			s1, s2 := body[1:1537], body[1537:]
			if s1[4] < 3 {
				t.Errorf("S1 is of version %x, which is that of an unsigned one", s1[4:8])
			}
			if in := digestAt(s1); !bytes.Equal(s1[in:in+32], mac([]byte(server), s1[:in], s1[in+32:])) {
				t.Error("the digest of S1 does not verify in the client's scheme")
			}
			if key := mac(append([]byte(server), tail...), c1[at:at+32]); !bytes.Equal(s2[1504:], mac(key, s2[:1504])) {
				t.Error("the signature of S2 does not verify")
			}
		})
	}
}

// encode returns a message's bytes on the wire, for chunk size 128 or less.
func encode(t *testing.T, streamID uint32, m message.Message) []byte {
	t.Helper()
	payload, err := m.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := chunk.NewMessage(m.TypeID(), streamID, 0, payload)
	defer c.Release()
	if c.Len() > 128 {
		t.Fatalf("%d bytes do not fit a chunk", c.Len())
	}
	c.Encode(3, chunk.SegmentSize)
	return bytes.Join(c.AppendWire(nil), nil)
}

func connectCommand(t *testing.T) []byte {
	t.Helper()
	return encode(t, 0, message.Command{Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: "live"}}})
}

func TestCase09_C2AndConnect(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	c0c1, c2 := capturedC0C1(t, handshake.ClientConfig{}), make([]byte, 1536)
	t.Run("in one body", func(t *testing.T) {
		p := dialTunnel(t, g)
		p.post("send", c0c1)
		if body := p.post("send", append(bytes.Clone(c2), connectCommand(t)...)); !bytes.Contains(body, []byte("NetConnection.Connect.Success")) {
			t.Errorf("%d RTMP bytes without the result of connect", len(body))
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		p := dialTunnel(t, g)
		p.post("send", c0c1)
		p.write(p.path("send"), c2)
		p.write(p.path("send"), connectCommand(t))
		first, second := p.answer(), p.answer()
		if !bytes.Contains(second, []byte("NetConnection.Connect.Success")) {
			t.Errorf("answers of %d and %d bytes without the result of connect", len(first), len(second))
		}
	})
}

// TestCase55_TunnelPublisherIsLeftAlone publishes over RTMPT while players come
// and go, and counts what the publisher is sent.
func TestCase55_TunnelPublisherIsLeftAlone(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	p := dialTunnel(t, g)
	p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
	p.post("send", append(make([]byte, 1536), connectCommand(t)...))
	p.post("send", encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
	body := p.post("send", encode(t, 1, message.Command{Name: "publish", TransactionID: 3, Args: []any{"a", "live"}}))
	if !bytes.Contains(body, []byte("NetStream.Publish.Start")) {
		t.Fatalf("publish was answered with %q", body)
	}
	size := encode(t, 0, message.SetChunkSize{Size: chunk.SegmentSize})
	if body := p.post("send", size); len(body) > 0 {
		t.Errorf("Set Chunk Size was answered with %q", body)
	}
	frame := chunk.NewMessage(message.TypeVideo, 1, 0, append([]byte{0x17, 1, 0, 0, 0}, make([]byte, 60_000)...))
	defer frame.Release()
	frame.Encode(6, chunk.SegmentSize)
	for i := range 100 { // more than two acknowledgement windows
		if body := p.post("send", bytes.Join(frame.AppendWire(nil), nil)); len(body) > 0 {
			t.Fatalf("send %d was answered with %q", i, body)
		}
		if i%10 == 0 {
			if body := p.post("idle", []byte{0}); len(body) > 0 {
				t.Fatalf("idle %d was answered with %q", i, body)
			}
		}
	}
	p.write(p.path("close"), []byte{0})
	p.answer()
}

// TestProxiedClientIsNotLocal publishes without a key from loopback, once
// directly and once as a proxy on this machine would pass it on.
func TestProxiedClientIsNotLocal(t *testing.T) {
	g, _ := start(t, config(t), gateway.Options{})
	for header, want := range map[string]string{
		"":                               message.StatusPublishStart,
		"X-Forwarded-For: 203.0.113.9":   message.StatusPublishDenied,
		"Via: 1.1 proxy":                 message.StatusPublishDenied,
		"Forwarded: for=\"203.0.113.9\"": message.StatusPublishDenied,
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		p := &poller{t: t, conn: conn, r: bufio.NewReader(conn)}
		if header != "" {
			header += "\r\n"
		}
		if _, err := io.WriteString(conn, "POST /open/1 HTTP/1.1\r\nHost: gateway\r\n"+header+"Content-Length: 1\r\n\r\n\x00"); err != nil {
			t.Fatal(err)
		}
		p.id = strings.TrimSpace(string(p.answer()))
		p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
		p.post("send", append(make([]byte, 1536), connectCommand(t)...))
		p.post("send", encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
		body := p.post("send", encode(t, 1, message.Command{Name: "publish", TransactionID: 3, Args: []any{"a", "live"}}))
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("%q: publish was answered with %q, want %s", header, body, want)
		}
		p.write(p.path("close"), []byte{0})
		p.answer()
	}
}
