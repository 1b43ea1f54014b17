package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"culvert/gateway/client"
	"culvert/gateway/netio"
	"culvert/gateway/proxy"
)

// Names of backends are resolved for each connection, as their addresses change;
// answers are good for a moment, so that a thousand sessions do not ask a thousand times.
const (
	resolveTime  = 2 * time.Second
	maxResolved  = 64 // addresses that are kept of one name
	maxAddresses = 4  // of a name that one dialling tries
)

// errLoop says that a backend's address is one of the gateway's own.
var errLoop = errors.New("the address is one of this gateway's own listeners: the route leads back here")

// dialer opens connections to backends. Its methods may be called by any goroutine.
type dialer struct {
	// set at construction
	poller *netio.Poller
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	self   func(net.Addr) bool

	mu sync.Mutex
	// guarded by mu
	names map[string]*resolved
}

// resolved is the answer for a name.
type resolved struct {
	addrs []netip.Addr
	next  int
	until time.Time
}

func newDialer(poller *netio.Poller, self func(net.Addr) bool) *dialer {
	return &dialer{
		poller: poller,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		self:  self,
		names: make(map[string]*resolved),
	}
}

// dial implements [proxy.Dial]: scheme to transport.
func (d *dialer) dial(ctx context.Context, to proxy.BackendConfig, from proxy.Client) (net.Conn, error) {
	return client.Dial(ctx, client.Target{Scheme: to.Scheme, Host: to.Host, Port: to.Port}, client.Options{
		TLS: to.TLS,
		DialTCP: func(ctx context.Context, _ string) (*netio.TCPConn, error) {
			return d.tcp(ctx, to, from)
		},
	})
}

// tcp connects to one of the backend's addresses and sends what goes before all else.
func (d *dialer) tcp(ctx context.Context, to proxy.BackendConfig, from proxy.Client) (*netio.TCPConn, error) {
	addrs, err := d.resolve(ctx, to.Host)
	if err != nil {
		return nil, err
	}
	var last error
	for i, addr := range addrs {
		conn, err := d.connect(ctx, net.JoinHostPort(addr.String(), to.Port), len(addrs)-i)
		if err != nil {
			last = err
			continue
		}
		if d.self(conn.RemoteAddr()) {
			_ = conn.Close()
			return nil, errLoop
		}
		if to.Header != proxy.HeaderNone {
			if err := sendHeader(ctx, conn, to.Header, from); err != nil {
				_ = conn.Close()
				return nil, err
			}
		}
		return conn, nil
	}
	return nil, last
}

// resolve returns the addresses to try, beginning with another one each time.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	d.mu.Lock()
	known := d.names[host]
	d.mu.Unlock()
	if known == nil || time.Now().After(known.until) {
		addrs, err := d.lookup(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("resolve: %w", err)
		}
		if len(addrs) == 0 {
			return nil, fmt.Errorf("resolve: %s has no address", host)
		}
		fresh := &resolved{addrs: addrs[:min(len(addrs), maxResolved)], until: time.Now().Add(resolveTime)}
		if known != nil {
			fresh.next = known.next
		}
		known = fresh
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[host] = known // the names are those of the configuration
	out := make([]netip.Addr, 0, maxAddresses)
	for i := range min(len(known.addrs), maxAddresses) {
		out = append(out, known.addrs[(known.next+i)%len(known.addrs)].Unmap())
	}
	known.next = (known.next + 1) % len(known.addrs)
	return out, nil
}

// connect dials one address, for its part of the time there is.
func (d *dialer) connect(ctx context.Context, addr string, left int) (*netio.TCPConn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		part, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		ctx = part
	}
	return netio.Dial(ctx, addr, d.poller)
}

// sendHeader sends a PROXY protocol header. The zero client stands for the gateway.
func sendHeader(ctx context.Context, conn net.Conn, version proxy.Header, from proxy.Client) error {
	number := byte(1)
	if version == proxy.HeaderV2 {
		number = 2
	}
	b, err := headerFor(number, conn, from).Format()
	if err != nil {
		return fmt.Errorf("proxy protocol: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("proxy protocol: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

func headerFor(version byte, conn net.Conn, from proxy.Client) *proxyproto.Header {
	source, ok := from.Remote.(*net.TCPAddr)
	if !ok {
		return &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	}
	target, ok := from.Local.(*net.TCPAddr)
	if !ok {
		target, _ = conn.RemoteAddr().(*net.TCPAddr)
	}
	h := &proxyproto.Header{Version: version, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4}
	src, dst := &net.TCPAddr{IP: source.IP.To4(), Port: source.Port}, &net.TCPAddr{IP: target.IP.To4(), Port: target.Port}
	if src.IP == nil || dst.IP == nil { // one family for both
		h.TransportProtocol = proxyproto.TCPv6
		src.IP, dst.IP = source.IP.To16(), target.IP.To16()
	}
	h.SourceAddr, h.DestinationAddr = src, dst
	return h
}
