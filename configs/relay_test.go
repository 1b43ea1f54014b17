package configs_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/configs"
)

func TestRelayForms(t *testing.T) {
	path := inFile(t, `
apps:
  live:
    push:
      - rtmp://a.example/live/{name}
      - {to: "rtmp://u:${PASSWORD}@b.example/live/${KEY}", name: b, linger: 1m}
      - to: file:`+inFile(t, "rtmp://c.example/live/from-file\n")+`
    pull: rtmp://o.example/live/{name}?key=${KEY}
  vod:
    pull: {from: "rtmp://o.example/vod/{name}", idle: 0s}
  plain:
    pull: {}
`)
	cfg, err := configs.Load(configs.LoadOptions{Path: path, Environ: []string{
		"PASSWORD=p", "KEY=k", "CULVERT_APPS_VOD_PUSH=rtmp://d.example/${KEY}/x, rtmp://e.example/a/x", "CULVERT_APPS_VOD_PULL_LOST=2m",
	}})
	if err != nil {
		t.Fatal(err)
	}
	push := func(to string) configs.Push {
		return configs.Push{To: configs.NewAddress(to), Linger: configs.Duration(15 * time.Second)}
	}
	b := push("rtmp://u:p@b.example/live/k")
	b.Name, b.Linger = "b", configs.Duration(time.Minute)
	want := []configs.Push{push("rtmp://a.example/live/{name}"), b, push("rtmp://c.example/live/from-file")}
	if diff := cmp.Diff(want, cfg.Apps["live"].Push, plain); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]configs.Push{push("rtmp://d.example/k/x"), push("rtmp://e.example/a/x")}, cfg.Apps["vod"].Push, plain); diff != "" {
		t.Error(diff)
	}
	pull := configs.DefaultPull()
	if diff := cmp.Diff(pull, cfg.Apps["plain"].Pull, plain); diff != "" {
		t.Error(diff)
	}
	pull.From = configs.NewAddress("rtmp://o.example/live/{name}?key=k")
	if diff := cmp.Diff(pull, cfg.Apps["live"].Pull, plain); diff != "" {
		t.Error(diff)
	}
	pull.From, pull.Idle, pull.Lost = configs.NewAddress("rtmp://o.example/vod/{name}"), 0, configs.Duration(2*time.Minute)
	if diff := cmp.Diff(pull, cfg.Apps["vod"].Pull, plain); diff != "" {
		t.Error(diff)
	}
}

func TestRelayErrors(t *testing.T) {
	path := inFile(t, `
apps:
  live:
    push: [~, "rtmp://a/${NO_SUCH}/s3cret", [a], {too: b}]
    pull: [a]
`)
	_, err := configs.Load(configs.LoadOptions{Path: path})
	want := []string{
		"culvert.yaml:4:12: apps.live.push[0]: has no value: write one, or remove the key",
		"culvert.yaml:4:15: apps.live.push[1]: environment variable NO_SUCH is not set",
		"culvert.yaml:4:45: apps.live.push[2]: is a list, want an address, or a section with to, name, linger, ca",
		`culvert.yaml:4:51: apps.live.push[3].too: unknown key, did you mean "to"?`,
		"culvert.yaml:5:11: apps.live.pull: is a list, want an address, or a section with from, idle, lost, streams, ca",
	}
	got := lines(err, path)
	if len(got) > len(want) {
		got = got[:len(want)]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
