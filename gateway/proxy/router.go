package proxy

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// Config is what all routes share.
type Config struct {
	Log   zerolog.Logger
	Dial  Dial
	ID    string // of this gateway, for [rtmpcore.ViaProperty]
	Chunk chunk.Limits
	Send  send.Limits
	AMF   amf.Limits
}

// Router is the set of routes. Its methods may be called by any goroutine, Run once.
type Router struct {
	// set at construction
	cfg    Config
	routes []*Route

	refused     atomic.Uint64
	lost        atomic.Uint64
	reconnected atomic.Uint64
	ready       atomic.Uint64
	unheard     atomic.Uint64
}

// NewRouter returns a router of the routes, the first of which that matches is taken.
func NewRouter(cfg Config, routes []RouteConfig) *Router {
	r := &Router{cfg: cfg}
	for _, c := range routes {
		r.routes = append(r.routes, &Route{RouteConfig: c, pool: newPool(c.Name, c.Pool, cfg.Log)})
	}
	return r
}

// Run checks backends and keeps connections to them ready until ctx ends.
func (r *Router) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, route := range r.routes {
		running.Go(func() { route.pool.run(ctx, &r.cfg) }) // stopped by ctx; waited below
		for _, b := range route.pool.backends {
			if b.store.size > 0 && !route.Transparent {
				running.Go(func() { b.store.run(ctx, &r.cfg) }) // likewise
			}
		}
	}
	running.Wait()
}

// ID returns Config.ID.
func (r *Router) ID() string { return r.cfg.ID }

// Dial opens a byte stream to a backend, as [Config] says.
func (r *Router) Dial(ctx context.Context, to BackendConfig, client Client) (net.Conn, error) {
	return r.cfg.Dial(ctx, to, client)
}

// Transparent returns the route of a client whose bytes are not looked at, or nil.
func (r *Router) Transparent(c Client) *Route {
	q := Request{Client: c}
	for _, route := range r.routes {
		if !route.Transparent {
			continue
		}
		if why, _, _ := route.mismatch(&q); why == "" {
			return route
		}
	}
	return nil
}

// Routes reports whether any connection's commands may be passed on to a backend.
func (r *Router) Routes() bool {
	return slices.ContainsFunc(r.routes, func(route *Route) bool { return !route.Transparent })
}

// Backends returns the state of all backends.
func (r *Router) Backends() []BackendInfo {
	var out []BackendInfo
	now := time.Now()
	for _, route := range r.routes {
		for _, b := range route.pool.backends {
			out = append(out, b.info(route.Name, now))
		}
	}
	return out
}

// Drain stops new sessions at a backend, or lets them come again, in every route that
// has it. It reports whether there is one.
func (r *Router) Drain(url string, on bool) bool {
	found := false
	for _, route := range r.routes {
		for _, b := range route.pool.backends {
			if b.cfg.URL() == url {
				b.drain(on)
				found = true
			}
		}
	}
	return found
}

// Stats are counters since the start.
type Stats struct {
	Refused     uint64 // streams and connections that no backend took
	Lost        uint64 // streams whose backend was lost for good
	Reconnected uint64 // streams that went on at a backend
	Ready       uint64 // connections that were kept ready and used
	Unheard     uint64 // calls that found no backend
}

// Stats returns the counters.
func (r *Router) Stats() Stats {
	return Stats{Refused: r.refused.Load(), Lost: r.lost.Load(), Reconnected: r.reconnected.Load(), Ready: r.ready.Load(), Unheard: r.unheard.Load()}
}
