package tlsconf

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// renewRetry is the shortest time between two tries to renew.
	renewRetry = time.Minute
	// caNotice is how long before its end an authority is warned about.
	caNotice = 180 * 24 * time.Hour
	// maxInterfaceAddrs bounds the certificate of a machine with very many addresses.
	maxInterfaceAddrs = 64
)

// internal serves certificates of the gateway's own authority. It renews when a handshake finds that a third of the certificate's life is left: no
// goroutine and no timer, and a gateway that nobody calls needs no new certificate.
type internal struct {
	// Set at construction.
	ca    *authority
	names []string
	addrs []net.IP
	log   zerolog.Logger

	current atomic.Pointer[issued]
	renewMu sync.Mutex // held by the one handshake that renews; the others go on with what there is
}

// issued is a certificate and when to renew it. Immutable.
type issued struct {
	cert    *tls.Certificate
	renewAt time.Time
}

func newInternal(cfg Config) (*internal, []string, error) {
	now := time.Now()
	names, addrs, err := subjects(cfg.Names)
	if err != nil {
		return nil, nil, err
	}
	ca, made, err := openAuthority(cfg.Storage, now)
	if err != nil {
		return nil, nil, fmt.Errorf("internal certificate authority: %w", err)
	}
	p := &internal{ca: ca, names: names, addrs: addrs, log: cfg.Log}
	if err := p.renew(now); err != nil {
		return nil, nil, fmt.Errorf("internal certificate: %w", err)
	}
	var warnings []string
	if cfg.Storage == "" {
		warnings = append(warnings, "the internal authority is kept in memory only: clients have to trust a new one after each start, name a directory (tls.storage)")
	} else if path := filepath.Join(cfg.Storage, caKeyFile); readableByOthers(path) {
		warnings = append(warnings, path+" can be read by other users, who can then pose as this gateway: chmod 600 "+path)
	}
	if left := ca.cert.NotAfter.Sub(now); left < caNotice {
		warnings = append(warnings, fmt.Sprintf("the internal authority ends on %s: plan to %s", ca.cert.NotAfter.Format(time.DateOnly), remake))
	}
	if made {
		cfg.Log.Info().Str("storage", cfg.Storage).Time("not_after", ca.cert.NotAfter).Msg("internal certificate authority made")
	}
	return p, warnings, nil
}

// run: renewal needs no goroutine.
func (p *internal) run(context.Context) error { return nil }

func (p *internal) status() []Status {
	cur := p.current.Load()
	s := Status{Name: p.names[0], Source: Internal, State: stateOf(cur.cert, 0, time.Now()), NextTry: cur.renewAt}
	s.describe(cur.cert.Leaf)
	return []Status{s}
}

func (p *internal) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cur := p.current.Load()
	now := time.Now()
	if now.Before(cur.renewAt) || !p.renewMu.TryLock() {
		return cur.cert, nil
	}
	defer p.renewMu.Unlock()
	if cur = p.current.Load(); now.Before(cur.renewAt) {
		return cur.cert, nil
	}
	if err := p.renew(now); err != nil {
		p.log.Error().Err(err).Time("not_after", cur.cert.Leaf.NotAfter).Msg("internal certificate not renewed, the old one stays")
		p.current.Store(&issued{cur.cert, now.Add(renewRetry)})
	}
	return p.current.Load().cert, nil
}

// renew makes a new certificate the current one.
func (p *internal) renew(now time.Time) error {
	cert, err := p.ca.issue(p.names, p.addrs, now)
	if err != nil {
		return err
	}
	life := cert.Leaf.NotAfter.Sub(now)
	p.current.Store(&issued{cert, now.Add(max(life-life/3, renewRetry))})
	p.log.Info().Time("not_after", cert.Leaf.NotAfter).Strs("names", p.names).Msg("internal certificate issued")
	return nil
}

// subjects returns what the internal certificate stands for: this machine under every name and address it knows of, and extra.
func subjects(extra []string) (names []string, addrs []net.IP, err error) {
	names = []string{"localhost"}
	ips := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	for _, name := range extra {
		if addr, err := netip.ParseAddr(name); err == nil && addr.Zone() == "" {
			ips = append(ips, addr.Unmap())
			continue
		}
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !validName(strings.TrimPrefix(name, "*.")) {
			return nil, nil, fmt.Errorf("%q is neither a DNS name nor an IP address (tls.domains)", name)
		}
		names = append(names, name)
	}
	if host, err := os.Hostname(); err == nil {
		if host = strings.ToLower(strings.TrimSuffix(host, ".")); validName(host) {
			names = append(names, host)
		}
	}
	ips = append(ips, interfaceAddrs()...)

	slices.Sort(names[1:])
	slices.SortFunc(ips[2:], netip.Addr.Compare)
	seen := map[netip.Addr]bool{}
	for _, ip := range ips {
		if !seen[ip] {
			addrs = append(addrs, ip.AsSlice())
			seen[ip] = true
		}
	}
	return slices.Compact(names), addrs, nil
}

// interfaceAddrs returns the addresses of this machine that other machines can use without naming an interface.
func interfaceAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		ipNet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(ipNet.IP); ok && ip.Unmap().IsGlobalUnicast() && len(out) < maxInterfaceAddrs {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// validName tells whether name can stand in a certificate: labels of letters, digits and inner hyphens or underscores.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}
