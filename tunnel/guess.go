package tunnel

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// addrKey is what counts as one client: an IPv4 address or an IPv6 /64.
type addrKey struct {
	ip   netip.Addr
	name string // of addresses that are no IP addresses
}

func keyOf(a net.Addr) addrKey {
	if a == nil {
		return addrKey{}
	}
	var ip netip.Addr
	if t, ok := a.(*net.TCPAddr); ok {
		ip, _ = netip.AddrFromSlice(t.IP)
	} else if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		ip = ap.Addr()
	} else {
		return addrKey{name: a.String()}
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			ip = p.Addr()
		}
	}
	return addrKey{ip: ip}
}

// guesses counts requests for unknown sessions per address. It is touched by
// such requests only, so that a valid session never meets it.
type guesses struct {
	mu   sync.Mutex
	from map[addrKey]guessCount
}

type guessCount struct {
	since int64
	n     int
}

// maxGuessers is the number of addresses counted at a time.
const maxGuessers = 4096

// count notes an unknown session id and says whether there were too many.
func (g *guesses) count(key addrKey, now int64, limit int) (tooMany bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, known := g.from[key]
	if !known || now-c.since > int64(guessWindow) {
		if g.from == nil {
			g.from = map[addrKey]guessCount{}
		}
		if !known && len(g.from) >= maxGuessers {
			for k, old := range g.from {
				if now-old.since > int64(guessWindow) {
					delete(g.from, k)
				}
			}
			if len(g.from) >= maxGuessers {
				return true
			}
		}
		c = guessCount{since: now}
	}
	c.n++
	g.from[key] = c
	return c.n > limit
}

// unknown is called for each request with an unknown session id, before it is
// answered 404. It waits if the address has guessed too often.
func (s *Server) unknown(key addrKey, from net.Addr) {
	if !s.guesses.count(key, s.clock(), s.cfg.Guesses) {
		s.refused(RejectUnknown, from)
		return
	}
	s.refused(RejectGuesses, from)
	t := time.NewTimer(s.cfg.GuessDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.done:
	}
}
