package netio_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"culvert/gateway/netio"
)

// shared is the Poller of tests that need none of their own.
var shared *netio.Poller

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if shared, err = netio.NewPoller(1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ran := make(chan struct{})
	go func() { defer close(ran); shared.Run() }() // stopped by Close; waited below
	code := m.Run()
	shared.Close()
	<-ran
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// tcpPair returns a server side that can be parked and the plain client side of one
// loopback connection.
func tcpPair(tb testing.TB) (server *netio.TCPConn, client *net.TCPConn) {
	tb.Helper()
	s, client := netPair(tb)
	server = shared.Adopt(s)
	tb.Cleanup(func() { _ = server.Close() })
	return server, client
}

// netPair returns both sides of a loopback connection.
func netPair(tb testing.TB) (server, client *net.TCPConn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	client = dial(tb, ln.Addr().String())
	s, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s.(*net.TCPConn), client
}

// dial connects to an address until the test ends.
func dial(tb testing.TB, addr string) *net.TCPConn {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// serverConfig returns a TLS configuration with a throwaway certificate.
func serverConfig(tb testing.TB) *tls.Config {
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
	}
}

// tlsPair returns both sides of a TLS connection after its handshake.
func tlsPair(tb testing.TB, cfg *tls.Config, clientCfg *tls.Config) (*netio.TLSConn, *tls.Conn) {
	tb.Helper()
	server, client := tcpPair(tb)
	if clientCfg == nil {
		clientCfg = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is thrown away
	}
	c := tls.Client(client, clientCfg)
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }() // ends with the handshake; waited below
	s, err := netio.ServerTLS(tb.Context(), server, cfg, 10*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s, c
}

// pool returns a pool of buffers of size bytes and a count of those outside it.
func pool(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}

// pattern returns n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}
