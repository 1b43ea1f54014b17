package tunnel_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"culvert/tunnel"
)

var heads = []string{
	"POST /open/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
	"POST http://h:80/send/123456789012345678/7 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
	"POST /idel/123456789012345678/-2147483648 HTTP/1.0\r\nConnection: keep-alive, x\r\ncontent-length:0\r\n\r\n",
	"GET / HTTP/1.1\r\nA:\tb\r\nContent-Length: 3\r\ncontent-length: 3\r\nConnection: close\r\n\r\n",
	"POST /close/2 HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
}

// conversations are one direction of what clients and the server said to each other:
// testdata/conversations.
func conversations(tb testing.TB, direction string) (all [][]byte) {
	tb.Helper()
	names, err := filepath.Glob("testdata/conversations/*." + direction + ".bin")
	if err != nil || len(names) < 3 {
		tb.Fatalf("%d conversations, %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// FuzzHead compares with what net/http makes of the same head: what is taken
// here is taken there with the same framing, so that no proxy in front reads a
// request differently.
func FuzzHead(f *testing.F) {
	for _, h := range heads {
		f.Add([]byte(h))
	}
	for _, b := range conversations(f, "c2s") {
		for head := range strings.SplitSeq(string(b), "POST ") {
			if n := strings.Index(head, "\r\n\r\n"); n >= 0 {
				f.Add([]byte("POST " + head[:n+4]))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := tunnel.ParseHead(b)
		if err != nil || h.Size == 0 {
			return
		}
		if again, err := tunnel.ParseHead(append(b[:h.Size:h.Size], "POST /x"...)); again != h || err != nil {
			t.Fatalf("with more behind it: %+v, %v, was %+v", again, err, h)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:h.Size])))
		if err != nil {
			return // stricter, as about Host or the form of a URL
		}
		if chunked := len(req.TransferEncoding) > 0; chunked != h.Chunked || !chunked && req.ContentLength != h.Length {
			t.Errorf("net/http reads length %d, chunked %v; we %+v", req.ContentLength, chunked, h)
		}
	})
}

func TestHeadTruncated(t *testing.T) {
	t.Parallel()
	for _, h := range heads {
		for i := range len(h) {
			if got, err := tunnel.ParseHead([]byte(h[:i])); got.Size != 0 || err != nil {
				t.Errorf("%q: %+v, %v", h[:i], got, err)
			}
		}
	}
}

// FuzzPath reads paths, and writes and reads again what was in them.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/open/1", "/send/123456789012345678/4?x=1", "//idel/123456789012345678//-7/", "/close/2", "/fcs/ident2", "/send/1/99999999999999999999"} {
		f.Add(p)
	}
	for _, b := range conversations(f, "c2s") {
		for request := range strings.SplitSeq(string(b), "POST ") {
			if path, _, found := strings.Cut(request, " HTTP/"); found {
				f.Add(strings.Replace(path, "ID", "123456789012345678", 1))
			}
		}
	}
	f.Fuzz(func(t *testing.T, p string) {
		op, id, seq, ok := tunnel.ParsePath(p)
		if (op != tunnel.OpOther) != tunnel.IsTunnelPath(p) {
			t.Errorf("IsTunnelPath differs")
		}
		if id != 0 && (id < 1e17 || id >= 1e18) {
			t.Errorf("id %d", id)
		}
		if id == 0 || !ok {
			return
		}
		again := fmt.Sprintf("/%s/%d/%d", tunnel.OpNames[op], id, seq)
		if op2, id2, seq2, ok := tunnel.ParsePath(again); op2 != op || id2 != id || seq2 != seq || !ok {
			t.Errorf("%q is %d %d %d, and as %q %d %d %d %v", p, op, id, seq, again, op2, id2, seq2, ok)
		}
	})
}

