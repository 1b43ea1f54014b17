//go:build interop

package interop_test

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
)

// TestRTMPDumpTLS13: librtmp names no server in its handshake; over RTMPS and RTMPTS it gets every frame with TLS 1.3, which is all that is spoken here.
// After it a client that does name one resumes on its second connection.
func TestRTMPDumpTLS13(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg", "rtmpdump")
	config := filepath.Join(t.TempDir(), "culvert.yaml")
	write(t, config, `log: {level: debug, format: json}
listen: {rtmp: "127.0.0.1:0", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {mode: internal, min_version: "1.3"}
`)
	s := serveArgs(t, "serve", "-c", config)
	for _, out := range []string{"rtmps", "rtmpts"} {
		t.Run(out, func(t *testing.T) {
			t.Parallel()
			stream := "tls13-" + out
			wire, url := newTap(t, s.url(t, out, stream))
			p := playRTMPDump(t, strings.Replace(url, "127.0.0.1", "localhost", 1)) // a name, which other clients would send
			awaitLines(t, s, stream, "playing", 1)
			publishFFmpeg(t, film.file(t), s.url(t, "rtmp", stream)).wait(t)
			p.require(t, film.media(t), anywhere, exact)
			if wire.saw(c2s, "localhost") {
				t.Error("rtmpdump sends a server name: this test no longer shows what one without it gets")
			}
		})
	}
	t.Run("with a server name", func(t *testing.T) {
		t.Parallel()
		address := strings.TrimPrefix(s.url(t, "rtmps", ""), "rtmps://")
		address, _, _ = strings.Cut(address, "/")
		config := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)} //nolint:gosec // resumption is looked at
		for i := range 2 {
			conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			c0c1 := make([]byte, 1537)
			c0c1[0] = 3
			if _, err := conn.Write(c0c1); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(c0c1); err != nil { // the ticket comes before S0
				t.Fatal(err)
			}
			if state := conn.(*tls.Conn).ConnectionState(); state.Version != tls.VersionTLS13 || state.DidResume != (i == 1) {
				t.Errorf("connection %d: version %x, resumed %v", i, state.Version, state.DidResume)
			}
			conn.Close()
		}
	})
}
