package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Relays lists what is pushed to other servers and pulled from them. It is asked from
// many goroutines.
type Relays interface {
	Relays() []Relay
}

// Relay describes one target of a push, or the origin of pulls, of an application.
type Relay struct {
	App  string `json:"app"`
	Kind string `json:"kind"` // push, pull
	// Target is the name of the other server, or its address without what may be secret.
	Target  string        `json:"target"`
	Streams []RelayStream `json:"streams"`

	// Since the start: RTMP bytes, frames that the target was too slow for, attempts
	// after a failure, players for whom no stream was pulled because there were too
	// many, failures by reason.
	SentBytes     uint64            `json:"sent_bytes"`
	ReceivedBytes uint64            `json:"received_bytes"`
	Dropped       uint64            `json:"dropped"`
	Retries       uint64            `json:"retries"`
	Refused       uint64            `json:"refused"`
	Failures      map[string]uint64 `json:"-"`

	// LastReason, LastError and LastErrorAt tell the last failure, if there was one.
	LastReason  string    `json:"last_reason,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`

	// States counts the streams by state. Every state is present.
	States map[string]int `json:"-"`
}

// RelayStream is one stream of a relay.
type RelayStream struct {
	App   string    `json:"app"`
	Name  string    `json:"name"`
	State string    `json:"state"` // connecting, waiting, live, retrying
	Since time.Time `json:"since"` // of the state
}

var (
	descRelayStreams = prometheus.NewDesc("culvert_relay_streams",
		"Streams pushed to another server or pulled from one, by state.", []string{"app", "kind", "target", "state"}, nil)
	descRelayBytes = prometheus.NewDesc("culvert_relay_bytes_total",
		"RTMP bytes exchanged with the other server, by direction.", []string{"app", "kind", "target", "direction"}, nil)
	descRelayDropped = prometheus.NewDesc("culvert_relay_frames_dropped_total",
		"Frames not sent to a target that is too slow.", []string{"app", "kind", "target"}, nil)
	descRelayRetries = prometheus.NewDesc("culvert_relay_retries_total",
		"Attempts after a failure.", []string{"app", "kind", "target"}, nil)
	descRelayRefused = prometheus.NewDesc("culvert_relay_refused_total",
		"Players for whom no stream was pulled because too many were.", []string{"app", "kind", "target"}, nil)
	descRelayFailures = prometheus.NewDesc("culvert_relay_failures_total",
		"Failures by reason.", []string{"app", "kind", "target", "reason"}, nil)
	descRelayLastError = prometheus.NewDesc("culvert_relay_last_error_timestamp_seconds",
		"When the last failure was, with its reason. Its text is in /api/v1/relays.", []string{"app", "kind", "target", "reason"}, nil)
)

var relayDescs = []*prometheus.Desc{
	descRelayStreams, descRelayBytes, descRelayDropped, descRelayRetries, descRelayRefused, descRelayFailures, descRelayLastError,
}

// collectRelays makes the series of all relays.
func collectRelays(ch chan<- prometheus.Metric, relays []Relay) {
	for _, r := range relays {
		add := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{r.App, r.Kind, r.Target}, labels...)...)
		}
		for state, n := range r.States {
			add(descRelayStreams, prometheus.GaugeValue, float64(n), state)
		}
		add(descRelayBytes, prometheus.CounterValue, float64(r.SentBytes), "sent")
		add(descRelayBytes, prometheus.CounterValue, float64(r.ReceivedBytes), "received")
		add(descRelayDropped, prometheus.CounterValue, float64(r.Dropped))
		add(descRelayRetries, prometheus.CounterValue, float64(r.Retries))
		add(descRelayRefused, prometheus.CounterValue, float64(r.Refused))
		for reason, n := range r.Failures {
			add(descRelayFailures, prometheus.CounterValue, float64(n), reason)
		}
		if r.LastReason != "" {
			add(descRelayLastError, prometheus.GaugeValue, float64(r.LastErrorAt.UnixMilli())/1000, r.LastReason)
		}
	}
}

// relays answers with all relays.
func (h *handler) relays(w http.ResponseWriter, _ *http.Request) {
	var list []Relay
	if h.cfg.Relays != nil {
		list = append(list, h.cfg.Relays.Relays()...)
	}
	for i := range list {
		list[i].Streams = append([]RelayStream{}, list[i].Streams...) // never null
	}
	answerList(h, w, "relays", list)
}
