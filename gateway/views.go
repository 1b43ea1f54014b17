package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"culvert/gateway/admin"
	"culvert/gateway/web"
	"culvert/tunnel"
)

// newPages serves what is not RTMP: the landing page, and the tunnel on
// connections that net/http holds.
func (g *Gateway) newPages() *http.Server {
	r := chi.NewRouter()
	r.Use(g.clientAddress)
	r.Use(func(pages http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if tunnel.IsTunnelPath(req.URL.Path) {
				g.tunnel.ServeHTTP(w, req)
				return
			}
			if g.toHTTPS(w, req) {
				return
			}
			pages.ServeHTTP(w, req)
		})
	})
	r.Mount("/", web.New(web.Config{
		Streams: pageStreams{g},
		Ports: web.Ports{
			RTMP:   g.port(rtmpListener),
			RTMPS:  g.port(httpsListener),
			RTMPT:  g.port(httpListener),
			RTMPTS: g.port(httpsListener),
		},
		Publish: g.publishHelp(),
		Version: g.opts.Version,
		Log:     g.log,
	}))
	return &http.Server{
		Handler:           g.visits.handle(g.challenges(r)),
		MaxHeaderBytes:    int(g.cfg.Limits.Tunnel.Head),
		ReadHeaderTimeout: time.Duration(g.cfg.Limits.Tunnel.HeadTimeout),
		IdleTimeout:       time.Duration(g.cfg.Limits.Tunnel.KeepAlive),
		ErrorLog:          errorLog(g.log),
		ConnContext:       g.connContext,
		ConnState:         g.visits.state,
	}
}

// connContext keeps for the requests of a connection what is known about it.
func (g *Gateway) connContext(ctx context.Context, c net.Conn) context.Context {
	remote := c.RemoteAddr()
	tell := func(info tunnel.ConnInfo) {
		ctx = tunnel.WithConnInfo(ctx, info)
		if info.RemoteAddr != nil {
			remote = info.RemoteAddr
		}
	}
	if info, ok := g.arrivals.LoadAndDelete(c); ok {
		tell(info.(tunnel.ConnInfo))
	} else if front, ok := c.(interface{ ConnInfo() tunnel.ConnInfo }); ok {
		tell(front.ConnInfo())
	}
	return g.visits.open(ctx, c, remote)
}

// clientAddress puts the real client's address into the requests: the one that
// the PROXY protocol named, and behind a trusted proxy the one that the request
// does.
func (g *Gateway) clientAddress(next http.Handler) http.Handler {
	from := forwarding(g.cfg.Listen)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if info, ok := tunnel.ConnInfoFrom(req.Context()); ok && info.RemoteAddr != nil {
			req.RemoteAddr = info.RemoteAddr.String()
		}
		if peer, err := netip.ParseAddrPort(req.RemoteAddr); err == nil {
			if client, named := from.Client(peer, req.Header); named {
				req.RemoteAddr = client.String()
			}
		}
		next.ServeHTTP(w, req)
	})
}

// publishHelp says on the landing page how to publish.
func (g *Gateway) publishHelp() web.Publish {
	const example = "live"
	p := g.apps.Policy(example)
	switch {
	case p == nil:
		return web.Publish{}
	case len(p.Publish.Keys) > 0:
		return web.Publish{App: example, Key: "mystream?key=YOUR_KEY", Note: "Publishing needs a key."}
	default:
		return web.Publish{App: example, Key: "mystream", Note: "Only programs on this machine may publish until a key is set (apps.live.publish.keys)."}
	}
}

// pageStreams lists for visitors the streams that everyone may see.
type pageStreams struct{ g *Gateway }

