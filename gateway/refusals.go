package gateway

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"culvert/tunnel"
)

// How much is said about refusals.
const (
	refusalTime      = time.Minute // at least, between two lines about the same thing
	refusalAddresses = 16          // addresses with lines of their own, for each reason
)

// refusal says what is behind a reason for which clients are refused.
type refusal struct {
	setting    string // what raises the limit; "": it is none, clients do what no setting allows
	perAddress bool   // the limit is one for each address
}

// refusalsSaid are the reasons, by their labels in the metrics, that the operator hears of. Not among them are those of
// every day, and those that have a line of their own at info or above.
var refusalsSaid = map[string]refusal{
	"connections":             {setting: "limits.connections"},
	"connections_per_address": {setting: "limits.connections_per_address", perAddress: true},
	"timeout":                 {setting: "limits.sniff_timeout"},
	"tls_handshake":           {},
	"tls_off":                 {},
	"unknown_protocol":        {},
	"not_served":              {},
	"proxy_header":            {},
	"rules":                   {}, // before the application was reached; others have lines of their own
	"http_request":            {setting: "limits.tunnel.head, limits.tunnel.head_timeout"},

	"tunnel_sessions":     {setting: "limits.tunnel.sessions"},
	"tunnel_address":      {setting: "limits.tunnel.sessions_per_address", perAddress: true},
	"tunnel_guesses":      {setting: "limits.tunnel.guesses", perAddress: true},
	"tunnel_lost":         {setting: "limits.tunnel.early_timeout, limits.tunnel.early_requests, limits.tunnel.early_bytes"},
	"tunnel_stalled":      {setting: "limits.tunnel.stall_timeout"},
	"tunnel_too_large":    {setting: "limits.tunnel.request"},
	"tunnel_unread":       {setting: "limits.tunnel.unread"},
	"tunnel_slow":         {setting: "limits.tunnel.head_timeout, limits.tunnel.body_timeout"},
	"tunnel_received":     {setting: "limits.tunnel.received"},
	"tunnel_head":         {setting: "limits.tunnel.head"},
	"tunnel_open_timeout": {setting: "limits.tunnel.open_timeout"},
	"tunnel_unknown":      {},
	"tunnel_sequence":     {},
	"tunnel_malformed":    {},
	"tunnel_method":       {},

	endingNames[endMessageLength]: {setting: "limits.message, limits.command"},
	endingNames[endChunkStreams]:  {setting: "limits.chunk_streams"},
	endingNames[endPartial]:       {setting: "limits.partial"},
	endingNames[endAMF]:           {setting: "limits.amf_depth, limits.amf_values"},
	endingNames[endRTMPEBusy]:     {setting: "limits.rtmpe_handshakes"},
	endingNames[endNoConnect]:     {setting: "limits.handshake_timeout"},
	endingNames[endTooSlow]:       {setting: "limits.queue_close, limits.queue_time"},
	endingNames[endStalled]:       {setting: "limits.write_timeout"},
	endingNames[endName]:          {},
	endingNames[endProtocol]:      {},
	endingNames[endRTMPE]:         {},
}

// refusals tells the operator that clients are refused: at once when it begins and then at most once a minute for each
// reason, with their number. The lines about each client are for debugging, because a crowd of strangers could fill a
// disk with them. (A sampler of zerolog's would let as much through, but not count what it holds back.)
// Methods may run concurrently.
type refusals struct {
	log  zerolog.Logger // set at construction
	wake chan struct{}  // a first refusal

	mu sync.Mutex
	// guarded by mu
	open      map[refusalKey]*refused // what had a line in the last minute, or is to have one
	addresses map[string]int          // of those in open, by reason
}

// refusalKey is what has lines of its own.
type refusalKey struct {
	reason  string
	address netip.Prefix // zero: all clients, or those of the addresses beyond refusalAddresses
}

// refused are the refusals since the last line.
type refused struct {
	n    uint64
	said time.Time // of that line
	// the last one of them
	remote net.Addr
	why    error
}

func newRefusals(log zerolog.Logger) *refusals {
	return &refusals{log: log, wake: make(chan struct{}, 1), open: make(map[refusalKey]*refused), addresses: make(map[string]int)}
}

// note counts a refusal. It does not wait, not even for the log. why may be nil.
func (r *refusals) note(reason string, remote net.Addr, why error) {
	about, ok := refusalsSaid[reason]
	if !ok {
		return
	}
	key := refusalKey{reason: reason}
	if about.perAddress {
		key.address = network(remote)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.open[key]
	if one == nil && key.address.IsValid() && r.addresses[reason] >= refusalAddresses {
		key.address = netip.Prefix{}
		one = r.open[key]
	}
	if one == nil {
		one = new(refused)
		r.open[key] = one
		if key.address.IsValid() {
			r.addresses[reason]++
		}
		select {
		case r.wake <- struct{}{}:
		default: // it will look at all
		}
	}
	one.n++
	one.remote, one.why = remote, why
}

// tunnelRejects are the labels of what the tunnel refuses.
var tunnelRejects = func() (names []string) {
	for _, name := range tunnel.RejectNames {
		names = append(names, "tunnel_"+name)
	}
	return names
}()

// noteTunnel is note for the tunnel.
func (r *refusals) noteTunnel(reason int, client net.Addr, why error) {
	r.note(tunnelRejects[reason], client, why)
}

// run writes the lines until ctx ends, and then what is left.
func (r *refusals) run(ctx context.Context) {
	timer := time.NewTimer(refusalTime)
	defer timer.Stop()
	for {
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			r.say(time.Now().Add(refusalTime))
			return
		}
		if next := r.say(time.Now()); next > 0 {
			timer.Reset(next)
		}
	}
}

// say writes the lines that are due, and returns the time until the next ones, 0 for never.
func (r *refusals) say(now time.Time) (next time.Duration) {
	due := make(map[refusalKey]refused)
	r.mu.Lock()
	for key, one := range r.open {
		left := refusalTime - now.Sub(one.said)
		switch {
		case left > 0:
		case one.n == 0:
			delete(r.open, key)
			if key.address.IsValid() {
				r.addresses[key.reason]--
			}
			continue
		default:
			due[key] = *one
			*one = refused{said: now}
			left = refusalTime
		}
		if next == 0 || left < next {
			next = left
		}
	}
	r.mu.Unlock()
	for key, one := range due {
		r.line(key, one)
	}
	return next
}

func (r *refusals) line(key refusalKey, one refused) {
	about := refusalsSaid[key.reason]
	level, text := zerolog.WarnLevel, "limit reached: clients are refused"
	if about.setting == "" {
		level, text = zerolog.InfoLevel, "clients are refused"
	}
	e := r.log.WithLevel(level).Str("reason", key.reason)
	if about.setting != "" {
		e.Str("setting", about.setting)
	}
	if about.perAddress {
		e.Str("address", addressText(key.address))
	}
	e.Uint64("refused", one.n).Str("remote", remoteText(one.remote)).AnErr("error", one.why).Msg(text)
}

// network is what limits count as one address: of IPv6 a /64.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // zero if there is no address
	return p
}

func addressText(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "others"
	case p.Addr().Is4():
		return p.Addr().String()
	}
	return p.String()
}
