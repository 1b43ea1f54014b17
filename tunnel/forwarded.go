package tunnel

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Header fields in which proxies name the client.
const (
	XForwardedFor = "X-Forwarded-For"
	XRealIP       = "X-Real-IP"
	FieldRFC7239  = "Forwarded"
)

// Forwarding says which proxies are believed about their clients' addresses.
// The zero value believes nobody.
//
// The client is the rightmost address that is not itself a trusted proxy: what
// stands left of it was written by somebody unknown. An entry that is no
// address ends the search, and with it the belief in what stands left of it. So
// does the fourth line of the field from the end: nobody has that many proxies that
// each write a line of their own.
type Forwarding struct {
	// Trusted are the addresses of the proxies.
	Trusted []netip.Prefix
	// Field is the one header field that is read: XForwardedFor (the default),
	// XRealIP or FieldRFC7239. It is one, because a proxy passes on those that
	// it does not write itself, from whoever wrote them.
	Field string
}

// Trusts reports whether addr is a trusted proxy.
func (f *Forwarding) Trusts(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range f.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Client returns the client's address for a request with the header h that
// peer sent. It is peer itself, and named is false, unless peer is trusted and
// names a client. The port is 0 if it is not known.
func (f *Forwarding) Client(peer netip.AddrPort, h http.Header) (client netip.AddrPort, named bool) {
	if !f.Trusts(peer.Addr()) {
		return peer, false
	}
	for _, line := range lastLines(h.Values(f.field())) {
		client = f.fold(client, line)
	}
	if !client.IsValid() {
		return peer, false
	}
	return client, true
}

// lastLines returns those of the field that are read: as many as the tunnel's own
// reader of heads keeps.
func lastLines(all []string) []string { return all[max(len(all)-forwardedLines, 0):] }

func (f *Forwarding) field() string {
	if f.Field == "" {
		return XForwardedFor
	}
	return f.Field
}

// fold takes one line of the field. client is the outcome of the lines before.
// Commas separate entries also inside of quotes, where no address has one:
// a client that opens a quote must not swallow what the proxy adds.
func (f *Forwarding) fold(client netip.AddrPort, line string) netip.AddrPort {
	if f.field() == XRealIP {
		client, _ = parseNode(strings.TrimSpace(line))
		return client
	}
	for entry := range strings.SplitSeq(line, ",") {
		entry = strings.Trim(entry, " \t")
		if entry == "" {
			continue
		}
		if f.field() == FieldRFC7239 {
			entry = forParameter(entry)
		}
		hop, ok := parseNode(entry)
		if !ok || !client.IsValid() || !f.Trusts(hop.Addr()) {
			client = hop
		}
	}
	return client
}

// forParameter returns the value of for= in an element of a Forwarded field
// (RFC 7239 §4), without quotes.
func forParameter(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if strings.EqualFold(name, "for") {
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value
		}
	}
	return ""
}

// parseNode reads an address with or without a port, an IPv6 address with or
// without brackets. What is no address is not ok.
func parseNode(s string) (a netip.AddrPort, ok bool) {
	ip, err := netip.ParseAddr(s)
	if n := len(s); err != nil && n > 2 && s[0] == '[' && s[n-1] == ']' {
		ip, err = netip.ParseAddr(s[1 : n-1])
	}
	if err == nil {
		a = netip.AddrPortFrom(ip, 0)
	} else if a, err = netip.ParseAddrPort(s); err != nil {
		return netip.AddrPort{}, false
	}
	ip = a.Addr().Unmap().WithZone("")
	if ip.IsUnspecified() || ip.IsMulticast() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, a.Port()), true
}

// addrPortOf returns the IP address of a, invalid if it has none.
func addrPortOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String()) // names are no addresses
	return ap
}

// origin says who sent a request.
type origin struct {
	addr net.Addr
	// key is what limits count by. It is zero for a trusted proxy that names no
	// client: one address then stands for everyone behind it.
	key     addrKey
	proxied bool
}

// origin returns who sent a request of a connection from meta.RemoteAddr. lines
// are those of the forwarding field, read only if the peer is trusted.
func (f *Forwarding) origin(meta ConnInfo, trusted bool, lines []string) origin {
	o := origin{addr: meta.RemoteAddr, proxied: meta.Proxied || trusted}
	if !trusted {
		o.key = keyOf(o.addr)
		return o
	}
	var client netip.AddrPort
	for _, line := range lastLines(lines) {
		client = f.fold(client, line)
	}
	if client.IsValid() {
		o.addr = net.TCPAddrFromAddrPort(client)
		o.key = keyOf(o.addr)
	}
	return o
}

type connInfoKey struct{}

// WithConnInfo returns a context for the requests of a connection that net/http
// serves. ServeHTTP takes from it what the requests do not tell: that the
// connection came through a proxy, and the name of the transport. The client
// address is Request.RemoteAddr all the same.
func WithConnInfo(ctx context.Context, info ConnInfo) context.Context {
	return context.WithValue(ctx, connInfoKey{}, info)
}

// ConnInfoFrom returns what WithConnInfo was given.
func ConnInfoFrom(ctx context.Context) (info ConnInfo, ok bool) {
	info, ok = ctx.Value(connInfoKey{}).(ConnInfo)
	return info, ok
}
