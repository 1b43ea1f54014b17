package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// State tells whether the gateway welcomes new connections. It is asked from many
// goroutines.
type State interface {
	// Ready is false before the listeners are open and while the gateway drains.
	Ready() bool
}

// Streams lists the live streams. It is asked from many goroutines.
type Streams interface {
	Streams() []StreamInfo
}

// StreamInfo describes a live stream as the API shows it.
type StreamInfo struct {
	App  string `json:"app"`
	Name string `json:"name"`
	// Transport is the publisher's way in: rtmp, rtmps, rtmpt, rtmpts.
	Transport string `json:"transport"`
	// Remote is the publisher's address.
	Remote string `json:"remote,omitempty"`
	// Video and Audio are codec names, empty without such a track.
	Video string `json:"video,omitempty"`
	Audio string `json:"audio,omitempty"`
	// Width and Height are pixels, 0 when unknown.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
	// Viewers counts the players.
	Viewers int `json:"viewers"`
	// Since is when the publisher began.
	Since time.Time `json:"since"`
	// ReceivedBytes is what the publisher has sent since then.
	ReceivedBytes uint64 `json:"received_bytes"`
}

// Backends lists the servers behind the gateway, and drains them. It is asked from many
// goroutines.
type Backends interface {
	Backends() []Backend
	// Drain stops new sessions at the backend with an address, or lets them come again.
	// It reports whether there is one.
	Drain(url string, on bool) bool
}

// Backend describes a server behind the gateway as the API shows it.
type Backend struct {
	// Route is what leads to it: its place in the configuration.
	Route string `json:"route"`
	URL   string `json:"url"`
	// State is up, ejected, down or drained.
	State string `json:"state"`
	// Sessions are those open now, Taken all since the start.
	Sessions int64  `json:"sessions"`
	Taken    uint64 `json:"taken"`
	// Ready are the connections that are kept for clients to come.
	Ready int `json:"ready"`
	// Failures counts attempts that failed, Error is the last of them until one succeeds.
	Failures uint64 `json:"failures"`
	Error    string `json:"error,omitempty"`
}

// Config is what the admin handler shows.
type Config struct {
	// Version and Revision name the build.
	Version, Revision string
	// State, Streams and Metrics are required.
	State   State
	Streams Streams
	Metrics Metrics
	// Certificates may be nil.
	Certificates Certificates
	// Relays may be nil: there are none.
	Relays Relays
	// Backends may be nil.
	Backends Backends
	// Log gets errors of a scrape.
	Log zerolog.Logger
}

// New returns the admin handler. It may serve many requests at a time.
func New(cfg Config) http.Handler {
	h := &handler{cfg: cfg}
	r := chi.NewRouter()
	r.Use(noStore)
	r.Get("/healthz", h.healthz)
	r.Get("/readyz", h.readyz)
	r.Get("/ca.pem", h.authority)
	r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(newRegistry(cfg), promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{cfg.Log},
		MaxRequestsInFlight: 4,
	}))
	r.Route("/api/v1", func(r chi.Router) {
		r.Get("/streams", h.streams)
		r.Get("/certificates", h.certificates)
		r.Get("/relays", h.relays)
		if cfg.Backends != nil {
			r.Get("/backends", h.backends)
			r.Post("/backends/drain", h.drain(true))
			r.Post("/backends/undrain", h.drain(false))
		}
	})
	return r
}

// NewServer returns a server for the admin listener with all its timeouts set. The
// caller runs Serve and ends it with Shutdown.
func NewServer(cfg Config) *http.Server {
	return &http.Server{
		Handler:           New(cfg),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          serverLog(cfg.Log),
	}
}

type handler struct{ cfg Config }

func (h *handler) healthz(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, "ok\n")
}

func (h *handler) readyz(w http.ResponseWriter, _ *http.Request) {
	if h.cfg.State.Ready() {
		text(w, http.StatusOK, "ready\n")
		return
	}
	text(w, http.StatusServiceUnavailable, "not ready: starting or draining\n")
}

func (h *handler) streams(w http.ResponseWriter, _ *http.Request) {
	answerList(h, w, "streams", h.cfg.Streams.Streams())
}

func (h *handler) backends(w http.ResponseWriter, _ *http.Request) {
	answerList(h, w, "backends", h.cfg.Backends.Backends())
}

// answerList answers with an object whose only member is a list, which is never null.
func answerList[T any](h *handler, w http.ResponseWriter, name string, list []T) {
	if list == nil {
		list = []T{}
	}
	body, err := json.Marshal(map[string][]T{name: list})
	if err != nil {
		h.cfg.Log.Error().Err(err).Msg("list cannot be encoded")
		text(w, http.StatusInternalServerError, "the list cannot be encoded\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the client may have gone
}

// drain obeys POST .../drain?url=ADDRESS. A browser is led here by no other page: those
// say where they come from.
func (h *handler) drain(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		url := r.URL.Query().Get("url")
		switch {
		case r.Header.Get("Origin") != "":
			text(w, http.StatusForbidden, "not for pages of other servers\n")
		case !h.cfg.Backends.Drain(url, on):
			text(w, http.StatusNotFound, "there is no such backend; see /api/v1/backends\n")
		default:
			h.cfg.Log.Info().Str("backend", url).Bool("drained", on).Msg("backend drained by the operator")
			text(w, http.StatusOK, "ok\n")
		}
	}
}

// text answers with a short plain text.
func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may have gone
}

// noStore keeps answers out of caches: each tells the present.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
