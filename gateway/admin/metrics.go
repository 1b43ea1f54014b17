package admin

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics gives the counters of this moment. It is asked once per scrape, from many
// goroutines; the answer is not changed afterwards.
type Metrics interface {
	Snapshot() Snapshot
}

// Snapshot holds the state of the gateway at one moment. Counters start at zero with
// the process and never go down. A label that has no entry has no series, so a counter
// should be present, at zero, from the beginning.
type Snapshot struct {
	// Transports by name: rtmp, rtmps, rtmpt, rtmpts.
	Transports map[string]Transport
	// Rejected counts connections and sessions refused, by reason.
	Rejected map[string]uint64
	// Apps by configured name; "*" stands for all that have no entry of their own,
	// so that clients cannot make series.
	Apps map[string]App
	// ProxyFindings counts what proxies in front of the gateway were seen to do to
	// RTMPT, by kind.
	ProxyFindings map[string]uint64
	// Relays are the pushes and pulls of all applications.
	Relays []Relay
	// Backends are the servers behind the gateway.
	Backends []Backend
	// Proxied counts streams and connections that routes lead to backends, by what
	// became of them.
	Proxied map[string]uint64
	// Tunnel is nil when no HTTP listener is open.
	Tunnel *Tunnel
	// Certificates are those that are served, Orders counts orders with ACME by result.
	Certificates []CertificateInfo
	Orders       map[string]uint64
}

// Transport counts one way in.
type Transport struct {
	// Open is the number of connections now, Accepted of all since the start.
	Open     int
	Accepted uint64
	// ReceivedBytes and SentBytes are RTMP bytes, without TLS or HTTP around them.
	ReceivedBytes, SentBytes uint64
}

// App counts one application.
type App struct {
	// Streams is the number of live streams.
	Streams int
	// Viewers by protocol: rtmp, rtmps, rtmpt, rtmpts.
	Viewers map[string]int
	// Dropped counts messages not sent to slow players, by kind: audio, video, data.
	Dropped map[string]uint64
}

// Tunnel counts RTMPT.
type Tunnel struct {
	// Sessions is the number of sessions now.
	Sessions int
	// Requests by operation and HTTP status code.
	Requests map[TunnelRequest]uint64
}

// TunnelRequest is a kind of answered request.
type TunnelRequest struct {
	// Op is open, send, idle, close or other.
	Op string
	// Code is the HTTP status code as text.
	Code string
}

var (
	descConnections = prometheus.NewDesc("culvert_connections",
		"Open RTMP connections by transport.", []string{"transport"}, nil)
	descAccepted = prometheus.NewDesc("culvert_connections_total",
		"RTMP connections since the start by transport.", []string{"transport"}, nil)
	descReceived = prometheus.NewDesc("culvert_received_bytes_total",
		"RTMP bytes received by transport.", []string{"transport"}, nil)
	descSent = prometheus.NewDesc("culvert_sent_bytes_total",
		"RTMP bytes sent by transport.", []string{"transport"}, nil)
	descRejected = prometheus.NewDesc("culvert_rejected_total",
		"Connections and sessions refused by reason.", []string{"reason"}, nil)
	descStreams = prometheus.NewDesc("culvert_streams",
		"Live streams by application.", []string{"app"}, nil)
	descViewers = prometheus.NewDesc("culvert_viewers",
		"Players by application and protocol.", []string{"app", "protocol"}, nil)
	descDropped = prometheus.NewDesc("culvert_frames_dropped_total",
		"Messages not sent to players that are too slow, by application and kind.", []string{"app", "kind"}, nil)
	descFindings = prometheus.NewDesc("culvert_proxy_findings_total",
		"What proxies were seen to do to RTMPT, by kind; the log names them.", []string{"kind"}, nil)
	descBackendUp = prometheus.NewDesc("culvert_backend_up",
		"Whether a server behind the gateway may get sessions.", []string{"route", "backend"}, nil)
	descBackendSessions = prometheus.NewDesc("culvert_backend_sessions",
		"Open sessions at a server behind the gateway.", []string{"route", "backend"}, nil)
	descBackendTaken = prometheus.NewDesc("culvert_backend_sessions_total",
		"Sessions at a server behind the gateway since the start.", []string{"route", "backend"}, nil)
	descBackendReady = prometheus.NewDesc("culvert_backend_ready",
		"Connections to a server behind the gateway that have made their handshake for clients to come.", []string{"route", "backend"}, nil)
	descBackendFailures = prometheus.NewDesc("culvert_backend_failures_total",
		"Attempts at a server behind the gateway that failed.", []string{"route", "backend"}, nil)
	descProxied = prometheus.NewDesc("culvert_proxied_total",
		"Streams at servers behind the gateway: refused there, lost with the server, reconnected at another one, on a connection that was kept ready; and calls that no server heard.", []string{"event"}, nil)
	descTunnelSessions = prometheus.NewDesc("culvert_tunnel_sessions",
		"Open RTMPT sessions.", nil, nil)
	descTunnelRequests = prometheus.NewDesc("culvert_tunnel_requests_total",
		"RTMPT requests answered, by operation and status code.", []string{"op", "code"}, nil)
)

// newRegistry returns a registry of our own: the global one belongs to whoever links it.
func newRegistry(cfg Config) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "culvert_build_info",
		Help: "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{
			"version": cfg.Version, "revision": cfg.Revision, "goversion": runtime.Version(),
		},
	})
	build.Set(1)
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
		collector{cfg.Metrics},
	)
	return r
}

// collector reads a snapshot per scrape.
type collector struct{ metrics Metrics }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descConnections, descAccepted, descReceived, descSent, descRejected, descStreams,
		descViewers, descDropped, descFindings, descTunnelSessions, descTunnelRequests,
		descCertExpiry, descCertState, descCertFailures, descOrders,
		descBackendUp, descBackendSessions, descBackendTaken, descBackendReady, descBackendFailures, descProxied,
	} {
		ch <- d
	}
	for _, d := range relayDescs {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.metrics.Snapshot()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for name, t := range s.Transports {
		gauge(descConnections, t.Open, name)
		counter(descAccepted, t.Accepted, name)
		counter(descReceived, t.ReceivedBytes, name)
		counter(descSent, t.SentBytes, name)
	}
	for reason, n := range s.Rejected {
		counter(descRejected, n, reason)
	}
	for name, a := range s.Apps {
		gauge(descStreams, a.Streams, name)
		for protocol, n := range a.Viewers {
			gauge(descViewers, n, name, protocol)
		}
		for kind, n := range a.Dropped {
			counter(descDropped, n, name, kind)
		}
	}
	for kind, n := range s.ProxyFindings {
		counter(descFindings, n, kind)
	}
	collectCertificates(ch, s)
	collectRelays(ch, s.Relays)
	for _, b := range s.Backends {
		up := 0
		if b.State == "up" {
			up = 1
		}
		gauge(descBackendUp, up, b.Route, b.URL)
		gauge(descBackendSessions, int(b.Sessions), b.Route, b.URL)
		counter(descBackendTaken, b.Taken, b.Route, b.URL)
		gauge(descBackendReady, b.Ready, b.Route, b.URL)
		counter(descBackendFailures, b.Failures, b.Route, b.URL)
	}
	for event, n := range s.Proxied {
		counter(descProxied, n, event)
	}
	if s.Tunnel != nil {
		gauge(descTunnelSessions, s.Tunnel.Sessions)
		for r, n := range s.Tunnel.Requests {
			counter(descTunnelRequests, n, r.Op, r.Code)
		}
	}
}
