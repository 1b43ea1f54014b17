package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Streams lists what the page shows. It is asked from many goroutines.
type Streams interface {
	Streams() []Stream
}

// Stream is a live stream that everyone may watch.
type Stream struct {
	App, Name string
	// Video and Audio are codec names, empty without such a track.
	Video, Audio string
	// Width and Height are pixels, 0 when unknown.
	Width, Height int
	// Viewers counts the players.
	Viewers int
	// Since is when the publisher began.
	Since time.Time
}

// Ports are the TCP ports of the ways in, as clients see them. A zero switches a way
// off.
type Ports struct {
	RTMP, RTMPS, RTMPT, RTMPTS int
}

// Publish says how to send a stream here.
type Publish struct {
	// App is the application of the example; empty leaves the section out.
	App string
	// Key is the stream key of the example, such as "mystream?key=YOUR_KEY".
	Key string
	// Note is one sentence on who may publish; it may be empty.
	Note string
}

// Config is what the page shows.
type Config struct {
	// Streams is required.
	Streams Streams
	Ports   Ports
	Publish Publish
	// Version is shown at the foot.
	Version string
	// Log gets errors of rendering.
	Log zerolog.Logger
}

//go:embed page.html
var pageHTML string

//go:embed culvert.css
var css []byte

//go:embed culvert.js
var js []byte

//go:embed culvert.svg
var svg []byte

var page = template.Must(template.New("page").Parse(pageHTML))

// New returns the handler. It may serve many requests at a time.
func New(cfg Config) http.Handler {
	h := &handler{cfg: cfg, now: time.Now}
	h.assets = map[string]asset{
		"/culvert.css": newAsset("text/css; charset=utf-8", css),
		"/culvert.js":  newAsset("text/javascript; charset=utf-8", js),
		"/culvert.svg": newAsset("image/svg+xml", svg),
	}
	return h
}

// asset is an embedded file and the hash of its content.
type asset struct {
	contentType string
	body        []byte
	hash        string
}

func newAsset(contentType string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{contentType: contentType, body: body, hash: hex.EncodeToString(sum[:6])}
}

type handler struct {
	// set at construction
	cfg    Config
	assets map[string]asset
	now    func() time.Time
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
		"img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	file, isFile := h.assets[r.URL.Path]
	switch {
	case !isFile && r.URL.Path != "/" && r.URL.Path != "/streams.json":
		text(w, http.StatusNotFound, "not found; the streams are listed on /\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "only GET and HEAD are served here\n")
	case isFile:
		h.serveFile(w, r, file)
	case r.URL.Path == "/streams.json":
		h.serveJSON(w)
	default:
		h.servePage(w, r)
	}
}

// serveFile answers with an asset. The page asks for it with its hash, and that answer
// never changes.
func (h *handler) serveFile(w http.ResponseWriter, r *http.Request, a asset) {
	header := w.Header()
	tag := `"` + a.hash + `"`
	header.Set("ETag", tag)
	if r.URL.RawQuery == a.hash {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		header.Set("Cache-Control", "no-cache")
	}
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", a.contentType)
	_, _ = w.Write(a.body) // the client may have gone
}

func (h *handler) servePage(w http.ResponseWriter, r *http.Request) {
	host, ok := hostName(r.Host)
	if !ok {
		text(w, http.StatusBadRequest, "the Host header is not a host name\n")
		return
	}
	var body bytes.Buffer
	if err := page.Execute(&body, h.view(host)); err != nil {
		h.cfg.Log.Error().Err(err).Msg("landing page cannot be rendered")
		text(w, http.StatusInternalServerError, "the page cannot be rendered\n")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the client may have gone
}

func (h *handler) serveJSON(w http.ResponseWriter) {
	list := []streamJSON{} // an empty list, not null
	now := h.now()
	for _, s := range h.sorted() {
		list = append(list, streamJSON{
			ID: streamID(s), Facts: facts(s), Viewers: viewers(s.Viewers), Uptime: uptime(now.Sub(s.Since)),
		})
	}
	body, err := json.Marshal(struct {
		Streams []streamJSON `json:"streams"`
	}{list})
	if err != nil {
		h.cfg.Log.Error().Err(err).Msg("stream list cannot be encoded")
		text(w, http.StatusInternalServerError, "the stream list cannot be encoded\n")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the client may have gone
}

// streamJSON is what changes about a stream while it is on the page.
type streamJSON struct {
	ID      string `json:"id"`
	Facts   string `json:"facts"`
	Viewers string `json:"viewers"`
	Uptime  string `json:"uptime"`
}

// text answers with a short plain text.
func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may have gone
}

// hostName returns the host of a Host header without its port, in brackets when it is
// an IPv6 address. False means that it is none; it becomes part of commands that people
// paste into a shell.
func hostName(hostPort string) (string, bool) {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || len(host) > 255 {
		return "", false
	}
	for _, c := range host {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(".-_:", c) {
			return "", false
		}
	}
	if strings.Contains(host, ":") {
		if net.ParseIP(host) == nil {
			return "", false
		}
		return "[" + host + "]", true
	}
	return host, host[0] != '-'
}
