package configs

import (
	"fmt"
	"net/netip"
	"strings"
)

// Prefix is a range of addresses. As text it is a range in CIDR form (10.0.0.0/8, fd00::/8) or one address (192.0.2.7).
type Prefix struct{ netip.Prefix }

// UnmarshalText reads a prefix. Bits set behind the length and IPv6 zones are refused; an IPv4 address in IPv6 form becomes IPv4.
func (p *Prefix) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	if addr, err := netip.ParseAddr(t); err == nil {
		if addr.Zone() != "" {
			return fmt.Errorf("%q has a zone: leave %%%s out", t, addr.Zone())
		}
		addr = addr.Unmap()
		p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	v, err := netip.ParsePrefix(t)
	if err != nil || v.Addr().Is4In6() {
		return fmt.Errorf("%q is neither an address nor a range: write 192.0.2.7 or 10.0.0.0/8", t)
	}
	if v != v.Masked() {
		return fmt.Errorf("%q has bits behind its length: write %s", t, v.Masked())
	}
	p.Prefix = v
	return nil
}

// Trusted returns TrustedProxies as the standard library's type.
func (l Listen) Trusted() []netip.Prefix {
	out := make([]netip.Prefix, len(l.TrustedProxies))
	for i, p := range l.TrustedProxies {
		out[i] = p.Prefix
	}
	return out
}
