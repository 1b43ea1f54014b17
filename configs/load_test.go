package configs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"culvert/configs"
)

// inFile writes a configuration and returns its path, which error texts start with.
func inFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "culvert.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines are the problems of err without the directory of the file.
func lines(err error, path string) []string {
	var out []string
	for _, p := range configs.Problems(err) {
		out = append(out, strings.Replace(p.Error(), path, "culvert.yaml", 1))
	}
	return out
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name, file string
		environ    []string
		overrides  []configs.Setting
		want       []string
	}{
		{
			name: "unknown keys and bad values, all at once",
			file: "log:\n  levl: info\napps:\n  live:\n    publish:\n      keyz: []\n    gop_cache: lots\nlimits: {message: 4k, connections: many}\nextra: 1\n",
			want: []string{
				`culvert.yaml:2:3: log.levl: unknown key, did you mean "level"?`,
				`culvert.yaml:6:7: apps.live.publish.keyz: unknown key, did you mean "keys"?`,
				`culvert.yaml:7:16: apps.live.gop_cache: "lots" is not a size: write a number and a unit, such as 64KiB or 4MiB`,
				`culvert.yaml:8:19: limits.message: "4k" has no clear unit: write KiB (1024) or KB (1000)`,
				`culvert.yaml:8:36: limits.connections: "many" is not a whole number`,
				`culvert.yaml:9:1: extra: unknown key, known here: log, listen, tls, rtmpe, apps, routes, limits, shutdown`,
			},
		},
		{
			name: "what Validate finds has a place too",
			file: "log: {level: loud}\nlisten:\n  rtmp: nonsense\n  trusted_proxies: [10.0.0.0/8, 10.1.1.1/8]\ntls:\n  mode: files\n",
			want: []string{
				`culvert.yaml:4:33: listen.trusted_proxies[1]: "10.1.1.1/8" has bits behind its length: write 10.0.0.0/8`,
				`culvert.yaml:1:14: log.level: "loud" is not one of trace, debug, info, warn, error`,
				`culvert.yaml:3:9: listen.rtmp: "nonsense" is not an address: write host:port, such as 127.0.0.1:1935 or [::1]:1935, or :1935 for all interfaces`,
				`culvert.yaml:5:1: tls.cert: is needed with mode files: name the certificate and its intermediates in PEM form (fullchain.pem)`,
				`culvert.yaml:5:1: tls.key: is needed with mode files: name the private key in PEM form (privkey.pem)`,
			},
		},
		{
			name:    "variables and flags are named",
			file:    "{}",
			environ: []string{"CULVERT_LOG_LEVEL=loud", "CULVERT_LIMITS_QUEUE=big", "CULVERT_LISTEN_HTPP=:80", "OTHER=1"},
			overrides: []configs.Setting{
				{Key: "listen.http", Value: ":http", Source: "--http"},
				{Key: "listen.nope", Value: "", Source: "--nope"},
			},
			want: []string{
				`CULVERT_LIMITS_QUEUE: limits.queue: "big" is not a size: write a number and a unit, such as 64KiB or 4MiB`,
				`CULVERT_LISTEN_HTPP: no such setting, the nearest is CULVERT_LISTEN_HTTP`,
				`--nope: listen.nope: no such setting`,
				`CULVERT_LOG_LEVEL: log.level: "loud" is not one of trace, debug, info, warn, error`,
				`--http: listen.http: ":http" has no port number from 0 to 65535`,
			},
		},
		{
			name: "wrong shapes",
			file: "log: [a]\nlisten: {rtmp: [a], trusted_proxies: 10.0.0.0/8, admin: ~}\napps: live\ntls: {domains: [{a: b}]}\n",
			want: []string{
				`culvert.yaml:1:6: log: is a list, want a section with level, format`,
				`culvert.yaml:2:16: listen.rtmp: is a list, want a single value`,
				`culvert.yaml:2:38: listen.trusted_proxies: is a single value, want a list, such as [a, b]`,
				`culvert.yaml:2:57: listen.admin: has no value: write one, or remove the key`,
				`culvert.yaml:3:7: apps: is a single value, want a section with a name per entry`,
				`culvert.yaml:4:17: tls.domains[0]: is a section, want a single value`,
			},
		},
		{
			name: "keys twice, keys that are no text, merge keys",
			file: "log: {level: info}\nlog: {level: warn}\n? [a]\n: b\napps:\n  a: &a {}\n  b: {<<: *a}\n",
			want: []string{
				`culvert.yaml:2:1: log: is there twice, first in line 1: remove one`,
				`culvert.yaml:3:3: a key must be a plain text`,
				`culvert.yaml:7:7: apps.b.<<: merge keys are not read: repeat the keys, or use an alias for the whole section (live: *other)`,
			},
		},
		{
			name: "publish keys",
			file: "apps:\n  live:\n    publish:\n      keys:\n        - ~\n        - {name: a, key: x1}\n        - {name: b, kay: x2}\n        - [x]\n",
			want: []string{
				`culvert.yaml:5:11: apps.live.publish.keys[0]: has no value: write one, or remove the key`,
				`culvert.yaml:7:21: apps.live.publish.keys[2].kay: unknown key, did you mean "key"?`,
				`culvert.yaml:8:11: apps.live.publish.keys[3]: is a list, want a text, or a section of name and key`,
			},
		},
		{name: "no YAML", file: "log: {level: [\n", want: []string{`culvert.yaml:2:1: not YAML: did not find expected node content`}},
		{name: "no UTF-8", file: "log: \xff", want: []string{`culvert.yaml: not YAML: invalid leading UTF-8 octet (value: 255)`}},
		{name: "two documents", file: "log: {}\n---\nlog: {}\n", want: []string{
			`culvert.yaml:2:1: a second document starts here: a configuration is one document, remove the line ---`,
		}},
		{name: "no apps", file: "apps: {}", want: []string{
			`culvert.yaml:1:1: apps: names no application, so nobody could publish or play: add one, or "*" for all, or remove the section`,
		}},
		{name: "a list", file: "- a", want: []string{`culvert.yaml:1:1: is a list, want a section with log, listen, tls, rtmpe, apps, routes, limits, shutdown`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := inFile(t, tt.file)
			cfg, err := configs.Load(configs.LoadOptions{Path: path, Environ: tt.environ, Overrides: tt.overrides})
			if diff := cmp.Diff(tt.want, lines(err, path)); diff != "" {
				t.Error(diff)
			}
			if cfg.Apps != nil {
				t.Error("a configuration is returned beside the error")
			}
		})
	}
}

