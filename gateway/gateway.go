package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"culvert/configs"
	"culvert/gateway/admin"
	"culvert/gateway/app"
	"culvert/gateway/live"
	"culvert/gateway/netio"
	"culvert/gateway/portmux"
	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	tlsconf "culvert/tls"
	"culvert/tunnel"
)

// procsPerShard is how many processors share one goroutine that serves parked
// connections. A message of theirs takes some microseconds, and every further goroutine
// makes the scheduler wake more threads for the same work.
const procsPerShard = 4

// Options say how a gateway runs, beside its configuration.
type Options struct {
	Log      zerolog.Logger
	Version  string // of the build
	Revision string
	Demo     bool // play the built-in clip as live/demo
}

// Gateway is a running server. Run may be called once; the other methods by any
// goroutine.
type Gateway struct {
	// set at construction
	cfg       configs.Config
	opts      Options
	log       zerolog.Logger
	listeners []*listener
	hub       *live.Hub
	router    *proxy.Router
	apps      *app.Server
	relays    relays
	core      rtmpcore.Config
	source    *tlsconf.Source        // nil: TLS is off
	tls       map[string]*tls.Config // by listener; nil: off
	tunnel    *tunnel.Server
	pages     *http.Server
	visits    visits // to the pages
	handoff   *portmux.Handoff
	admin     *http.Server
	sessions  *sessions
	limiter   *portmux.Limiter
	poller    *netio.Poller
	rejects   portmux.Rejects
	endings   endings
	refusals  *refusals
	findings  *findings
	strangers atomic.Uint64 // PROXY headers, version 2, of addresses that are not trusted
	arrivals  sync.Map      // net.Conn to tunnel.ConnInfo, of HTTP/2 connections on their way to the pages

	ready atomic.Bool
}

// New builds a gateway and opens its listeners. An error names the setting to
// change.
func New(cfg configs.Config, opts Options) (*Gateway, error) {
	g := &Gateway{
		cfg:      cfg,
		opts:     opts,
		log:      opts.Log,
		hub:      live.NewHub(),
		core:     coreConfig(cfg),
		sessions: newSessions(),
		limiter:  portmux.NewLimiter(cfg.Limits.Connections, cfg.Limits.ConnectionsPerAddress),
		refusals: newRefusals(opts.Log),
	}
	g.sayWhoMayPublish()
	checkDescriptors(g.log, cfg.Limits.Connections, beyond(cfg))
	source, err := tlsSource(cfg.TLS, g.log)
	if err != nil {
		return nil, err
	}
	if err := g.useTLS(source); err != nil {
		return nil, err
	}
	if g.poller, err = netio.NewPoller(runtime.GOMAXPROCS(0) / procsPerShard); err != nil {
		g.closeSource()
		return nil, err
	}
	if err := g.newRouter(); err != nil {
		g.closeSource()
		g.poller.Close()
		return nil, err
	}
	served := policies(cfg)
	g.apps = app.NewServer(g.hub, g.router, served)
	if g.relays, err = g.newRelays(served); err != nil {
		g.closeSource()
		g.poller.Close()
		return nil, err
	}
	if err := g.listen(); err != nil {
		g.closeSource()
		g.poller.Close()
		return nil, err
	}
	if err := g.noCircle(); err != nil {
		g.closeListeners()
		g.closeSource()
		g.poller.Close()
		return nil, err
	}
	g.handoff = portmux.NewHandoff(nil)
	tc := tunnelConfig(cfg.Limits.Tunnel, g.log)
	g.findings = newFindings(g.log)
	tc.Found = g.findings.report
	tc.Refused = g.refusals.noteTunnel
	tc.Forwarding = forwarding(cfg.Listen)
	tc.Handle = g.serveTunnelled
	tc.Fallback = func(c net.Conn) { _ = g.handoff.Deliver(c) } // closes c when the pages are down
	g.tunnel = tunnel.NewServer(tc)
	g.visits.log, g.visits.note = g.log, g.refusals.note
	g.pages = g.newPages()
	g.admin = admin.NewServer(admin.Config{
		Version:  opts.Version,
		Revision: opts.Revision,
		State:    g,
		Streams:  adminStreams{g},
		Backends: adminBackends{g.router},
		Metrics:  g,
		Relays:   g,

		Certificates: g,
		Log:          g.log,
	})
	return g, nil
}

