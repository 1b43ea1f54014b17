//go:build interop

package interop_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The gateway's own publisher and player over every transport, the certificate verified; ffmpeg as the witness. Without --ca the
// certificate is not accepted.
func TestCulvertPublishAndPlay(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	s := serve(t)
	for _, in := range transports {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			stream := "own-" + in
			players := []*player{playFFmpeg(t, s.url(t, "rtmp", stream))}
			for _, out := range transports {
				players = append(players, playCulvert(t, s.url(t, out, stream), s.ca))
			}
			publisher := start(t, "culvert publish", []string{culvert(t), "publish", film.file(t), s.url(t, in, stream), "--ca", s.ca})
			publisher.wait(t)
			for _, p := range players {
				p.require(t, film.media(t), anywhere, exact)
			}
		})
	}
	doubting := start(t, "culvert play without --ca", []string{culvert(t), "play", s.url(t, "rtmps", "any")})
	doubting.wait(t, 1)
	if !strings.Contains(doubting.out.String(), "--ca") {
		t.Errorf("the refusal does not say what to do:\n%s", doubting.out)
	}
}

// `culvert play -t` ends by itself while the stream goes on.
func TestCulvertPlayEnds(t *testing.T) {
	t.Parallel()
	s := serve(t)
	url := s.url(t, "rtmp", "endless")
	publishLoopFFmpeg(t, film.file(t), url)
	began := time.Now()
	run(t, "culvert play -t", culvert(t), "play", url, "-t", "2s", "-o", recording(t))
	if took := time.Since(began); took < 2*time.Second || took > 20*time.Second {
		t.Errorf("playing 2s took %v", took)
	}
}

func TestSmallCommands(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if out := run(t, "culvert version", culvert(t), "version"); strings.TrimSpace(out) == "" {
		t.Error("culvert version says nothing")
	}
	run(t, "culvert healthcheck", culvert(t), "healthcheck", "--admin", s.addr(t, "admin"))
	dead := start(t, "culvert healthcheck of nothing", []string{culvert(t), "healthcheck", "--admin", "127.0.0.1:1"})
	dead.wait(t, 1)

	bad := filepath.Join(t.TempDir(), "bad.yaml")
	write(t, bad, "listen:\n  rtmp: \":1935\"\n  rtmpp: \":1936\"\nlimits: {message: lots}\n")
	check := start(t, "culvert check", []string{culvert(t), "check", "-c", bad})
	check.wait(t, 1)
	for _, want := range []string{"rtmpp", "limits.message"} {
		if !strings.Contains(check.out.String(), want) {
			t.Errorf("culvert check does not name %s:\n%s", want, check.out)
		}
	}
}

// What the README promises: one command, and the clip can be watched over all four transports.
func TestDemo(t *testing.T) {
	need(t, "ffprobe")
	t.Parallel()
	const any = "127.0.0.1:0"
	s := serveArgs(t, "serve", "--demo", "--rtmp", any, "--http", any, "--https", any, "--admin", any)
	for _, transport := range transports {
		out := run(t, "ffprobe "+transport, "ffprobe", "-v", "error", "-rw_timeout", "20000000",
			"-show_entries", "stream=codec_name", "-of", "csv=p=0", s.url(t, transport, "demo"))
		if !strings.Contains(out, "h264") || !strings.Contains(out, "aac") {
			t.Errorf("over %s ffprobe sees %q, want h264 and aac", transport, out)
		}
	}
	if page := s.ask(t, "http", http.MethodGet, "/", http.StatusOK); !strings.Contains(page, "live/demo") {
		t.Errorf("the landing page does not name live/demo:\n%.400s", page)
	}
}

// A client that verifies the whole chain from the root.
func TestVerifiedTLS(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	s := serve(t)
	url := strings.Replace(s.url(t, "rtmps", "verified"), "127.0.0.1", "localhost", 1)
	p := playFFmpegArgs(t, url, "-tls_verify", "1", "-ca_file", s.ca)
	_, _, stranger := certificates(t, t.TempDir())
	doubting := playFFmpegArgs(t, url, "-tls_verify", "1", "-ca_file", stranger)
	publishFFmpeg(t, film.file(t), s.url(t, "rtmp", "verified")).wait(t)
	p.require(t, film.media(t), anywhere, exact)
	doubting.requireRefused(t) // else nothing was verified here
}

// Publish keys: as a query, as OBS puts it into its one field, wrong and missing. A key is never logged.
func TestPublishKeys(t *testing.T) {
	t.Parallel()
	const plain, named = "k3y-of-everybody", "k3y-of-the-show"
	s := serve(t, `apps: {"*": {publish: {keys: [`+plain+`, {name: show, key: `+named+`}]}}}`)
	for name, test := range map[string]struct{ as, seenAs string }{
		"query":           {"concert?key=" + plain, "concert"},
		"key as the name": {named, "show"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := playFFmpeg(t, s.url(t, "rtmp", test.seenAs))
			publishFFmpeg(t, film.file(t), s.url(t, "rtmp", test.as)).wait(t)
			p.require(t, film.media(t), anywhere, exact)
		})
	}
	for name, as := range map[string]string{"wrong": "concert2?key=guess", "missing": "concert3", "of another name": "concert4?key=" + named} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := publishFFmpeg(t, film.file(t), s.url(t, "rtmp", as))
			refused.requireRefused(t)
		})
	}
	t.Cleanup(func() {
		log := s.out.String()
		for _, key := range []string{plain, named} {
			if strings.Contains(log, key) {
				t.Errorf("the log contains the key %s", key)
			}
		}
	})
}
