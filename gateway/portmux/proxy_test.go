package portmux_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"

	"culvert/gateway/portmux"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 formats a version 2 header.
func v2(tb testing.TB, source, destination string, tlvs ...proxyproto.TLV) string {
	tb.Helper()
	resolve := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			tb.Fatal(err)
		}
		return a
	}
	h := proxyproto.HeaderProxyFromAddrs(2, resolve(source), resolve(destination))
	if err := h.SetTLVs(tlvs); err != nil {
		tb.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

var headers = map[string]struct {
	header func(tb testing.TB) string
	source string
	broken bool
}{
	"v1 TCP4":    {func(testing.TB) string { return "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n" }, "192.0.2.1:1111", false},
	"v1 TCP6":    {func(testing.TB) string { return "PROXY TCP6 2001:db8::1 2001:db8::2 1111 443\r\n" }, "[2001:db8::1]:1111", false},
	"v1 unknown": {func(testing.TB) string { return "PROXY UNKNOWN\r\n" }, "", false},
	"v2 TCP4":    {func(tb testing.TB) string { tb.Helper(); return v2(tb, "192.0.2.1:1111", "192.0.2.2:443") }, "192.0.2.1:1111", false},
	"v2 TCP6":    {func(tb testing.TB) string { tb.Helper(); return v2(tb, "[2001:db8::1]:1111", "[2001:db8::2]:443") }, "[2001:db8::1]:1111", false},
	"v2 with TLVs": {func(tb testing.TB) string {
		tb.Helper()
		return v2(tb, "192.0.2.1:1111", "192.0.2.2:443", proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: make([]byte, 2000)})
	}, "192.0.2.1:1111", false},
	"v2 local":        {func(testing.TB) string { return signature + "\x20\x00\x00\x00" }, "", false},
	"v1 too long":     {func(testing.TB) string { return "PROXY TCP4 " + strings.Repeat("1", 100) + "\r\n" }, "", true},
	"v1 bad address":  {func(testing.TB) string { return "PROXY TCP4 here there 1 2\r\n" }, "", true},
	"v1 bad port":     {func(testing.TB) string { return "PROXY TCP4 192.0.2.1 192.0.2.2 70000 2\r\n" }, "", true},
	"v2 too long":     {func(testing.TB) string { return signature + "\x21\x11\xff\xff" }, "", true},
	"v2 bad version":  {func(testing.TB) string { return signature + "\x31\x11\x00\x00" }, "", true},
	"v2 short fields": {func(testing.TB) string { return signature + "\x21\x11\x00\x04\x01\x02\x03\x04" }, "", true},
}

func TestProxyHeader(t *testing.T) {
	const behind = "\x03behind"
	for name, tt := range headers {
		t.Run(name, func(t *testing.T) {
			text := tt.header(t)
			for how, reader := range map[string]io.Reader{
				"at once":  strings.NewReader(text[1:] + behind),
				"in bytes": iotest.OneByteReader(strings.NewReader(text[1:] + behind)),
			} {
				found, source, rest, err := portmux.ReadProxy(reader, text[0])
				if (err != nil) != tt.broken {
					t.Fatalf("%s: %v", how, err)
				}
				if tt.broken {
					continue
				}
				if !found || source != tt.source {
					t.Errorf("%s: %v %s, want %s", how, found, source, tt.source)
				}
				all, err := io.ReadAll(io.MultiReader(bytes.NewReader(rest), reader))
				if err != nil || string(all) != behind {
					t.Errorf("%s: %q comes behind, %v", how, all, err)
				}
			}
			for i := 1; i < len(text); i++ {
				if found, _, _, err := portmux.ReadProxy(strings.NewReader(text[1:i]), text[0]); err == nil {
					t.Fatalf("cut at %d: found %v without an error", i, found)
				}
			}
		})
	}
}

// What only begins like a header comes back as it was.
func TestNoProxyHeader(t *testing.T) {
	for _, text := range []string{"POST /open/1 HTTP/1.1\r\n", "PROPFIND / HTTP/1.1\r\n", "PROXYx", "P\x00", "\r\nGET / HTTP/1.1", "\r\n\r\n\x00\r\nQUIX"} {
		r := iotest.OneByteReader(strings.NewReader(text[1:]))
		found, _, rest, err := portmux.ReadProxy(r, text[0])
		if found || err != nil {
			t.Errorf("%q: %v, %v", text, found, err)
		}
		all, err := io.ReadAll(io.MultiReader(bytes.NewReader(rest), r))
		if err != nil || string(all) != text {
			t.Errorf("%q: got %q, %v", text, all, err)
		}
	}
}

func TestTrustedProxy(t *testing.T) {
	header := "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n"
	cases := []struct {
		name, send, way, head string
		remote                string
		proxied               bool
	}{
		{"RTMP", header + "\x03c", "rtmp", "\x03c", "192.0.2.1:1111", true},
		{"HTTP", header + "POST /open/1", "http", "POST /open/1", "192.0.2.1:1111", true},
		{"client unknown", "PROXY UNKNOWN\r\n\x03c", "rtmp", "\x03c", "", true},
		{"no header, RTMP", "\x03c", "rtmp", "\x03c", "", false},
		{"no header, POST", "POST /open/1", "http", "POST /open/1", "", false},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			cfg, calls := recorder(len(tt.head))
			cfg.TrustedProxies = loopback()
			m := start(t, cfg)
			c := dial(t, m, tt.send)
			got := <-calls
			remote := tt.remote
			if remote == "" {
				remote = c.LocalAddr().String()
			}
			if got.way != tt.way || string(got.head) != tt.head || got.info.RemoteAddr.String() != remote || got.info.Proxied != tt.proxied {
				t.Errorf("%s got %q, %+v", got.way, got.head, got.info)
			}
			if tt.remote != "" && got.info.LocalAddr.String() != "192.0.2.2:443" {
				t.Errorf("LocalAddr = %v", got.info.LocalAddr)
			}
		})
	}
	t.Run("broken header", func(t *testing.T) {
		cfg, _ := recorder(1)
		cfg.TrustedProxies = loopback()
		m := start(t, cfg)
		closed(t, dial(t, m, "PROXY TCP4 x y 1 2\r\n"))
		rejected(t, m, portmux.ReasonProxyHeader)
	})
	t.Run("header in another segment than what follows", func(t *testing.T) {
		cfg, calls := recorder(2)
		cfg.TrustedProxies = loopback()
		m := start(t, cfg)
		c := dial(t, m, header)
		if _, err := c.Write([]byte("\x03c")); err != nil {
			t.Fatal(err)
		}
		if got := <-calls; string(got.head) != "\x03c" || !got.info.Proxied {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.header(f) + "\x03"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		r := bytes.NewReader(b[1:])
		found, source, rest, err := portmux.ReadProxy(r, b[0])
		if err != nil {
			return
		}
		if source != "" && !found {
			t.Error("a source without a header")
		}
		if !bytes.HasSuffix(b, append(rest, b[len(b)-r.Len():]...)) {
			t.Error("bytes behind the header are lost")
		}
	})
}