// sayWhoMayPublish tells the operator of applications without keys, whose
// encoders on other machines will be refused.
func (g *Gateway) sayWhoMayPublish() {
	var open []string
	for name, a := range g.cfg.Apps {
		if len(a.Publish.Keys) == 0 && len(a.Proxy.To) == 0 {
			open = append(open, name)
		}
	}
	if len(open) == 0 {
		return
	}
	slices.Sort(open)
	g.log.Info().Strs("apps", open).
		Msg("only clients on this machine may publish: set apps.NAME.publish.keys to let others")
}

// Ready reports whether new connections are welcome.
func (g *Gateway) Ready() bool { return g.ready.Load() }

// Run serves until ctx ends, then refuses new connections, tells players and
// publishers, and waits for them for as long as the configuration says.
func (g *Gateway) Run(ctx context.Context) error {
	// conns ends what is left of the connections after the drain.
	conns, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	work, stopped := errgroup.WithContext(ctx)
	saying, said := context.WithCancel(context.WithoutCancel(ctx))
	var sayings sync.WaitGroup
	sayings.Go(func() { g.refusals.run(saying) }) // stopped below, after the last session; waited there
	defer sayings.Wait()
	defer said()
	polling := make(chan struct{})
	go func() { defer close(polling); g.poller.Run() }() // stopped below, after the last session; waited there
	defer func() {
		g.sessions.wait()
		g.poller.Close()
		<-polling
	}()
	for _, l := range g.listeners {
		g.log.Info().Str("listener", l.name).Str("addr", l.Addr().String()).Msg("listening")
		if l.name == adminListener {
			work.Go(func() error { return notClosed(g.admin.Serve(l)) }) // ended by drain
			continue
		}
		l.mux = g.newMux(l)
		work.Go(func() error { return l.mux.Run(conns) }) // ended by drain
	}
	work.Go(func() error { return notClosed(g.pages.Serve(g.handoff)) }) // ended by drain
	if g.source != nil {
		// After the listeners: authorities come to them. Ended by ctx.
		work.Go(func() error {
			return g.source.Run(stopped, tlsconf.Listeners{HTTP: g.Addr(httpListener), HTTPS: g.Addr(httpsListener)})
		})
	}
	work.Go(func() error { g.router.Run(stopped); return nil }) // ended by ctx
	work.Go(func() error {                                      // ended by ctx
		g.sessions.endIdle(stopped, time.Duration(g.cfg.Limits.IdleTimeout))
		return nil
	})
	if g.opts.Demo {
		work.Go(func() error { return g.playDemo(stopped) }) // ended by ctx
	}
	g.sessions.open(conns)
	g.ready.Store(true)
	g.log.Info().Str("version", g.opts.Version).Str("config", g.cfg.Source).Msg("ready")
	<-stopped.Done()
	g.ready.Store(false)
	g.drain(cut)
	return work.Wait()
}

// drain ends the gateway within the configured time.
func (g *Gateway) drain(cut context.CancelCauseFunc) {
	limit := time.Duration(g.cfg.Shutdown.Drain)
	g.log.Info().Int("sessions", g.sessions.len()).Dur("limit", limit).Msg("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, l := range g.listeners {
		if l.mux != nil {
			_ = l.mux.CloseListener() // nothing to do about it
		}
	}
	relayed := make(chan struct{})
	go func() { defer close(relayed); g.relays.close() }() // ends by itself; waited below
	g.sessions.shutdown(ctx)
	<-relayed
	if err := g.tunnel.Shutdown(ctx); err != nil {
		g.log.Warn().Int("sessions", g.sessions.len()).Msg("sessions cut off after the drain time")
	}
	cut(rtmpcore.ErrShutdown)
	_ = g.handoff.Close()
	_ = g.pages.Close()
	for _, l := range g.listeners {
		if l.mux != nil {
			l.mux.CloseConns()
		}
	}
	_ = g.admin.Close()
	g.log.Info().Msg("stopped")
}

func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
