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
	list := h.cfg.Streams.Streams()
	if list == nil {
		list = []StreamInfo{} // an empty list, not null
	}
	h.json(w, struct {
		Streams []StreamInfo `json:"streams"`
	}{list})
}

// json answers with a list.
func (h *handler) json(w http.ResponseWriter, list any) {
	body, err := json.Marshal(list)
	if err != nil {
		h.cfg.Log.Error().Err(err).Msg("list cannot be encoded")
		text(w, http.StatusInternalServerError, "the list cannot be encoded\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the client may have gone
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