func (p pageStreams) Streams() []web.Stream {
	var out []web.Stream
	for _, s := range p.g.hub.Streams() {
		policy := p.g.apps.Policy(s.App)
		if !s.Live || policy == nil || !policy.Play.Public {
			continue
		}
		out = append(out, web.Stream{
			App:     s.App,
			Name:    s.Name,
			Video:   s.VideoCodec,
			Audio:   s.AudioCodec,
			Width:   s.Width,
			Height:  s.Height,
			Viewers: sum(s.Players),
			Since:   s.Since,
		})
	}
	return out
}

// adminStreams lists all streams for the operator.
type adminStreams struct{ g *Gateway }

func (a adminStreams) Streams() []admin.StreamInfo {
	var out []admin.StreamInfo
	for _, s := range a.g.hub.Streams() {
		if !s.Live {
			continue
		}
		out = append(out, admin.StreamInfo{
			App:           s.App,
			Name:          s.Name,
			Transport:     s.Source.Transport,
			Remote:        s.Source.Remote,
			Video:         s.VideoCodec,
			Audio:         s.AudioCodec,
			Width:         s.Width,
			Height:        s.Height,
			Viewers:       sum(s.Players),
			Since:         s.Since,
			ReceivedBytes: s.Bytes,
		})
	}
	return out
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// Snapshot implements [admin.Metrics].
func (g *Gateway) Snapshot() admin.Snapshot {
	out := admin.Snapshot{
		Transports: make(map[string]admin.Transport),
		Rejected:   g.rejects.Snapshot(),
		Apps:       make(map[string]admin.App),
	}
	for t, c := range g.sessions.snapshot() {
		out.Transports[t] = admin.Transport{Open: c.open, Accepted: c.accepted, ReceivedBytes: c.in, SentBytes: c.out}
	}
	out.Rejected["rules"] = g.apps.Refused()
	out.Rejected["http_request"] = g.visits.refused.Load()
	for e := range numEndings {
		out.Rejected[endingNames[e]] = g.endings[e].Load()
	}
	for name := range g.cfg.Apps {
		policy := g.apps.Policy(name)
		viewers := make(map[string]int)
		for _, t := range transports {
			viewers[t] = 0
		}
		out.Apps[name] = admin.App{Viewers: viewers, Dropped: map[string]uint64{"video": policy.Live.Dropped.Load()}}
	}
	for _, s := range g.hub.Streams() {
		g.countStream(out.Apps, s.App, s.Live, s.Players)
	}
	out.Relays = g.Relays()
	out.Backends = adminBackends{g.router}.Backends()
	routed := g.router.Stats()
	out.Proxied = map[string]uint64{
		"refused": routed.Refused, "lost": routed.Lost, "reconnected": routed.Reconnected, "ready": routed.Ready, "unheard": routed.Unheard,
	}
	g.countTunnel(&out)
	g.countCertificates(&out)
	return out
}

func (g *Gateway) countStream(apps map[string]admin.App, name string, published bool, players map[string]int) {
	policy := g.apps.Policy(name)
	if policy == nil {
		return
	}
	a := apps[policy.Name]
	if published {
		a.Streams++
	}
	for t, n := range players {
		a.Viewers[t] += n
	}
	apps[policy.Name] = a
}

func (g *Gateway) countTunnel(out *admin.Snapshot) {
	stats := g.tunnel.Stats()
	t := &admin.Tunnel{Sessions: int(stats.Sessions), Requests: make(map[admin.TunnelRequest]uint64)}
	for op, classes := range stats.Requests {
		for class, n := range classes[2:] {
			code := strconv.Itoa(class+2) + "xx"
			t.Requests[admin.TunnelRequest{Op: tunnel.OpNames[op], Code: code}] = n
		}
	}
	out.Tunnel = t
	out.ProxyFindings = g.proxyFindings(stats)
	for i, n := range stats.Rejected {
		out.Rejected[tunnelRejects[i]] = n
	}
}

var (
	_ admin.State        = (*Gateway)(nil)
	_ admin.Metrics      = (*Gateway)(nil)
	_ admin.Certificates = (*Gateway)(nil)
)
