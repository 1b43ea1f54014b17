package configs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"culvert/configs"
)

func TestEnvironment(t *testing.T) {
	const file = "apps: {live: {}, a-b: {}, a_b: {}, Über/x: {}, '*': {}}"
	tests := []struct {
		name    string
		environ []string
		check   func(configs.Config) any
		want    any
		err     string
	}{
		{"text", []string{"CULVERT_LISTEN_RTMP=:7"}, func(c configs.Config) any { return c.Listen.RTMP }, ":7", ""},
		{"empty text", []string{"CULVERT_LISTEN_RTMP="}, func(c configs.Config) any { return c.Listen.RTMP }, "", ""},
		{"size", []string{"CULVERT_LIMITS_TUNNEL_ANSWER=128KiB"}, func(c configs.Config) any { return c.Limits.Tunnel.Answer }, 128 * configs.KiB, ""},
		{"whole number", []string{"CULVERT_LIMITS_CONNECTIONS=7"}, func(c configs.Config) any { return c.Limits.Connections }, 7, ""},
		{"yes or no", []string{"CULVERT_TLS_HTTP2=true"}, func(c configs.Config) any { return c.TLS.HTTP2 }, true, ""},
		{"list", []string{"CULVERT_TLS_DOMAINS=a.example, b.example,"}, func(c configs.Config) any { return c.TLS.Domains }, []string{"a.example", "b.example"}, ""},
		{"empty list", []string{"CULVERT_TLS_DOMAINS="}, func(c configs.Config) any { return c.TLS.Domains }, []string{}, ""},
		{"app", []string{"CULVERT_APPS_LIVE_WAIT=off"}, func(c configs.Config) any { return c.Apps["live"].Wait }, false, ""},
		{
			"several values of one app",
			[]string{"CULVERT_APPS_LIVE_WAIT=off", "CULVERT_APPS_LIVE_PLAY=off"},
			func(c configs.Config) any { return []any{c.Apps["live"].Wait, c.Apps["live"].Play} },
			[]any{false, configs.PlayOff},
			"",
		},
		{"app with other characters", []string{"CULVERT_APPS__BER_X_WAIT=off"}, func(c configs.Config) any { return c.Apps["Über/x"].Wait }, false, ""},
		{"all apps", []string{"CULVERT_APPS_DEFAULT_GOP_CACHE=0"}, func(c configs.Config) any { return c.Apps["*"].GOPCache }, configs.Size(0), ""},
		{
			"keys",
			[]string{"CULVERT_APPS_LIVE_PUBLISH_KEYS=one,${REF}", "REF=two"},
			func(c configs.Config) any {
				k := c.Apps["live"].Publish.Keys
				return []string{k[0].Key.Reveal(), k[1].Key.Reveal()}
			},
			[]string{"one", "two"},
			"",
		},
		{"Kubernetes service links", []string{
			"CULVERT_SERVICE_HOST=10.0.0.1", "CULVERT_SERVICE_PORT=1935", "CULVERT_SERVICE_PORT_RTMP=1935", "CULVERT_PORT=tcp://10.0.0.1:1935",
			"CULVERT_PORT_1935_TCP=tcp://10.0.0.1:1935", "CULVERT_PORT_1935_TCP_ADDR=10.0.0.1", "CULVERT_ADMIN_SERVICE_HOST=10.0.0.2",
		}, func(c configs.Config) any { return c.Listen.RTMP }, ":1935", ""},
		{"no equals sign", []string{"CULVERT_NOTHING"}, func(c configs.Config) any { return c.Listen.RTMP }, ":1935", ""},

		{"unknown", []string{"CULVERT_LIMIT_QUEUE=1MiB"}, nil, nil, "CULVERT_LIMIT_QUEUE: no such setting, the nearest is CULVERT_LIMITS_QUEUE"},
		{"unknown app", []string{"CULVERT_APPS_LIFE_WAIT=off"}, nil, nil, "CULVERT_APPS_LIFE_WAIT: no such setting, the nearest is CULVERT_APPS_LIVE_WAIT"},
		{"section", []string{"CULVERT_LIMITS=1"}, nil, nil, "CULVERT_LIMITS: no such setting"},
		{"lower case", []string{"CULVERT_listen_rtmp=:7"}, nil, nil, "CULVERT_listen_rtmp: no such setting"},
		{"very long", []string{"CULVERT_" + strings.Repeat("X", 1<<16) + "=1"}, nil, nil, "no such setting"},
		{"two apps", []string{"CULVERT_APPS_A_B_WAIT=off"}, nil, nil, "CULVERT_APPS_A_B_WAIT: stands for apps.a-b.wait and apps.a_b.wait"},
		{"bad yes or no", []string{"CULVERT_TLS_HTTP2=maybe"}, nil, nil, `CULVERT_TLS_HTTP2: tls.http2: "maybe" is neither true nor false`},
		{"bad item", []string{"CULVERT_LISTEN_TRUSTED_PROXIES=10.0.0.0/8,x"}, nil, nil, `listen.trusted_proxies: "x" is neither an address nor a range`},
		{"number too large", []string{"CULVERT_LIMITS_CONNECTIONS=99999999999"}, nil, nil, "is not a whole number"},
	}
	path := inFile(t, file)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := configs.Load(configs.LoadOptions{Path: path, Environ: tt.environ})
			if tt.err != "" {
				if len(configs.Problems(err)) != 1 || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.check(cfg)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEveryKeyHasAVariable sets each key by its variable, to the value it has.
func TestEveryKeyHasAVariable(t *testing.T) {
	cfg := configs.Default()
	seen := map[string]string{}
	for _, path := range configs.Paths(cfg) {
		name := cfg.Variable(path)
		if !strings.HasPrefix(name, "CULVERT_") || seen[name] != "" {
			t.Errorf("%s: variable %q, which is also that of %q", path, name, seen[name])
		}
		seen[name] = path
		_, err := configs.Load(configs.LoadOptions{Search: []string{}, Environ: []string{name + "=\x01"}})
		for _, p := range configs.Problems(err) {
			if p.Source != name || p.Key != path && !strings.HasPrefix(p.Key, path+"[") {
				t.Errorf("%s: %v", name, p)
			}
		}
		if err == nil && path != "tls.cert" && path != "tls.key" && path != "tls.storage" {
			t.Errorf("%s takes a control character", name)
		}
	}
	if len(seen) < 40 || cfg.Variable("limits.tunnel.hold") != "CULVERT_LIMITS_TUNNEL_HOLD" || cfg.Variable("limits") != "" {
		t.Errorf("variables: %v", seen)
	}
}
