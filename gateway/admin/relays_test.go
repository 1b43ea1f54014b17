package admin_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"culvert/gateway/admin"
)

type relays []admin.Relay

func (r relays) Relays() []admin.Relay { return r }

func TestRelays(t *testing.T) {
	g := new(gateway)
	if code, header, body := get(t, admin.New(config(g)), http.MethodGet, "/api/v1/relays"); code != 200 ||
		header.Get("Content-Type") != "application/json" || body != "{\"relays\":[]}\n" {
		t.Errorf("no relays: %d %v %q", code, header, body)
	}
	at := time.Date(2026, 11, 24, 1, 2, 3, 500e6, time.UTC)
	list := relays{
		{
			App: "*", Kind: "push", Target: `rtmp://a"b/live`, SentBytes: 1, ReceivedBytes: 2, Dropped: 3, Retries: 4, LastReason: "dns", LastError: "no such host", LastErrorAt: at,
			Streams: []admin.RelayStream{{App: "live", Name: "a", State: "live", Since: at}},
		},
		{App: "live", Kind: "pull", Target: "origin", Streams: []admin.RelayStream{}},
	}
	cfg := config(g)
	cfg.Relays = list
	_, _, body := get(t, admin.New(cfg), http.MethodGet, "/api/v1/relays")
	var got struct{ Relays relays }
	if err := json.Unmarshal([]byte(body), &got); err != nil || !reflect.DeepEqual(got.Relays, list) {
		t.Errorf("%v, got %+v of %s", err, got.Relays, body)
	}
	if strings.Count(body, "last_error") != 2 { // and its time
		t.Errorf("an error that was none is shown: %s", body)
	}

	list[0].States, list[0].Failures = map[string]int{"live": 1, "waiting": 0}, map[string]uint64{"dns": 5, "loop": 0}
	list[1].Refused = 6
	g.snapshot.Relays = list
	_, _, body = get(t, admin.New(config(g)), http.MethodGet, "/metrics")
	const push, pull = `{app="*",kind="push",`, `{app="live",kind="pull",`
	for _, line := range []string{
		`culvert_relay_streams` + push + `state="live",target="rtmp://a\"b/live"} 1`,
		`culvert_relay_streams` + push + `state="waiting",target="rtmp://a\"b/live"} 0`,
		`culvert_relay_failures_total` + push + `reason="dns",target="rtmp://a\"b/live"} 5`,
		`culvert_relay_failures_total` + push + `reason="loop",target="rtmp://a\"b/live"} 0`,
		`culvert_relay_frames_dropped_total` + push + `target="rtmp://a\"b/live"} 3`,
		`culvert_relay_retries_total` + push + `target="rtmp://a\"b/live"} 4`,
		`culvert_relay_last_error_timestamp_seconds` + push + `reason="dns",target="rtmp://a\"b/live"} 1.7954821235e+09`,
		`culvert_relay_refused_total` + pull + `target="origin"} 6`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("%s is missing", line)
		}
	}
	if strings.Contains(body, `culvert_relay_last_error_timestamp_seconds`+pull) {
		t.Error("an error that was none has a time")
	}
}