func TestLoadOrder(t *testing.T) {
	file := inFile(t, "listen: {rtmp: ':1', http: ':2', https: ':3'}")
	opts := configs.LoadOptions{
		Path:      file,
		Defaults:  []configs.Setting{{Key: "listen.rtmp", Value: ":9"}, {Key: "listen.admin", Value: "127.0.0.1:9999"}},
		Environ:   []string{"CULVERT_LISTEN_HTTP=:19", "CULVERT_LISTEN_HTTP=:20", "CULVERT_LISTEN_HTTPS=:30"},
		Overrides: []configs.Setting{{Key: "listen.https", Value: ""}},
	}
	cfg, err := configs.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Listen{RTMP: ":1", HTTP: ":20", HTTPS: "", Admin: "127.0.0.1:9999", TrustedProxies: []configs.Prefix{}, ClientHeader: configs.ClientXForwardedFor}
	if diff := cmp.Diff(want, cfg.Listen, plain); diff != "" {
		t.Error(diff)
	}
	if cfg.Source != file {
		t.Errorf("Source = %q", cfg.Source)
	}
}

func TestLoadFindsFiles(t *testing.T) {
	first, second := inFile(t, "log: {level: warn}"), inFile(t, "log: {level: error}")
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	tests := []struct {
		name, path string
		search     []string
		source     string
		level      configs.LogLevel
		err        string
	}{
		{"path", second, []string{first}, second, configs.LogError, ""},
		{"path is missing", missing, []string{first}, "", "", "configuration: open " + missing},
		{"first that exists", "", []string{missing, first, second}, first, configs.LogWarn, ""},
		{"none", "", []string{missing}, configs.BuiltIn, configs.LogInfo, ""},
		{"one that cannot be read", "", []string{filepath.Dir(first), second}, "", "", "configuration: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := configs.Load(configs.LoadOptions{Path: tt.path, Search: tt.search})
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || cfg.Source != tt.source || cfg.Log.Level != tt.level {
				t.Errorf("source %q, level %q, error %v", cfg.Source, cfg.Log.Level, err)
			}
		})
	}
	if got := configs.SearchPath(); len(got) != 2 || got[0] != "culvert.yaml" {
		t.Errorf("SearchPath = %v", got)
	}
}

func TestLoadFileSize(t *testing.T) {
	const limit = 1 << 20
	for size, fits := range map[int]bool{limit: true, limit + 1: false} {
		path := inFile(t, "#"+strings.Repeat(" ", size-1))
		_, err := configs.Load(configs.LoadOptions{Path: path})
		if (err == nil) != fits {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestLoadNeverChangesDefault(t *testing.T) {
	path := inFile(t, "tls: {domains: [a.example]}\napps: {live: {}}")
	if _, err := configs.Load(configs.LoadOptions{Path: path, Environ: []string{"CULVERT_APPS_LIVE_WAIT=no"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(configs.Default().Apps, map[string]configs.App{"*": configs.DefaultApp()}, plain); diff != "" {
		t.Error(diff)
	}
}

func TestApps(t *testing.T) {
	text := "apps:\n  live: &live {publish: {keys: [a-key]}, wait: no}\n  other: *live\n  bare:\n  Live: {play: off, gather: 350ms}\n"
	cfg, err := configs.Load(configs.LoadOptions{Path: inFile(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	live := configs.DefaultApp()
	live.Publish.Keys = []configs.Key{{Key: configs.NewSecret("a-key")}}
	live.Wait = false
	upper := configs.DefaultApp()
	upper.Play = configs.PlayOff
	upper.Gather = configs.Gather{Mode: configs.GatherWindow, Window: 350 * time.Millisecond}
	want := map[string]configs.App{"live": live, "other": live, "bare": configs.DefaultApp(), "Live": upper}
	if diff := cmp.Diff(want, cfg.Apps, plain); diff != "" {
		t.Error(diff)
	}
	if _, ok := cfg.App("nope"); ok {
		t.Error("an application that the file does not list exists")
	}
	if app, ok := cfg.App("Live"); !ok || app.Play != configs.PlayOff {
		t.Error("names are not compared exactly")
	}
	if app, ok := configs.Default().App("anything/at all"); !ok || app.Play != configs.PlayPublic {
		t.Error("built-in values do not serve every application")
	}
}

// TestNullSections: a section whose keys are all commented out is as good as none.
func TestNullSections(t *testing.T) {
	cfg, err := configs.Load(configs.LoadOptions{Path: inFile(t, "log:\napps:\nlimits:\n  tunnel:\ntls:\n  domains:\n")})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source = configs.BuiltIn
	if diff := cmp.Diff(configs.Default(), cfg, plain); diff != "" {
		t.Error(diff)
	}
}
