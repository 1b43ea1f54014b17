package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/configs"
	"culvert/gateway"
)

// neighbour is a session over the same gateway, which must go on whatever others do.
func neighbour(t *testing.T, g *gateway.Gateway) (check func()) {
	t.Helper()
	c := dialGateway(t, g, "http") // another route than that of the test
	return func() {
		t.Helper()
		got := make([]byte, 5)
		if _, err := c.Write([]byte("\x03echo")); err != nil {
			t.Error(err)
		} else if _, err := io.ReadFull(c, got); err != nil || string(got) != "\x03echo" {
			t.Errorf("the neighbour got %q, error %v", got, err)
		}
	}
}

// besides gives clients of another listener a backend that echoes.
func besides(t *testing.T, cfg configs.Config) configs.Config {
	t.Helper()
	echo := backend(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	other := transparent(t, echo, func(r *configs.Route) { r.Listener = "http" }).Routes[0]
	cfg.Routes[0].Listener = "rtmp"
	cfg.Routes = append(cfg.Routes, other)
	return cfg
}

// Each way in which a backend can fail in transparent mode: the client gets every byte there was, then the end; nobody else notices, and nothing stays.
func TestTransparentBadBackends(t *testing.T) {
	shaken := func(c *net.TCPConn, then string) {
		hello := make([]byte, 1537)
		if _, err := io.ReadFull(c, hello); err == nil {
			_, _ = c.Write(append(bytes.Repeat([]byte{3}, 3073), then...))
		}
	}
	for name, tc := range map[string]struct {
		serve func(c *net.TCPConn)
		want  int  // bytes that the client gets
		reset bool // it may get fewer
	}{
		"closes at once":               {func(*net.TCPConn) {}, 0, false},
		"resets":                       {func(c *net.TCPConn) { shaken(c, ""); _ = c.SetLinger(0) }, 3073, true},
		"closes after the handshake":   {func(c *net.TCPConn) { shaken(c, "") }, 3073, false},
		"closes in the middle":         {func(c *net.TCPConn) { shaken(c, "\x03\x00\x00\x00\x00\x01\x00\x14\x00\x00\x00\x00\x02") }, 3073 + 13, false},
		"garbage":                      {func(c *net.TCPConn) { shaken(c, "\xc3garbage") }, 3073 + 8, false},
		"absurd message":               {func(c *net.TCPConn) { shaken(c, "\x03\x00\x00\x00\xff\xff\xff\x14\x00\x00\x00\x00") }, 3073 + 12, false},
		"absurd chunk size":            {func(c *net.TCPConn) { shaken(c, "\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\xff\xff\xff\xff") }, 3073 + 16, false},
		"hangs after the handshake":    {func(c *net.TCPConn) { shaken(c, ""); _, _ = io.Copy(io.Discard, c) }, 3073, false},
		"hangs without the handshake":  {func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }, 0, false},
		"half of it, and then silence": {func(c *net.TCPConn) { _, _ = c.Write(make([]byte, 1000)); _, _ = io.Copy(io.Discard, c) }, 1000, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var open atomic.Int32
			server := backend(t, func(c *net.TCPConn) {
				open.Add(1)
				tc.serve(c)
				if !strings.HasPrefix(name, "h") && name != "resets" { // it has closed its side
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c) // a reset would take what the client has not got yet
				}
				open.Add(-1)
			})
			cfg := besides(t, transparent(t, server, func(r *configs.Route) {
				r.Proxy.IdleTimeout = configs.Duration(200 * time.Millisecond)
			}))
			cfg.Routes[1].Proxy.IdleTimeout = 0
			g, _ := start(t, cfg, gateway.Options{})
			check := neighbour(t, g)
			check()
			c := dialGateway(t, g, "rtmp")
			if _, err := c.Write(append([]byte{3}, make([]byte, 1536)...)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) || len(got) > tc.want || len(got) < tc.want && !tc.reset {
				t.Errorf("the client got %d bytes of %d, error %v", len(got), tc.want, err)
			}
			check()
			c.Close()
			eventually(t, "the end of the backend's connection", func() bool { return open.Load() == 0 })
			waitForMetric(t, g, `culvert_backend_sessions{backend="rtmp://`+server+`",route="routes[0]"} 0`)
		})
	}
}

// Clients that vanish in transparent mode, in each state, leave nothing behind.
func TestTransparentVanishingClients(t *testing.T) {
	send := func(n int) func(c *net.TCPConn) {
		return func(c *net.TCPConn) { _, _ = c.Write(bytes.Repeat([]byte{3}, n)) }
	}
	both := func(n int) func(c *net.TCPConn) {
		return func(c *net.TCPConn) {
			send(n)(c)
			_, _ = io.ReadFull(c, make([]byte, n))
		}
	}
	for name, state := range map[string]func(c *net.TCPConn){
		"first byte":                    send(1),
		"in the middle of C1":           send(700),
		"handshake sent":                send(1537),
		"in the middle of a stream":     both(100_000),
		"much is on its way to it":      send(1 << 20),
		"it has closed its sending end": func(c *net.TCPConn) { both(1537)(c); _ = c.CloseWrite() },
	} {
		for _, how := range []string{"closed", "reset"} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				var began, open atomic.Int32
				server := backend(t, func(c *net.TCPConn) {
					began.Add(1)
					open.Add(1)
					_, _ = io.Copy(c, c)
					open.Add(-1)
				})
				cfg := besides(t, transparent(t, server, nil))
				g, _ := start(t, cfg, gateway.Options{})
				check := neighbour(t, g)
				c := dialGateway(t, g, "rtmp")
				state(c)
				eventually(t, "the backend to be reached", func() bool { return began.Load() == 1 })
				if how == "reset" {
					_ = c.SetLinger(0)
				}
				c.Close()
				eventually(t, "the end of the backend's connection", func() bool { return open.Load() == 0 })
				waitForMetric(t, g, `culvert_backend_sessions{backend="rtmp://`+server+`",route="routes[0]"} 0`)
				check()
			})
		}
	}
}
