package web_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"culvert/gateway/web"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type streams []web.Stream

func (s streams) Streams() []web.Stream { return s }

func config(list ...web.Stream) web.Config {
	return web.Config{
		Streams: streams(list),
		Ports:   web.Ports{RTMP: 1935, RTMPS: 443, RTMPT: 8080, RTMPTS: 8443},
		Publish: web.Publish{App: "live", Key: "mine?key=YOUR_KEY", Note: "Ask for a key."},
		Version: "1.2.3",
	}
}

func get(t *testing.T, cfg web.Config, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://example.com"+path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	web.NewAt(cfg, func() time.Time { return start }).ServeHTTP(w, r)
	return w
}

func page(t *testing.T, cfg web.Config, host string) string {
	t.Helper()
	w := get(t, cfg, http.MethodGet, host, "/")
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestAddresses(t *testing.T) {
	demo := web.Stream{App: "live", Name: "demo", Video: "H.264", Audio: "AAC", Width: 640, Height: 360, Viewers: 1, Since: start.Add(-90 * time.Second)}
	cases := []struct {
		name, host string
		ports      web.Ports
		want, not  []string
	}{
		{
			"default ports are left out", "example.com:8080",
			web.Ports{RTMP: 1935, RTMPS: 443, RTMPT: 80, RTMPTS: 443},
			[]string{"<code>rtmp://example.com/live/demo<", "<code>rtmps://example.com/live/demo<", "<code>rtmpt://example.com/live/demo<", "<code>rtmpts://example.com/live/demo<"},
			nil,
		},
		{
			"other ports are shown", "example.com",
			web.Ports{RTMP: 2000, RTMPS: 2001, RTMPT: 2002, RTMPTS: 2003},
			[]string{"<code>rtmp://example.com:2000/live/demo<", "<code>rtmps://example.com:2001/", "<code>rtmpt://example.com:2002/", "<code>rtmpts://example.com:2003/"},
			nil,
		},
		{
			"a way that is off is not shown", "example.com",
			web.Ports{RTMPT: 80},
			[]string{"<code>rtmpt://example.com/live/demo<", "ffplay -fflags nobuffer rtmpt://example.com/live/demo<"},
			[]string{"rtmp://", "rtmps://", "rtmpts://"},
		},
		{
			"IPv6", "[2001:db8::1]:80",
			web.Ports{RTMP: 1935},
			[]string{"<code>rtmp://[2001:db8::1]/live/demo<", "&#39;rtmp://[2001:db8::1]/live/demo&#39;<"},
			nil,
		},
		{"no way in", "example.com", web.Ports{}, []string{"demo"}, []string{"<code>", "Publish"}},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(demo)
			cfg.Ports = tt.ports
			body := page(t, cfg, tt.host)
			for _, s := range tt.want {
				if !strings.Contains(body, s) {
					t.Errorf("%s is missing in\n%s", s, body)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(body, s) {
					t.Errorf("%s is shown", s)
				}
			}
			for _, s := range []string{"H.264 640×360 · AAC", "1 viewer<", "1 min", "1.2.3"} {
				if !strings.Contains(body, s) {
					t.Errorf("%s is missing", s)
				}
			}
		})
	}
}

func TestPublishing(t *testing.T) {
	body := page(t, config(), "example.com")
	for _, s := range []string{
		"Nothing is live", "Ask for a key.", "<code>rtmp://example.com/live<", "<code>rtmps://example.com/live<",
		"<code>mine?key=YOUR_KEY<", "-f flv &#39;rtmp://example.com/live/mine?key=YOUR_KEY&#39;<",
	} {
		if !strings.Contains(body, s) {
			t.Errorf("%s is missing", s)
		}
	}
	cfg := config()
	cfg.Publish = web.Publish{}
	if body := page(t, cfg, "example.com"); strings.Contains(body, "Publish") {
		t.Error("publishing is shown without an app")
	}
}

// Names come from publishers.
func TestHostileNames(t *testing.T) {
	cases := []struct {
		name, stream string
		address      bool
	}{
		{"markup", `</code><script>alert(1)</script>`, true},
		{"attribute", `" onload="alert(1)`, true},
		{"shell", `x'; touch /pwned; '$(id)` + "`id`", true},
		{"line break", "a\nb", false},
		{"escape", "a\x1b[31m", false},
		{"right to left override", "a\u202eb", false},
		{"not UTF-8", "a\xff", false},
		{"empty", "", false},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(web.Stream{App: "live", Name: tt.stream, Since: start})
			cfg.Publish = web.Publish{}
			body := page(t, cfg, "example.com")
			for _, bad := range []string{"<script>", `" onload`, "onload=\"alert"} {
				if strings.Contains(body, bad) {
					t.Errorf("%q is on the page", bad)
				}
			}
			if got := strings.Contains(body, "<code>"); got != tt.address {
				t.Errorf("address shown: %v, want %v", got, tt.address)
			}
			if w := get(t, cfg, http.MethodGet, "example.com", "/streams.json"); w.Code != http.StatusOK {
				t.Errorf("streams.json: %d", w.Code)
			}
		})
	}
}

