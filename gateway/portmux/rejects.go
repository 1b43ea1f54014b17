package portmux

import "sync/atomic"

// Reason says why a connection was closed before any handler saw it.
type Reason uint8

// The reasons, in the spelling of their String method.
const (
	ReasonEmpty        Reason = iota // "empty": closed by the peer without a byte, as health checks do
	ReasonTimeout                    // "timeout": the sniff deadline passed
	ReasonTotal                      // "connections": too many in all
	ReasonAddress                    // "connections_per_address": too many of this client
	ReasonProxyHeader                // "proxy_header": a PROXY header that cannot be read
	ReasonNotTrusted                 // "proxy_not_trusted": a PROXY header, version 2, of a peer that may not send one
	ReasonTLSHandshake               // "tls_handshake": TLS failed
	ReasonTLSOff                     // "tls_off": TLS where the listener has none
	ReasonUnknown                    // "unknown_protocol": none of ours
	ReasonNotServed                  // "not_served": a protocol this listener has no handler for
	ReasonInterrupted                // "interrupted": the connection failed while being sniffed
	reasonCount
)

var reasonNames = [reasonCount]string{
	ReasonEmpty:        "empty",
	ReasonTimeout:      "timeout",
	ReasonTotal:        "connections",
	ReasonAddress:      "connections_per_address",
	ReasonProxyHeader:  "proxy_header",
	ReasonNotTrusted:   "proxy_not_trusted",
	ReasonTLSHandshake: "tls_handshake",
	ReasonTLSOff:       "tls_off",
	ReasonUnknown:      "unknown_protocol",
	ReasonNotServed:    "not_served",
	ReasonInterrupted:  "interrupted",
}

// String returns the label for logs and metrics.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Rejects counts closed connections by reason. The zero value is ready; several muxes
// may share one. Methods may run concurrently.
type Rejects struct {
	counts [reasonCount]atomic.Uint64
}

// Count returns how often r happened.
func (c *Rejects) Count(r Reason) uint64 {
	if r >= reasonCount {
		return 0
	}
	return c.counts[r].Load()
}

// Snapshot returns all counts, those at zero included, by [Reason.String].
func (c *Rejects) Snapshot() map[string]uint64 {
	all := make(map[string]uint64, reasonCount)
	for r := range reasonCount {
		all[r.String()] = c.counts[r].Load()
	}
	return all
}

func (c *Rejects) add(r Reason) { c.counts[r].Add(1) }
