package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"culvert/configs"
	"culvert/gateway/admin"
	"culvert/gateway/proxy"
)

// newRouter makes the routes of a configuration work.
func (g *Gateway) newRouter() error {
	routes, err := routes(g.cfg)
	if err != nil {
		return err
	}
	core := g.core
	g.router = proxy.NewRouter(proxy.Config{
		Log:   g.log,
		Dial:  newDialer(g.poller, g.isOwn).dial,
		ID:    newID(),
		Chunk: core.Chunk,
		Send:  core.Send,
		AMF:   core.AMF,
	}, routes)
	return nil
}

// noCircle refuses backends that are listeners of this gateway by their address alone;
// names are looked at when they are dialled.
func (g *Gateway) noCircle() error {
	for _, b := range g.router.Backends() {
		u, err := url.Parse(b.URL)
		if err != nil {
			continue
		}
		to, err := netip.ParseAddrPort(u.Host)
		if err != nil || to.Port() == 0 {
			continue
		}
		if g.isOwn(net.TCPAddrFromAddrPort(to)) {
			return fmt.Errorf("%s: %s: %w", b.Route, b.URL, errLoop)
		}
	}
	return nil
}

// routes translates those of a configuration, in the order in which they are looked
// at: explicit ones, applications, and what stands for all applications.
func routes(cfg configs.Config) ([]proxy.RouteConfig, error) {
	var (
		out  []proxy.RouteConfig
		errs []error
	)
	add := func(name string, r configs.Route) {
		c, err := route(name, r)
		out = append(out, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for i, r := range cfg.Routes {
		add(fmt.Sprintf("routes[%d]", i), r)
	}
	names := slices.Sorted(maps.Keys(cfg.Apps))
	slices.SortStableFunc(names, func(a, b string) int { // the longest match first, the rest last
		return rank(b) - rank(a)
	})
	for _, name := range names {
		if app := cfg.Apps[name]; len(app.Proxy.To) > 0 {
			pattern := name
			if name == configs.AnyApp {
				pattern = ""
			}
			add("apps."+name, configs.Route{Mode: configs.RouteRouted, App: pattern, Proxy: app.Proxy})
		}
	}
	return out, errors.Join(errs...)
}

func rank(app string) int {
	if app == configs.AnyApp {
		return -1
	}
	return strings.Count(app, "/")
}

func route(name string, r configs.Route) (proxy.RouteConfig, error) {
	p := r.Proxy
	out := proxy.RouteConfig{
		Name:        name,
		Transparent: r.Mode == configs.RouteTransparent,
		Match: proxy.Match{
			Listener: r.Listener,
			Use:      map[configs.RouteUse]proxy.Use{configs.ForPublish: proxy.UsePublish, configs.ForPlay: proxy.UsePlay}[r.For],
		},
		Pool: proxy.PoolConfig{
			Balance: map[configs.Balance]proxy.Balance{
				configs.BalanceRoundRobin: proxy.BalanceRoundRobin, configs.BalanceLeast: proxy.BalanceLeast,
				configs.BalanceHash: proxy.BalanceHash, configs.BalanceSticky: proxy.BalanceSticky,
			}[p.Balance],
			Retries:   p.Retries,
			Timeout:   time.Duration(p.ConnectTimeout),
			Eject:     proxy.EjectConfig{Failures: p.Eject.Failures, Time: time.Duration(p.Eject.Time)},
			Ready:     p.Ready,
			SlowStart: time.Duration(p.SlowStart),
			Check: proxy.CheckConfig{
				Kind: map[configs.CheckType]proxy.CheckKind{
					configs.CheckOff: proxy.CheckOff, configs.CheckTCP: proxy.CheckTCP, configs.CheckHandshake: proxy.CheckHandshake,
					configs.CheckConnect: proxy.CheckConnect, configs.CheckPlay: proxy.CheckPlay,
				}[p.Check.Type],
				Interval: time.Duration(p.Check.Interval),
				Timeout:  time.Duration(p.Check.Timeout),
				Rise:     p.Check.Rise,
				Fall:     p.Check.Fall,
				App:      p.Check.App,
				Stream:   p.Check.Stream,
			},
		},
		Idle:      time.Duration(p.IdleTimeout),
		Longest:   time.Duration(p.MaxTime),
		Reconnect: time.Duration(p.Reconnect),
		Address:   p.ClientProperty,
	}
	for _, c := range r.Clients {
		out.Match.Clients = append(out.Match.Clients, c.Prefix)
	}
	var errs []error
	pattern := func(to *proxy.Pattern, text string) {
		var err error
		*to, err = proxy.ParsePattern(text)
		errs = append(errs, err)
	}
	pattern(&out.Match.Host, strings.ToLower(r.Host))
	pattern(&out.Match.App, r.App)
	pattern(&out.Match.Instance, r.Instance)
	pattern(&out.Match.Stream, r.Stream)
	pattern(&out.Match.Query, r.Query)
	template := func(to *proxy.Template, text string) {
		var err error
		*to, err = proxy.ParseTemplate(text)
		errs = append(errs, err)
	}
	template(&out.Rewrite.App, p.App)
	template(&out.Rewrite.Stream, p.Stream)
	template(&out.Rewrite.Query, p.Query)
	template(&out.Rewrite.TCURL, p.TCURL)
	roots, err := backendTLS(p.TLS)
	errs = append(errs, err)
	for _, b := range p.To {
		addr, err := b.Parse()
		errs = append(errs, err)
		backend := proxy.BackendConfig{
			Scheme: addr.Scheme, Host: addr.Host, Port: addr.Port, TLS: roots, Weight: b.Weight, Drained: b.Drain,
			Header: map[configs.ProxyProtocol]proxy.Header{
				configs.ProxyProtocolV1: proxy.HeaderV1, configs.ProxyProtocolV2: proxy.HeaderV2,
			}[p.ProxyProtocol],
		}
		template(&backend.App, addr.App)
		out.Pool.Backends = append(out.Pool.Backends, backend)
	}
	return out, errors.Join(errs...)
}

// backendTLS says how certificates of backends are verified.
func backendTLS(t configs.ProxyTLS) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, InsecureSkipVerify: !t.Verify} //nolint:gosec // the operator's wish
	if t.CA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls.ca: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.ca: %s holds no certificate", t.CA)
	}
	return cfg, nil
}

