package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"culvert/gateway/netio"
	"culvert/gateway/portmux"
	"culvert/tunnel"
)

// Names of listeners: their keys in the configuration.
const (
	rtmpListener  = "rtmp"
	httpListener  = "http"
	httpsListener = "https"
	adminListener = "admin"
)

// listener is an open port.
type listener struct {
	net.Listener
	name string
	mux  *portmux.Mux // nil on the admin listener
}

// listen opens all ports, or none.
func (g *Gateway) listen() error {
	var errs []error
	for _, want := range []struct{ name, addr string }{
		{rtmpListener, g.cfg.Listen.RTMP},
		{httpListener, g.cfg.Listen.HTTP},
		{httpsListener, g.cfg.Listen.HTTPS},
		{adminListener, g.cfg.Listen.Admin},
	} {
		if want.addr == "" {
			continue
		}
		if want.name == httpsListener && g.tls == nil {
			g.log.Warn().Str("listener", want.name).Msg("not opened: tls.mode is off")
			continue
		}
		poller := g.poller
		if want.name == adminListener {
			poller = nil // net/http serves it
		}
		ln, err := netio.Listen(context.Background(), want.addr, poller)
		if err != nil {
			errs = append(errs, portError(want.name, want.addr, err))
			continue
		}
		g.listeners = append(g.listeners, &listener{Listener: ln, name: want.name})
	}
	if len(errs) == 0 && len(g.listeners) == 0 {
		errs = append(errs, errors.New("no listener is configured: set listen.rtmp, listen.http or listen.https"))
	}
	if len(errs) > 0 {
		g.closeListeners()
	}
	return errors.Join(errs...)
}

func (g *Gateway) closeListeners() {
	for _, l := range g.listeners {
		_ = l.Close()
	}
}

// portError says what to do about a port that cannot be opened.
func portError(name, addr string, err error) error {
	hint := "check the address"
	switch {
	case errors.Is(err, os.ErrPermission):
		hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program listens there already"
	}
	return fmt.Errorf("listen.%s: %s: %w; choose another port with --%s ADDR, or --%s \"\" to go without", name, hint, err, name, name)
}

// Addr returns the address of a listener by its name in the configuration, or
// nil when it is not open.
func (g *Gateway) Addr(name string) net.Addr {
	for _, l := range g.listeners {
		if l.name == name {
			return l.Addr()
		}
	}
	return nil
}

// port returns the port of a listener, 0 when it is not open.
func (g *Gateway) port(name string) int {
	addr := g.Addr(name)
	if addr == nil {
		return 0
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// newMux serves every transport on a listener.
func (g *Gateway) newMux(l *listener) *portmux.Mux {
	return portmux.New(l.Listener, portmux.Config{
		Name:           l.name,
		TLS:            g.tls[l.name],
		SniffTimeout:   time.Duration(g.cfg.Limits.SniffTimeout),
		TrustedProxies: g.cfg.Listen.Trusted(),
		Limiter:        g.limiter,
		Rejects:        &g.rejects,
		Log:            g.log,
		NotTrusted:     g.proxyNotTrusted,
		Refused: func(reason portmux.Reason, client net.Addr, why error) {
			g.refusals.note(reason.String(), client, why)
		},
		RTMP: func(c net.Conn, info portmux.Info) { g.serveRTMP(c, arrivalOf(info)) },
		RTMPParked: func(c net.Conn, info portmux.Info) bool {
			from := arrivalOf(info)
			client := g.proxyClient(c, from)
			if g.router.Transparent(client) != nil {
				return false // it waits for the backend
			}
			g.obey(c, from, client)
			return true
		},
		HTTP: func(c net.Conn, info portmux.Info) {
			transport := "rtmpt"
			if info.TLS != nil {
				transport = "rtmpts"
			}
			g.tunnel.StartConn(c, tunnel.ConnInfo{
				RemoteAddr: info.RemoteAddr,
				TLS:        info.TLS,
				Transport:  transport,
				Proxied:    info.Proxied,
			}, func(err error) {
				g.log.Debug().Uint64("conn", info.ID).Str("remote", info.RemoteAddr.String()).AnErr("reason", err).Msg("http connection ended")
			})
		},
		H2: func(c *tls.Conn, info portmux.Info) {
			g.arrivals.Store(net.Conn(c), tunnel.ConnInfo{
				RemoteAddr: info.RemoteAddr,
				TLS:        info.TLS,
				Transport:  "rtmpts",
				Proxied:    info.Proxied,
			})
			if g.handoff.Deliver(c) != nil { // closes c when the pages are down
				g.arrivals.Delete(net.Conn(c))
			}
		},
	})
}

// serveTunnelled serves a session of the tunnel, without waiting for anything.
func (g *Gateway) serveTunnelled(c *tunnel.Conn) {
	from := arrival{transport: c.Transport(), remote: c.RemoteAddr(), proxied: c.Proxied(), host: hostOnly(c.Host())}
	client := g.proxyClient(c, from)
	if g.router.Transparent(client) == nil {
		g.obey(c, from, client)
		return
	}
	g.sessions.run(func() { g.serveRTMP(c, from) })
}
