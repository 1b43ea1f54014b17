package portmux

import (
	"net/netip"
	"sync"
)

// Limiter counts open connections, in all and per client address. Several muxes may
// share one. Methods may run concurrently.
//
// An IPv6 client counts by its /64, the smallest network that is handed out: otherwise
// one host would have 2^64 addresses to spend.
type Limiter struct {
	// set at construction
	total, perAddress int

	mu sync.Mutex
	// guarded by mu
	open int
	per  map[netip.Addr]int
}

// NewLimiter returns a Limiter for total connections, of which perAddress may come from
// one address. Zero or less means no limit.
func NewLimiter(total, perAddress int) *Limiter {
	return &Limiter{total: total, perAddress: perAddress, per: make(map[netip.Addr]int)}
}

// Open returns the number of open connections.
func (l *Limiter) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// add counts one connection; false when there are too many.
func (l *Limiter) add() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total > 0 && l.open >= l.total {
		return false
	}
	l.open++
	return true
}

// addAddress counts one connection of addr; false when there are too many.
func (l *Limiter) addAddress(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := client(addr)
	if l.perAddress > 0 && l.per[key] >= l.perAddress {
		return false
	}
	l.per[key]++
	return true
}

func (l *Limiter) remove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

func (l *Limiter) removeAddress(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := client(addr)
	if l.per[key]--; l.per[key] <= 0 {
		delete(l.per, key)
	}
}

// client is what counts as one address.
func client(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil { // impossible for an IPv6 address
		return addr
	}
	return network.Addr()
}