// proxyClient is what the routes know about whoever has arrived.
func (g *Gateway) proxyClient(c net.Conn, from arrival) proxy.Client {
	out := proxy.Client{Listener: from.listener, Transport: from.transport, Remote: from.remote, Local: from.local, Host: from.host}
	if out.Local == nil {
		out.Local = c.LocalAddr()
	}
	if out.Listener == "" {
		out.Listener = g.listenerOf(c.LocalAddr())
	}
	return out
}

// listenerOf returns the name of the listener that a connection came to.
func (g *Gateway) listenerOf(local net.Addr) string {
	tcp, ok := local.(*net.TCPAddr)
	for _, l := range g.listeners {
		if own, isTCP := l.Addr().(*net.TCPAddr); ok && isTCP && own.Port == tcp.Port && l.name != adminListener {
			return l.name
		}
	}
	return ""
}

// hostOnly strips the port off a Host field.
func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// splice passes a client through to a backend.
func (g *Gateway) splice(c net.Conn, from arrival, route *proxy.Route, client proxy.Client) {
	s := route.NewSplice(c)
	ss := &session{conn: s, transport: from.transport, remote: from.remote, begin: time.Now()}
	log := g.log.With().Uint64("conn", g.sessions.nextID()).Str("transport", from.transport).Str("remote", from.remoteText()).
		Str("route", route.Name).Logger()
	ctx, ok := g.sessions.add(ss)
	if !ok {
		_ = c.Close()
		return
	}
	ss.log = log
	if b := s.Start(ctx, client, g.router.Dial, func(err error) { g.closed(ss, err) }); b != nil {
		log.Info().Str("backend", b.URL()).Msg("passed through")
	}
}

// Explain says which way a client at an address takes to a stream. It opens nothing.
func Explain(cfg configs.Config, ask Question) (proxy.Explanation, error) {
	list, err := routes(cfg)
	if err != nil {
		return proxy.Explanation{}, err
	}
	return proxy.NewRouter(proxy.Config{}, list).Explain(ask.request()), nil
}

// Question is what [Explain] is asked.
type Question struct {
	Transport string // rtmp, rtmps, rtmpt, rtmpts
	Listener  string // "": the one that clients of the transport come to
	Host      string
	App       string // with its instance
	Stream    string
	Query     string
	Client    netip.Addr
	Use       string // publish, play, or "" for both
}

// listenerFor is where clients of a transport come to.
var listenerFor = map[string]string{"rtmp": rtmpListener, "rtmps": httpsListener, "rtmpt": httpListener, "rtmpts": httpsListener}

func (q Question) request() proxy.Request {
	listener := q.Listener
	if listener == "" {
		listener = listenerFor[q.Transport]
	}
	c := proxy.Client{Listener: listener, Transport: q.Transport, Remote: &net.TCPAddr{IP: q.Client.AsSlice()}, Host: q.Host}
	use := map[string]proxy.Use{"publish": proxy.UsePublish, "play": proxy.UsePlay}[q.Use]
	return proxy.NewRequest(c, q.App, q.Stream, q.Query, use)
}

// adminBackends shows and drains backends for the operator.
type adminBackends struct{ router *proxy.Router }

func (a adminBackends) Backends() []admin.Backend {
	var out []admin.Backend
	for _, b := range a.router.Backends() {
		out = append(out, admin.Backend{
			Route: b.Route, URL: b.URL, State: b.State, Sessions: b.Sessions, Taken: b.Taken, Failures: b.Failures, Ready: b.Ready, Error: b.Error,
		})
	}
	return out
}

func (a adminBackends) Drain(url string, on bool) bool { return a.router.Drain(url, on) }
