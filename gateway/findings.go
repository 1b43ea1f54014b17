package gateway

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"culvert/tunnel"
)

// How much is said about proxies.
const (
	maxSaid      = 4096      // findings remembered as said
	findingLines = 30        // lines
	findingTime  = time.Hour // in this time
)

// findingTexts say what each finding means and what to do about it.
var findingTexts = [tunnel.NumFindings]string{
	tunnel.FindHTTP10:       "this proxy speaks HTTP/1.0 to the gateway, a connection for each request: set proxy_http_version 1.1 and proxy_set_header Connection \"\" (nginx)",
	tunnel.FindCloses:       "this proxy closes its connection to the gateway after each request: set keepalive and proxy_set_header Connection \"\" (nginx), option http-keep-alive (HAProxy)",
	tunnel.FindUnnamed:      "this trusted proxy does not name its clients, who all count as one: let it set the header of listen.client_header (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; HAProxy: option forwardfor), or send the PROXY protocol",
	tunnel.FindUntrusted:    "this proxy names its clients and is not believed: add it to listen.trusted_proxies if it is yours",
	tunnel.FindShared:       "this proxy sends requests of several clients over one connection, and they all count as its address: add it to listen.trusted_proxies if it is yours",
	tunnel.FindRewrites:     "this proxy changes requests of the tunnel: it drops their bodies or turns POST into another method",
	tunnel.FindBuffers:      "this proxy buffers answers, or delays them or requests: set proxy_buffering off, no limit_req and no limit_rate (nginx)",
	tunnel.FindRequestLimit: "this proxy closes its clients' connections after a number of requests, which ends their sessions: raise keepalive_requests (nginx), MaxKeepAliveRequests (Apache)",
	tunnel.FindTimeLimit:    "this proxy closes its clients' connections after a time, which ends their sessions: raise keepalive_time (nginx), client_lifetime (Squid)",
	tunnel.FindProxyHeader:  "this address sends the PROXY protocol and is not believed: add it to listen.trusted_proxies if it is yours",
}

// findings tells the operator what proxies do to the tunnel: once for each
// proxy and kind, and never too much. Methods may run concurrently.
type findings struct {
	log zerolog.Logger
	now func() time.Time

	mu sync.Mutex
	// guarded by mu
	said  map[said]struct{}
	since time.Time // lines are counted
	lines int
}

// said is a finding about a proxy.
type said struct {
	proxy netip.Addr
	kind  tunnel.Finding
}

func newFindings(log zerolog.Logger) *findings {
	return &findings{log: log, now: time.Now, said: make(map[said]struct{})}
}

// report writes a line, unless it was written already or there were too many.
func (f *findings) report(r tunnel.Report) {
	tcp, ok := r.Proxy.(*net.TCPAddr)
	if !ok || !f.worthALine(said{tcp.AddrPort().Addr().Unmap(), r.Finding}) {
		return
	}
	level := zerolog.InfoLevel // somebody's proxy: good to know when its users complain
	if r.Trusted || r.Finding == tunnel.FindUntrusted {
		level = zerolog.WarnLevel
	}
	e := f.log.WithLevel(level).Str("proxy", tcp.IP.String()).Str("kind", tunnel.FindingNames[r.Finding])
	if r.Time > 0 {
		e.Float64("dur", r.Time.Seconds())
	}
	if r.Requests > 0 {
		e.Int("requests", r.Requests)
	}
	e.Msg(findingTexts[r.Finding])
}

func (f *findings) worthALine(s said) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.said[s]; known || len(f.said) >= maxSaid {
		return false
	}
	if now := f.now(); now.Sub(f.since) >= findingTime {
		f.since, f.lines = now, 0
	}
	if f.lines >= findingLines {
		return false // it will be said when it is found again later
	}
	f.lines++
	f.said[s] = struct{}{}
	return true
}

// proxyNotTrusted is told of PROXY headers of strangers.
func (g *Gateway) proxyNotTrusted(peer net.Addr) {
	g.strangers.Add(1)
	g.findings.report(tunnel.Report{Finding: tunnel.FindProxyHeader, Proxy: peer})
}

// proxyFindings returns the counters by kind.
func (g *Gateway) proxyFindings(stats tunnel.Stats) map[string]uint64 {
	out := make(map[string]uint64, len(stats.Findings))
	for i, n := range stats.Findings {
		if tunnel.Finding(i) == tunnel.FindProxyHeader {
			n += g.strangers.Load()
		}
		out[tunnel.FindingNames[i]] = n
	}
	return out
}