// FuzzConn gives a connection whatever comes, in pieces, to a server. What a request
// says of its size costs nothing before it is there.
func FuzzConn(f *testing.F) {
	for _, h := range heads {
		f.Add([]byte(h+"x"+h), uint8(3))
	}
	f.Add([]byte("POST /send/ID/0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nPOST /send/ID/1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nde"), uint8(200))
	f.Add([]byte("POST /send/ID/0 HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\nabc"), uint8(255))
	f.Add([]byte("POST /send/ID/0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3B9ACA00\r\nabc"), uint8(255))
	for _, b := range conversations(f, "c2s") {
		f.Add(b, uint8(255))
		f.Add(b, uint8(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		bench := newBench(t, tunnel.Config{
			MaxRequest: 1 << 30, HoldSetup: -1, Hold: -1,
			ParkTimeout: 10 * time.Millisecond, StallTimeout: 10 * time.Millisecond, GuessDelay: time.Millisecond,
		})
		read := atomic.Uint64{}
		bench.core(func(_ *tunnel.Conn, data []byte) { read.Add(uint64(len(data))) })
		id := bench.connect().open()
		b = bytes.ReplaceAll(b, []byte("ID"), []byte(id))
		size := len(b)
		p := bench.connectWith(1<<20, tunnel.ConnInfo{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		drained := make(chan struct{})
		go func() { // ends with the connection
			_, _ = io.Copy(io.Discard, p.nc)
			close(drained)
		}()
		for len(b) > 0 {
			n := min(len(b), int(step)+1)
			if _, err := p.nc.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		_ = p.nc.Close()
		_ = p.end()
		<-drained
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(size)*256+2<<20 {
			t.Errorf("%d bytes allocated for %d", got, size)
		}
		if n := bench.srv.Stats().BytesIn; n > uint64(size) {
			t.Errorf("%d bytes taken of %d", n, size)
		} else if got := read.Load(); got > n {
			t.Errorf("%d bytes read of %d", got, n)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(respond("\x01abc")))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404 Not Found\n\nx"))
	for _, b := range conversations(f, "s2c") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		status, n, err := tunnel.ReadAnswer(bytes.NewReader(b), 100)
		if err == nil && (status < 200 || n > 100) {
			t.Errorf("status %d with %d bytes", status, n)
		}
		if s2, n2, err2 := tunnel.ReadAnswer(iotest.OneByteReader(bytes.NewReader(b)), 100); s2 != status || n2 != n || (err == nil) != (err2 == nil) {
			t.Errorf("byte by byte: %d %d %v, was %d %d %v", s2, n2, err2, status, n, err)
		}
	})
}

// FuzzForwarded has a trusted proxy name clients: who is named is never one of the
// trusted proxies while somebody else stands in the header, nor what is no client's
// address, and what stands left of him changes nothing.
func FuzzForwarded(f *testing.F) {
	for _, line := range []string{
		"203.0.113.9", "198.51.100.66, 203.0.113.9:4711, 10.0.0.2", "unknown, [2001:db8::9]:81", `for="[2001:db8::9]:4711";by=10.0.0.1, for=_hidden`,
		`For=203.0.113.9;proto=http, for="10.0.0.2"`, `"198.51.100.66, 203.0.113.9`, "::ffff:203.0.113.9, fe80::9%eth0", "0.0.0.0, 224.0.0.1",
	} {
		for kind := range uint8(3) {
			f.Add(line, "10.0.0.3", kind)
			f.Add("198.51.100.1", line, kind)
		}
	}
	fields := []string{tunnel.XForwardedFor, tunnel.FieldRFC7239, tunnel.XRealIP}
	peer := netip.MustParseAddrPort("10.0.0.1:80")
	f.Fuzz(func(t *testing.T, first, second string, kind uint8) {
		forwarding := trusting(fields[int(kind)%len(fields)])
		header := http.Header{forwarding.Field: {first, second}}
		client, named := forwarding.Client(peer, header)
		if !named && client != peer {
			t.Errorf("nobody is named, and the client is %v", client)
		}
		if named && (!client.IsValid() || client.Addr().IsUnspecified() || client.Addr().IsMulticast() || client.Addr().Is4In6() || client.Addr().Zone() != "") {
			t.Errorf("client %v", client)
		}
		if forwarding.Field == tunnel.XRealIP || !named || forwarding.Trusts(client.Addr()) {
			return
		}
		header[forwarding.Field] = []string{"192.0.2.99", first, second}
		if forwarding.Field == tunnel.FieldRFC7239 {
			header[forwarding.Field][0] = "for=192.0.2.99"
		}
		if again, _ := forwarding.Client(peer, header); again != client {
			t.Errorf("client %v, and %v with a claim before it", client, again)
		}
		if got, _ := forwarding.Client(netip.MustParseAddrPort("203.0.113.1:80"), header); got != netip.MustParseAddrPort("203.0.113.1:80") {
			t.Errorf("a stranger is believed: %v", got)
		}
	})
}
