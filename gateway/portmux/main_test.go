package portmux_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"culvert/gateway/netio"
	"culvert/gateway/portmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate makes a throwaway server certificate.
func certificate(tb testing.TB) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "culvert test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1", "h2"}, // h2 only for who offers nothing else
	}
}

// arrived is a call of a handler.
type arrived struct {
	way  string // rtmp, http, h2
	info portmux.Info
	head []byte // the first bytes the handler read
	conn net.Conn
}

// recorder returns a Config whose handlers read n bytes, report, and close.
func recorder(n int) (portmux.Config, chan arrived) {
	calls := make(chan arrived, 100)
	handle := func(way string) func(net.Conn, portmux.Info) {
		return func(c net.Conn, info portmux.Info) {
			defer c.Close()
			head := make([]byte, n)
			got, _ := io.ReadFull(c, head)
			calls <- arrived{way, info, head[:got], c}
		}
	}
	h2 := handle("h2")
	return portmux.Config{
		Name: "test", SniffTimeout: time.Minute,
		RTMP: handle("rtmp"), HTTP: handle("http"),
		H2: func(c *tls.Conn, info portmux.Info) { h2(c, info) },
	}, calls
}

// listeners are the two kinds of connections: those that wait for their first byte
// without a goroutine, and those that cannot.
var listeners = map[string]func(t *testing.T) net.Listener{"parked": parking, "not parked": plain}

func parking(t *testing.T) net.Listener {
	t.Helper()
	p, err := netio.NewPoller(1)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	go func() { defer close(ran); p.Run() }() // stopped and waited by the cleanup
	t.Cleanup(func() { p.Close(); <-ran })
	ln, err := netio.Listen(t.Context(), "127.0.0.1:0", p)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func plain(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// start runs a mux on loopback until the test ends.
func start(t *testing.T, cfg portmux.Config) *portmux.Mux {
	t.Helper()
	return startOn(t, parking(t), cfg)
}

func startOn(t *testing.T, ln net.Listener, cfg portmux.Config) *portmux.Mux {
	t.Helper()
	var mu sync.Mutex
	told := make(map[string]uint64)
	cfg.Refused = func(r portmux.Reason, client net.Addr, _ error) {
		mu.Lock()
		defer mu.Unlock()
		told[r.String()]++
		if client == nil {
			t.Errorf("%s: nobody was refused", r)
		}
	}
	m := portmux.New(ln, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }() // stopped by cancel; waited by the cleanup
	t.Cleanup(func() {
		cancel()
		m.CloseConns()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		for name, n := range m.Rejects().Snapshot() {
			if n != told[name] && cfg.Rejects == nil {
				t.Errorf("%s was counted %d times, told %d times", name, n, told[name])
			}
		}
	})
	return m
}

// dial connects to the mux and writes first.
func dial(t *testing.T, m *portmux.Mux, first string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", m.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed waits until the mux has closed c.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("bytes instead of the end")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // straight from the socket
		t.Fatal("the connection was not closed")
	}
}

// rejected waits until one connection was closed for each of reasons, and checks that
// none was for another.
func rejected(t *testing.T, m *portmux.Mux, reasons ...portmux.Reason) {
	t.Helper()
	want := make(map[string]uint64)
	for _, r := range reasons {
		want[r.String()]++
		waitFor(t, func() bool { return m.Rejects().Count(r) > 0 })
	}
	for name, n := range m.Rejects().Snapshot() {
		if n != want[name] {
			t.Errorf("%s = %d, want %d", name, n, want[name])
		}
	}
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
