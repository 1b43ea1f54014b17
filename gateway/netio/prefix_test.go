package netio_test

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"culvert/gateway/netio"
)

func TestPrefixed(t *testing.T) {
	tcp, tcpClient := tcpPair(t)
	bare, bareClient := netPair(t)
	secure, secureClient := tlsPair(t, serverConfig(t), nil)
	pipe, pipeClient := net.Pipe()
	defer pipe.Close()
	cases := []struct {
		name                       string
		conn, client               net.Conn
		itself, half, state, write bool
	}{
		{"TCPConn", tcp, tcpClient, true, true, false, true},
		{"TLSConn", secure, secureClient, true, true, true, true},
		{"foreign half-closer", bare, bareClient, false, true, false, false},
		{"foreign TLS", tls.Server(pipe, serverConfig(t)), nil, false, true, true, false},
		{"plain", pipe, pipeClient, false, false, false, false},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			c := netio.Prefixed(netio.Prefixed(tt.conn, []byte("cd")), []byte("ab"))
			if same := c == tt.conn; same != tt.itself {
				t.Errorf("the conn itself: %v, want %v", same, tt.itself)
			}
			if _, ok := c.(interface{ CloseWrite() error }); ok != tt.half {
				t.Errorf("CloseWrite: %v, want %v", ok, tt.half)
			}
			if _, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok != tt.state {
				t.Errorf("ConnectionState: %v, want %v", ok, tt.state)
			}
			if _, ok := c.(interface {
				TryWritev(bufs [][]byte) (int, error)
			}); ok != (tt.write && abilities) {
				t.Errorf("TryWritev: %v, want %v", ok, tt.write)
			}
			if n, ok := c.(interface{ NetConn() net.Conn }); c != tcp && (!ok || n.NetConn() == nil) {
				t.Error("NetConn is missing")
			}
			if tt.client == nil {
				got := make([]byte, 4)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "abcd" {
					t.Errorf("read %q, %v", got, err)
				}
				return
			}
			sent := make(chan error, 1)
			go func() { // ends when the reader has read; waited below
				_, err := tt.client.Write([]byte("ef"))
				_ = tt.client.Close()
				sent <- err
			}()
			first := make([]byte, 3)
			if n, err := c.Read(first); err != nil || string(first[:n]) != "abc" {
				t.Errorf("read %q, %v", first[:n], err)
			}
			var got strings.Builder
			if _, err := io.Copy(&got, c); err != nil || got.String() != "def" {
				t.Errorf("read %q, %v", got.String(), err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrefixedNothing(t *testing.T) {
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	if c := netio.Prefixed(pipe, nil); c != pipe {
		t.Error("an empty prefix wraps the conn")
	}
}

func TestOnClose(t *testing.T) {
	server, _ := tcpPair(t)
	calls := 0
	server.OnClose(func() { calls++ })
	_ = server.Close()
	_ = server.Close()
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
	under, _ := tcpPair(t)
	under.OnClose(func() { calls++ })
	if _, err := netio.ServerTLS(t.Context(), under, serverConfig(t), 1); err == nil {
		t.Error("a handshake of one nanosecond")
	}
	if calls != 2 {
		t.Error("a failed handshake leaves the socket open")
	}
}