func TestQuoteIsOneShellWord(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	for _, s := range []string{
		"plain", "", "a b", "it's", `"$HOME" $(id) ` + "`id`", `back\slash`, "?*[a]{b,c}", "~", "#x", "!!", "a&b;c|d>e<f", "ü", "-n",
	} {
		out, err := exec.CommandContext(t.Context(), sh, "-c", "printf '%s|' x "+web.Quote(s)).Output()
		if want := "x|" + s + "|"; err != nil || string(out) != want {
			t.Errorf("%q: %q, %v", s, out, err)
		}
	}
}

func TestHostName(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"example.com", "example.com", true},
		{"example.com:8080", "example.com", true},
		{"192.0.2.1:80", "192.0.2.1", true},
		{"[::1]:80", "[::1]", true},
		{"[::1]", "[::1]", true},
		{"my_host", "my_host", true},
		{"", "", false},
		{":80", "", false},
		{"a b", "", false},
		{"$(id)", "", false},
		{"<b>", "", false},
		{"a:b:c", "", false},
		{"-x", "-x", false},
		{strings.Repeat("a", 256), "", false},
	} {
		if got, ok := web.HostName(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %q %v, want %q %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
	if w := get(t, config(), http.MethodGet, "$(id)", "/"); w.Code != http.StatusBadRequest {
		t.Errorf("bad Host: %d", w.Code)
	}
}

func TestStreamsJSON(t *testing.T) {
	w := get(t, config(), http.MethodGet, "example.com", "/streams.json")
	if w.Body.String() != "{\"streams\":[]}\n" {
		t.Errorf("no streams: %s", w.Body)
	}
	cfg := config(
		web.Stream{App: "live", Name: "b", Viewers: 2, Since: start.Add(-26 * time.Hour)},
		web.Stream{App: "live", Name: "a", Audio: "Opus", Since: start.Add(-61 * time.Minute)},
	)
	body := get(t, cfg, http.MethodGet, "example.com", "/streams.json").Body.String()
	want := regexp.MustCompile(`^{"streams":\[{"id":"(s[0-9a-f]{16})","facts":"Opus","viewers":"0 viewers","uptime":"1 h 1 min"},` +
		`{"id":"(s[0-9a-f]{16})","facts":"starting","viewers":"2 viewers","uptime":"1 d 2 h"}\]}\n$`)
	ids := want.FindStringSubmatch(body)
	if ids == nil {
		t.Fatalf("got %s", body)
	}
	html := page(t, cfg, "example.com")
	for _, id := range ids[1:] {
		if !strings.Contains(html, `<article id="`+id+`">`) {
			t.Errorf("%s is not on the page", id)
		}
	}
}

func TestOtherRequests(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/nothing", 404},
		{http.MethodPost, "/nothing", 404},
		{http.MethodPost, "/", 405},
		{http.MethodHead, "/", 200},
		{http.MethodDelete, "/culvert.js", 405},
	} {
		w := get(t, config(), tt.method, "example.com", tt.path)
		if w.Code != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
		if w.Code == http.StatusNotFound && (w.Body.Len() > 100 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain")) {
			t.Errorf("404 is %s %q", w.Header().Get("Content-Type"), w.Body)
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options"} {
			if w.Header().Get(name) == "" {
				t.Errorf("%s %s: no %s", tt.method, tt.path, name)
			}
		}
	}
}

// What the page refers to exists, is cached for ever under its hash only, and nothing on
// the page needs more than the policy allows.
func TestAssetsAndPolicy(t *testing.T) {
	cfg := config(web.Stream{App: "live", Name: "demo", Since: start})
	body := page(t, cfg, "example.com")
	found := regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(found) < 3 {
		t.Fatalf("references: %v", found)
	}
	for _, ref := range found {
		w := get(t, cfg, http.MethodGet, "example.com", ref[1])
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", ref[1], w.Code, w.Header())
		}
		path, _, _ := strings.Cut(ref[1], "?")
		if w := get(t, cfg, http.MethodGet, "example.com", path); w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v", path, w.Header())
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		again := httptest.NewRecorder()
		web.New(cfg).ServeHTTP(again, r)
		if again.Code != http.StatusNotModified {
			t.Errorf("%s with its ETag: %d", path, again.Code)
		}
	}
	if inline := regexp.MustCompile(`<script[^>]*>[^<]|<style| style=| on[a-z]+=`).FindString(body); inline != "" {
		t.Errorf("inline code or style: %s", inline)
	}
}
