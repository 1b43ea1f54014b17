package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/message"
)

// transparent is a configuration that passes everything to a backend.
func transparent(t *testing.T, to string, change func(*configs.Route)) configs.Config {
	t.Helper()
	cfg := config(t)
	r := configs.DefaultRoute()
	r.Mode = configs.RouteTransparent
	r.Proxy.To = []configs.Backend{{URL: "rtmp://" + to, Weight: 1}}
	if change != nil {
		change(&r)
	}
	cfg.Routes = []configs.Route{r}
	return cfg
}

func dialGateway(t *testing.T, g *gateway.Gateway, listener string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", g.Addr(listener).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// requireEnd begins a session and waits until the gateway ends it.
func requireEnd(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if _, err := c.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the session goes on: %v", err)
	}
}

// Bytes of any dialect pass untouched, in both directions, more of them than fit anywhere on the way.
func TestTransparentBytes(t *testing.T) {
	echo := backend(t, func(c *net.TCPConn) {
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})
	for _, first := range []byte{0x03, 0x06, 0x08, 0x09} {
		g, _ := start(t, transparent(t, echo, nil), gateway.Options{})
		c := dialGateway(t, g, "rtmp")
		sent := bytes.Repeat([]byte{first, 0, 1, 2, 3, 250, 251}, 1<<20)
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite() // and the other direction goes on
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("version %d: %d of %d bytes came back, error %v", first, len(got), len(sent), err)
		}
	}
}

// A client that reads nothing holds its backend back, and nobody else. What it gets later is whole.
func TestTransparentStalledClient(t *testing.T) {
	const much = 64 << 20 // more than all buffers on the way
	stalled, sent := make(chan struct{}), make(chan int, 1)
	server := backend(t, func(c *net.TCPConn) {
		var first [1]byte
		if _, err := io.ReadFull(c, first[:]); err != nil {
			return
		}
		if first[0] == 6 {
			_, _ = io.Copy(c, c)
			return
		}
		n, part, held := 0, bytes.Repeat([]byte("0123456789abcdef"), 4<<10), false
		for n < much {
			wait := 200 * time.Millisecond
			if held {
				wait = time.Minute
			}
			_ = c.SetWriteDeadline(time.Now().Add(wait))
			k, err := c.Write(part[n%len(part):])
			n += k
			switch {
			case err == nil:
			case held || !errors.Is(err, os.ErrDeadlineExceeded):
				t.Errorf("after %d bytes: %v", n, err)
				return
			default:
				held = true
				close(stalled)
			}
		}
		sent <- n
		_ = c.CloseWrite()
	})
	g, _ := start(t, transparent(t, server, nil), gateway.Options{})
	slow, other := dialGateway(t, g, "rtmp"), dialGateway(t, g, "rtmp")
	if _, err := slow.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stalled:
	case <-sent:
		t.Fatal("a backend whose client reads nothing could send everything")
	}
	if _, err := other.Write([]byte("\x06echo")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(other, got); err != nil || string(got) != "echo" {
		t.Errorf("beside a stalled client another got %q, %v", got, err)
	}
	n := 0
	for buf := make([]byte, 1<<20); ; {
		k, err := slow.Read(buf)
		for i, b := range buf[:k] {
			if b != "0123456789abcdef"[(n+i)%16] {
				t.Fatalf("byte %d is %q", n+i, b)
			}
		}
		n += k
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
	}
	if want := <-sent; n != want {
		t.Errorf("%d bytes came, %d were sent", n, want)
	}
}

