package gateway

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"culvert/configs"
	"culvert/gateway/admin"
	"culvert/gateway/app"
	"culvert/gateway/client"
	"culvert/gateway/relay"
)

// relays are the applications' relays by their configured names.
type relays map[string]*relay.Relay

// newID makes this gateway's name among those that relay to each other.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newRelays makes the relays that applications ask for, and binds them to the policies.
func (g *Gateway) newRelays(policies map[string]*app.Policy) (relays, error) {
	g.apps.ID = g.router.ID()
	out := make(relays)
	for name, a := range g.cfg.Apps {
		if len(a.Push) == 0 && a.Pull.From.Reveal() == "" {
			continue
		}
		r, err := g.newRelay(name, a, policies[name])
		if err != nil {
			return nil, fmt.Errorf("apps.%s.%w", name, err)
		}
		out[name] = r
		policies[name].Live = r.Options()
		if r.Pulls() {
			policies[name].Origin = r
		}
	}
	return out, nil
}

func (g *Gateway) newRelay(name string, a configs.App, policy *app.Policy) (*relay.Relay, error) {
	cfg := relay.Config{
		Hub:    g.hub,
		Live:   policy.Live,
		ID:     g.apps.ID,
		Self:   g.isOwn,
		Client: client.Options{Chunk: g.core.Chunk, Send: g.core.Send, AMF: g.core.AMF},
		Log:    g.log,
	}
	for i, p := range a.Push {
		trust, err := authorities(p.CA)
		if err != nil {
			return nil, fmt.Errorf("push[%d].ca: %w", i, err)
		}
		cfg.Push = append(cfg.Push, relay.Push{Name: p.Name, To: p.To.Reveal(), Linger: time.Duration(p.Linger), TLS: trust})
	}
	if from := a.Pull.From.Reveal(); from != "" {
		trust, err := authorities(a.Pull.CA)
		if err != nil {
			return nil, fmt.Errorf("pull.ca: %w", err)
		}
		cfg.Pull = &relay.Pull{
			From: from, Idle: time.Duration(a.Pull.Idle), Lost: time.Duration(a.Pull.Lost), Streams: a.Pull.Streams, TLS: trust,
		}
	}
	return relay.New(cfg)
}

// authorities returns what certificates of other servers are verified with; nil: as usual.
func authorities(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file has no certificate in PEM form")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

// isOwn reports whether an address is that of one of the gateway's listeners.
func (g *Gateway) isOwn(addr net.Addr) bool {
	to, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	for _, l := range g.listeners {
		own, ok := l.Addr().(*net.TCPAddr)
		if ok && own.Port == to.Port && (own.IP.Equal(to.IP) || own.IP.IsUnspecified() && onThisMachine(to.IP)) {
			return true
		}
	}
	return false
}

// onThisMachine reports whether an address is one of this machine's interfaces.
func onThisMachine(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// close ends all relays, and waits for them.
func (r relays) close() {
	var ending sync.WaitGroup
	for _, one := range r {
		ending.Go(one.Close) // ends within the time that targets have for a farewell; waited below
	}
	ending.Wait()
}

// Relays implements [admin.Relays].
func (g *Gateway) Relays() []admin.Relay {
	var out []admin.Relay
	for _, name := range slices.Sorted(maps.Keys(g.relays)) {
		for _, s := range g.relays[name].Status() {
			out = append(out, adminRelay(name, s))
		}
	}
	return out
}

func adminRelay(name string, s relay.Status) admin.Relay {
	out := admin.Relay{
		App: name, Kind: s.Kind, Target: s.Target, States: make(map[string]int),
		SentBytes: s.Sent, ReceivedBytes: s.Received, Dropped: s.Dropped, Retries: s.Retries, Refused: s.Refused,
		Failures: s.Failures, LastReason: s.LastReason, LastError: s.LastError, LastErrorAt: s.LastErrorAt,
	}
	for _, state := range relay.States {
		out.States[string(state)] = 0
	}
	for _, one := range s.Streams {
		out.States[string(one.State)]++
		out.Streams = append(out.Streams, admin.RelayStream{App: one.App, Name: one.Name, State: string(one.State), Since: one.Since})
	}
	return out
}
