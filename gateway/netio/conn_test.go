package netio_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"culvert/gateway/netio"
)

// Both types are complete net.Conn values, deadlines and concurrency included.
func TestConn(t *testing.T) {
	for name, poller := range map[string]*netio.Poller{"TCP": nil, "TCP of a poller": shared} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				s, client := netPair(t)
				server := poller.Adopt(s)
				return server, client, func() {
					_ = server.Close()
					_ = client.Close()
				}, nil
			})
		})
	}
	t.Run("TLS", func(t *testing.T) {
		if !abilities {
			t.Skip("crypto/tls cannot write after a deadline")
		}
		cfg := serverConfig(t)
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			server, client := tlsPair(t, cfg, nil)
			return server, client, func() {
				_ = server.Close()
				_ = client.NetConn().Close() // without the wait for a close_notify to leave
			}, nil
		})
	})
}

// Both directions at once over one connection.
func TestTLSFullDuplex(t *testing.T) {
	server, client := tlsPair(t, serverConfig(t), nil)
	data := pattern(8 << 20)
	errs := make(chan error, 4)
	write := func(c io.Writer) {
		_, err := c.Write(data)
		errs <- err
	}
	read := func(c io.Reader) {
		got := make([]byte, len(data))
		_, err := io.ReadFull(c, got)
		if err == nil && !bytes.Equal(got, data) {
			t.Error("bytes differ")
		}
		errs <- err
	}
	for _, c := range []io.ReadWriter{server, client} { // all end with the data; waited below
		go write(c)
		go read(c)
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestServerTLSClearsItsDeadline(t *testing.T) {
	server, client := tcpPair(t)
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is thrown away
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }() // ends with the handshake; waited below
	timeout := 300 * time.Millisecond
	begin := time.Now()
	s, err := netio.ServerTLS(t.Context(), server, serverConfig(t), timeout)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { // ends with the read; waited below
		<-time.After(time.Until(begin.Add(timeout + 50*time.Millisecond)))
		_, err := c.Write([]byte("late"))
		answered <- err
	}()
	got := make([]byte, 4)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "late" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
