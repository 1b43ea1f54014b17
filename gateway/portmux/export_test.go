package portmux

import (
	"io"
	"net/netip"
)

// Clients returns the number of addresses that are counted.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.per)
}

// AddAddress counts one connection of the client address.
func (l *Limiter) AddAddress(text string) bool { return l.addAddress(netip.MustParseAddr(text)) }

// ReadProxy reads a PROXY header from r, the bytes behind it come last.
func ReadProxy(r io.Reader, first byte) (found bool, source string, rest []byte, err error) {
	h, rest, err := readProxy(r, first)
	if h.source != nil {
		source = h.source.String()
	}
	return h.found, source, rest, err
}