// The backend's answer to the handshake is in the answer to the request that brought the client's part, although it arrives in pieces
// (wire fact 6).
func TestTransparentHandshakeInOneAnswer(t *testing.T) {
	answer := make([]byte, 1+1536+1536)
	for i := range answer {
		answer[i] = byte(i)
	}
	server := backend(t, func(c *net.TCPConn) {
		if _, err := io.ReadFull(c, make([]byte, 1537)); err != nil {
			return
		}
		for _, part := range [][]byte{answer[:1], answer[1:1500], answer[1500:]} {
			_, _ = c.Write(part)
			waitForAck(t, c)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	g, _ := start(t, transparent(t, server, nil), gateway.Options{})
	p := dialTunnel(t, g)
	p.write("/send/"+p.id+"/0", append([]byte{3}, make([]byte, 1536)...))
	if body := p.answer(); len(body) != 1+len(answer) || !bytes.Equal(body[1:], answer) {
		t.Errorf("the answer has %d bytes, want the poll byte and %d of the handshake", len(body), len(answer))
	}
}

// A server that waits for more of the client before it says all of its handshake is not waited for.
func TestTransparentHalfAnswer(t *testing.T) {
	server := backend(t, func(c *net.TCPConn) {
		_, _ = c.Write(bytes.Repeat([]byte{3}, 1537))
		_, _ = io.Copy(io.Discard, c)
	})
	g, _ := start(t, transparent(t, server, nil), gateway.Options{})
	p := dialTunnel(t, g)
	p.write("/send/"+p.id+"/0", append([]byte{3}, make([]byte, 1536)...))
	got := len(p.answer()) - 1
	for i := 1; got < 1537 && i < 20; i++ {
		p.write("/idle/"+p.id+"/"+string(rune('0'+i)), []byte{0})
		got += len(p.answer()) - 1
	}
	if got != 1537 {
		t.Errorf("%d bytes of 1537 came", got)
	}
}

// Sessions end that are silent for too long, or last for too long.
func TestTransparentLimits(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*configs.Route)
		metric string
	}{
		"silence": {func(r *configs.Route) { r.Proxy.IdleTimeout = configs.Duration(50 * time.Millisecond) }, `culvert_rejected_total{reason="idle_timeout"} 1`},
		"age":     {func(r *configs.Route) { r.Proxy.MaxTime = configs.Duration(50 * time.Millisecond) }, `culvert_rejected_total{reason="max_time"} 1`},
	} {
		t.Run(name, func(t *testing.T) {
			server := backend(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
			g, _ := start(t, transparent(t, server, test.change), gateway.Options{})
			requireEnd(t, dialGateway(t, g, "rtmp"))
			waitForMetric(t, g, test.metric)
		})
	}
}

// A client whose backend cannot be reached is closed, counted, and nobody else notices.
func TestTransparentNoBackend(t *testing.T) {
	var log logBuffer
	cfg := transparent(t, "127.0.0.1:1", nil)
	cfg.Routes[0].Listener = "http"
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(&log)})
	requireEnd(t, dialGateway(t, g, "http"))
	waitForMetric(t, g, `culvert_rejected_total{reason="backend"} 1`)
	if !strings.Contains(log.String(), "no backend can be reached") {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
	conn, err := client.Connect(t.Context(), target(t, url(g, "rtmp", "live/x")), client.Options{}) // served here
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A route to one of the gateway's own listeners is refused, at the start when its address says so, else when it is dialled.
func TestRouteToItself(t *testing.T) {
	// Somebody may be faster in taking a port that was free.
	build := func(change func(port string) configs.Config) (*gateway.Gateway, error) {
		for attempt := 0; ; attempt++ {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			ln.Close()
			g, err := gateway.New(change(port), gateway.Options{})
			if err == nil || attempt == 20 || !strings.Contains(err.Error(), "another program listens") {
				return g, err
			}
		}
	}
	for _, host := range []string{"127.0.0.1", ""} {
		_, err := build(func(port string) configs.Config {
			cfg := transparent(t, "127.0.0.1:"+port, nil)
			cfg.Listen.RTMP = host + ":" + port
			return cfg
		})
		if err == nil || !strings.Contains(err.Error(), "leads back here") {
			t.Errorf("listening on %q: %v", host, err)
		}
	}
	g, err := build(func(port string) configs.Config {
		cfg := transparent(t, "localhost:"+port, nil)
		cfg.Listen.RTMP = "127.0.0.1:" + port
		return cfg
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, g)
	requireEnd(t, dialGateway(t, g, "rtmp"))
	waitForMetric(t, g, `culvert_rejected_total{reason="backend"} 1`)
}

// Applications of the gateway's own and those of a server behind it, over RTMPS and RTMPT to that, whose certificate is verified.
func TestLocalAndProxiedApps(t *testing.T) {
	behind, _ := start(t, config(t), gateway.Options{})
	for _, scheme := range []string{"rtmp", "rtmps", "rtmpt", "rtmpts"} {
		cfg := config(t)
		away := configs.DefaultApp()
		away.Proxy.To = []configs.Backend{{URL: url(behind, scheme, "elsewhere"), Weight: 1}}
		away.Proxy.TLS.Verify = false
		cfg.Apps = map[string]configs.App{"here": configs.DefaultApp(), "away": away}
		g, _ := start(t, cfg, gateway.Options{})
		for _, app := range []string{"here", "away"} {
			c, err := client.Connect(t.Context(), target(t, url(g, "rtmp", app+"/x")), client.Options{})
			if err != nil {
				t.Fatalf("%s over %s: %v", app, scheme, err)
			}
			id, err := c.CreateStream(t.Context())
			if err == nil {
				err = c.Publish(t.Context(), id, "by-"+scheme)
			}
			if err != nil {
				t.Errorf("%s over %s: %v", app, scheme, err)
			}
			_, list := get(t, behind.Addr("admin"), "/api/v1/streams")
			if there := strings.Contains(list, `"app":"elsewhere","name":"by-`+scheme+`"`); there != (app == "away") {
				t.Errorf("%s over %s: behind are %s", app, scheme, list)
			}
			c.Close()
		}
		if _, err := client.Connect(t.Context(), target(t, url(g, "rtmp", "nowhere/x")), client.Options{}); !isStatus(err, message.StatusConnectInvalidApp) {
			t.Errorf("an application that is nowhere: %v", err)
		}
	}
	distrusting := config(t)
	away := configs.DefaultApp()
	away.Proxy.To = []configs.Backend{{URL: url(behind, "rtmps", "elsewhere"), Weight: 1}}
	distrusting.Apps = map[string]configs.App{"away": away}
	g, _ := start(t, distrusting, gateway.Options{})
	if _, err := client.Connect(t.Context(), target(t, url(g, "rtmp", "away/x")), client.Options{}); !isStatus(err, message.StatusConnectRejected) {
		t.Errorf("a backend with a certificate of nobody: %v", err)
	}
}

func isStatus(err error, code string) bool {
	var status *rtmpcore.StatusError
	return errors.As(err, &status) && status.Code == code
}

// waitForAck waits until the other side has taken a piece off the wire, so that the next one comes by itself.
func waitForAck(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	eventually(t, "the other side to take what was sent", func() (acked bool) {
		_ = raw.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
			acked = err != nil || n == 0
		})
		return acked
	})
}
