package relay_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"culvert/gateway/live"
	"culvert/gateway/relay"
)

// Labels name targets, show no secret, and differ.
func TestLabels(t *testing.T) {
	cfg := relay.Config{Hub: live.NewHub()}
	for _, to := range []string{
		"rtmp://host/live/s3cret", "rtmp://user:s3cret@host/live/other?k=s3cret", "rtmps://[::1]/a/b/s3cret", "rtmp://host/live%ff/s3cret",
	} {
		cfg.Push = append(cfg.Push, relay.Push{To: to})
	}
	cfg.Push = append(cfg.Push, relay.Push{Name: "named", To: "rtmp://host/live/s3cret"})
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for _, s := range r.Status() {
		got = append(got, s.Target)
	}
	text := strings.Join(got, " ")
	if want := "rtmp://host:1935/live rtmp://host:1935/live#2 rtmps://[::1]:443/a/b rtmp://host:1935/live\uFFFD named"; text != want || !utf8.ValidString(text) {
		t.Errorf("got  %q\nwant %q", text, want)
	}
	for _, cfg := range []relay.Config{{Push: []relay.Push{{To: "rtmp://host/s3cret"}}}, {Pull: &relay.Pull{From: "s3cret"}}} {
		if _, err := relay.New(cfg); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}
