package tlsconf_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"

	"culvert/testdata/pebble"
	tlsconf "culvert/tls"
)

func TestMain(m *testing.M) {
	var ignored []goleak.Option
	for _, f := range pebble.Leaks {
		ignored = append(ignored, goleak.IgnoreAnyFunction(f))
	}
	goleak.VerifyTestMain(m, ignored...)
}

// internal makes a source with an authority in memory and the pool that trusts it.
func internal(t *testing.T, cfg tlsconf.Config) (*tlsconf.Source, *x509.CertPool) {
	t.Helper()
	src, err := tlsconf.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(src.CAPEM()) {
		t.Fatalf("CAPEM holds no certificate: %s", src.CAPEM())
	}
	return src, pool
}

// dial handshakes over a pipe, sends a byte in each direction, closes both ends in order and returns what the client saw. A ticket of the server has
// been handled by the client when it returns.
func dial(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	state, serverErr, clientErr := handshake(server, client)
	return state, errors.Join(clientErr, serverErr)
}

func handshake(server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	a, b := net.Pipe()
	buffered := newBuffered(a)
	done := make(chan error, 1)
	go func() { // ends when the client closes, at the latest; waited for below
		defer buffered.Close()
		conn := tls.Server(buffered, server)
		_, err := io.ReadFull(conn, make([]byte, 1))
		if err == nil {
			_, err = conn.Write([]byte{2})
		}
		done <- err
	}()
	conn := tls.Client(b, client)
	clientErr = func() error {
		if err := conn.HandshakeContext(context.Background()); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}()
	state = conn.ConnectionState()
	b.Close()
	serverErr = <-done
	buffered.wait()
	return state, serverErr, clientErr
}

// buffered is a pipe whose Write does not wait for the reader. With bare pipes a client that refuses the certificate and a server that is still sending it
// wait for each other for ever.
type buffered struct {
	net.Conn
	out    chan []byte
	pumped chan struct{}
}

func newBuffered(conn net.Conn) *buffered {
	b := &buffered{Conn: conn, out: make(chan []byte, 64), pumped: make(chan struct{})}
	go func() { // ends when Close closes out; waited for by wait
		defer close(b.pumped)
		for p := range b.out {
			_, _ = conn.Write(p) // fails at once when the other end is closed
		}
		conn.Close()
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	b.out <- append([]byte(nil), p...)
	return len(p), nil
}

func (b *buffered) Close() error {
	close(b.out)
	return nil
}

func (b *buffered) wait() { <-b.pumped }
