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

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	existing := filepath.Join(dir, "file.pem")
	if err := os.WriteFile(existing, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	app := func(change func(*configs.App)) func(*configs.Config) {
		return func(c *configs.Config) {
			a := configs.DefaultApp()
			change(&a)
			c.Apps = map[string]configs.App{"live": a}
		}
	}
	named := func(names ...string) func(*configs.Config) {
		return func(c *configs.Config) {
			for _, n := range names {
				c.Apps[n] = configs.DefaultApp()
			}
		}
	}
	keys := func(keys ...configs.Key) func(*configs.Config) {
		return app(func(a *configs.App) { a.Publish.Keys = keys })
	}
	key := func(name, secret string) configs.Key { return configs.Key{Name: name, Key: configs.NewSecret(secret)} }
	push := func(to string) configs.Push { return configs.Push{To: configs.NewAddress(to)} }
	listen := func(rtmp, http, https, admin string) func(*configs.Config) {
		return func(c *configs.Config) {
			c.Listen.RTMP, c.Listen.HTTP, c.Listen.HTTPS, c.Listen.Admin = rtmp, http, https, admin
		}
	}

	tests := []struct {
		name   string
		change func(*configs.Config)
		want   []string // start of each problem
	}{
		{"default", func(*configs.Config) {}, nil},
		{"everything at once", func(c *configs.Config) { *c = configs.Config{} }, []string{
			"log.level: ", "log.format: ", "listen: ", "listen.client_header: ", "tls.mode: ", "tls.min_version: ",
			"tls.acme.client: ", "tls.acme.key_type: ", "tls.acme.retry: ", "tls.acme.on_demand.limit: ", "tls.acme.challenges: ",
			"tls.acme.dns.provider: ", "tls.acme.dns.rfc2136.algorithm: ", "apps: ",
			"limits.message: ", "limits.command: ", "limits.chunk_streams: ", "limits.partial: ", "limits.amf_depth: ", "limits.amf_values: ",
			"limits.handshake_timeout: ", "limits.sniff_timeout: ", "limits.idle_timeout: ",
			"limits.write_timeout: ", "limits.queue: ", "limits.queue_time: ", "limits.queue_close: ", "limits.connections: ",
			"limits.connections_per_address: ", "limits.rtmpe_handshakes: ", "limits.swf_timeout: ", "limits.tunnel.sessions: ", "limits.tunnel.sessions_per_address: ", "limits.tunnel.open_timeout: ",
			"limits.tunnel.idle_timeout: ", "limits.tunnel.head: ", "limits.tunnel.head_timeout: ", "limits.tunnel.request: ",
			"limits.tunnel.body_timeout: ", "limits.tunnel.answer: ", "limits.tunnel.unread: ", "limits.tunnel.received: ",
			"limits.tunnel.stall_timeout: ", "limits.tunnel.early_requests: ", "limits.tunnel.early_bytes: ", "limits.tunnel.early_timeout: ",
			"limits.tunnel.guesses: ", "limits.tunnel.guess_delay: ", "limits.tunnel.keep_alive: ",
			"limits.tunnel.request: 0 is less than limits.message and 64KiB (64KiB)",
		}},

		{"addresses", listen("127.0.0.1:0", "[::1]:0", "host_1.example:0", "0.0.0.0:65535"), nil},
		{"any free port twice", listen("127.0.0.1:0", "127.0.0.1:0", ":0", "127.0.0.1:0"), nil},
		{"same port, other address", listen("127.0.0.1:80", "127.0.0.2:80", "[::1]:80", ""), nil},
		{"port", listen(":65536", ":-1", ":rtmp", "127.0.0.1:"), []string{"listen.rtmp: ", "listen.http: ", "listen.https: ", "listen.admin: "}},
		{"host", listen("a b:80", "-x:81", "::1:82", "127.0.0.1"), []string{"listen.rtmp: ", "listen.http: ", "listen.https: ", "listen.admin: "}},
		{"same address", listen(":1935", "127.0.0.1:1935", "", "127.0.0.1:1935"), []string{
			"listen.http: 127.0.0.1:1935 is taken by listen.rtmp: choose another port, or \"\" to switch one off",
			"listen.admin: 127.0.0.1:1935 is taken by listen.rtmp: choose another port",
		}},
		{"all off", listen("", "", "", "127.0.0.1:2935"), []string{"listen: "}},
		{"client header", func(c *configs.Config) { c.Listen.ClientHeader = "via" }, []string{"listen.client_header: "}},
		{"proxy", func(c *configs.Config) { c.Listen.TrustedProxies = make([]configs.Prefix, 1) }, []string{"listen.trusted_proxies[0]: "}},

		{"files", func(c *configs.Config) { c.TLS.Mode, c.TLS.Cert, c.TLS.Key = configs.TLSFiles, existing, existing }, nil},
		{"files missing", func(c *configs.Config) { c.TLS.Mode, c.TLS.Cert, c.TLS.Key = configs.TLSFiles, missing, dir }, []string{
			"tls.cert: file not found: " + missing, "tls.key: " + dir + " is a directory",
		}},
		{"no files named", func(c *configs.Config) { c.TLS.Mode = configs.TLSFiles }, []string{"tls.cert: is needed", "tls.key: is needed"}},
		{"TLS off", func(c *configs.Config) { c.TLS.Mode = configs.TLSOff }, nil},
		{"domains", func(c *configs.Config) { c.TLS.Domains = []string{"a.example", "*.b.example", "10.0.0.1", "::1"} }, nil},
		{"bad domains", func(c *configs.Config) {
			c.TLS.Domains = []string{"", "a..b", "a.*.b", "-x", "https://a", strings.Repeat("a", 64)}
		}, []string{
			"tls.domains[0]: ", "tls.domains[1]: ", "tls.domains[2]: ", "tls.domains[3]: ", "tls.domains[4]: ", "tls.domains[5]: ",
		}},
		{"acme", func(c *configs.Config) { c.TLS.Mode, c.TLS.Domains = configs.TLSACME, []string{"live.example.com"} }, nil},
		{"acme without names", func(c *configs.Config) { c.TLS.Mode = configs.TLSACME }, []string{"tls.domains: is empty"}},
		{"acme on demand", func(c *configs.Config) {
			c.TLS.Mode, c.TLS.ACME.OnDemand.Allow = configs.TLSACME, []string{"*.example.com"}
		}, nil},
		{"wildcard without dns-01", func(c *configs.Config) {
			c.TLS.Mode, c.TLS.Domains = configs.TLSACME, []string{"a.example.com", "*.example.com"}
		}, []string{"tls.domains[1]: *.example.com is a wildcard"}},
		{"acme values", func(c *configs.Config) {
			a := &c.TLS.ACME
			a.Email, a.Directory, a.Roots = "nobody", "example.com/dir", missing
			a.EAB.KID, a.Fallback.EAB.HMAC = "kid", configs.NewSecret("a")
			a.Challenges, a.Retry = []configs.Challenge{configs.HTTP01, "http-02", configs.DNS01}, 0
			a.OnDemand.Allow, a.OnDemand.Limit = []string{"a b"}, -1
			a.DNS.Resolvers, a.DNS.Propagation, a.DNS.Delegate = []string{"192.0.2.1"}, configs.Duration(2*time.Hour), "a b"
		}, []string{
			"tls.acme.email: ", "tls.acme.directory: ", "tls.acme.roots: file not found", "tls.acme.eab.kid: ", "tls.acme.fallback.eab.hmac: ",
			"tls.acme.retry: ", "tls.acme.on_demand.limit: ", "tls.acme.on_demand.allow[0]: ", "tls.acme.challenges[1]: ",
			"tls.acme.dns.propagation: ", "tls.acme.dns.resolvers[0]: ", "tls.acme.dns.delegate: ", "tls.acme.challenges: has dns-01",
		}},
		{"rfc2136", func(c *configs.Config) { c.TLS.ACME.DNS.Provider = configs.DNSRFC2136 }, []string{"tls.acme.dns.rfc2136.server: "}},
		{"rfc2136 values", func(c *configs.Config) {
			c.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: "a b", Key: "k", Algorithm: "md5", Secret: configs.NewSecret("?")}
		}, []string{"tls.acme.dns.rfc2136.server: ", "tls.acme.dns.rfc2136.secret: ", "tls.acme.dns.rfc2136.algorithm: "}},
		{"webhook", func(c *configs.Config) { c.TLS.ACME.DNS.Provider = configs.DNSWebhook }, []string{"tls.acme.dns.webhook.url: "}},
		{"exec", func(c *configs.Config) { c.TLS.ACME.DNS.Provider = configs.DNSExec }, []string{"tls.acme.dns.exec: "}},
		{"autocert", func(c *configs.Config) {
			a := &c.TLS.ACME
			a.Client, a.KeyType, a.Fallback.Directory = configs.ACMEAutocert, configs.KeyRSA2048, "https://acme.example/dir"
			a.DNS.Provider, a.DNS.Exec = configs.DNSExec, []string{"true"}
		}, []string{"tls.acme.key_type: is rsa2048: autocert cannot", "tls.acme.fallback: ", "tls.acme.dns.provider: "}},
		{"hosts", func(c *configs.Config) {
			c.TLS.Hosts = []configs.TLSHost{
				{Names: []string{"a.example"}, Mode: configs.TLSFiles, Cert: existing, Key: existing}, {Names: []string{"b.lan"}, Mode: configs.TLSInternal},
			}
		}, nil},
		{"bad hosts", func(c *configs.Config) {
			c.TLS.Hosts = []configs.TLSHost{{Mode: configs.TLSFiles}, {Names: []string{"a b"}, Mode: configs.TLSACME}}
		}, []string{"tls.hosts[0].names: ", "tls.hosts[0].cert: ", "tls.hosts[0].key: ", "tls.hosts[1].names[0]: ", "tls.hosts[1].mode: "}},
		{"client_ca", func(c *configs.Config) { c.TLS.ClientCA.HTTPS = missing }, []string{"tls.client_ca.https: file not found"}},
		{"hsts", func(c *configs.Config) { c.TLS.HSTS = configs.Duration(3 * 365 * 24 * time.Hour) }, []string{"tls.hsts: "}},
		{"storage is a file", func(c *configs.Config) { c.TLS.Storage = existing }, []string{"tls.storage: "}},
		{"storage will be made", func(c *configs.Config) { c.TLS.Storage = missing }, nil},

		{"app names", named("live", "live/eu", "a-b_c.d~e", "Über", strings.Repeat("a", 255)), nil},
		{"bad app names", named("", "/a", "a/", "a//b", "a/../b", ".", "a b", "a?b", "a*", "a\x00", "\xff", strings.Repeat("a", 256)), []string{
			"apps.: ", "apps..: ", "apps./a: ", "apps.a\x00: ", "apps.a b: ", "apps.a*: ", "apps.a/: ", "apps.a/../b: ", "apps.a//b: ", "apps.a?b: ",
			"apps.aaaa", "apps.\xff: ",
		}},
		{"app values", app(func(a *configs.App) {
			a.Publish.OnConflict, a.Play, a.GOPCache, a.Gather = "fight", "some", 1, configs.Gather{}
		}), []string{"apps.live.publish.on_conflict: ", "apps.live.play: ", "apps.live.gop_cache: 1 is out of range", "apps.live.gather: "}},
		{"gop_cache off", app(func(a *configs.App) { a.GOPCache = 0 }), nil},
		{"gop_cache negative", app(func(a *configs.App) { a.GOPCache = -1 }), []string{"apps.live.gop_cache: "}},
		{"gop_cache largest", app(func(a *configs.App) { a.GOPCache = configs.GiB }), nil},
		{"gop_cache too large", app(func(a *configs.App) { a.GOPCache = configs.GiB + 1 }), []string{"apps.live.gop_cache: "}},
		{"window longest", app(func(a *configs.App) { a.Gather = configs.Gather{Mode: configs.GatherWindow, Window: 2 * time.Second} }), nil},
		{"window too long", app(func(a *configs.App) { a.Gather = configs.Gather{Mode: configs.GatherWindow, Window: 2*time.Second + 1} }), []string{"apps.live.gather: "}},
		{"window zero", app(func(a *configs.App) { a.Gather = configs.Gather{Mode: configs.GatherWindow} }), []string{"apps.live.gather: "}},

		{"keys", keys(key("", "one"), key("", "two"), key("show", "three"), key("show", "four"), key("a.B-c_1", strings.Repeat("x", 1024))), nil},
		{"bad keys", keys(key("a", "one"), key("a", "one"), key("b c", "two"), key("", ""), key("", "x y"), key("", strings.Repeat("x", 1025))), []string{
			"apps.live.publish.keys[1]: is the same key as keys[0]",
			"apps.live.publish.keys[2].name: ", "apps.live.publish.keys[3]: is empty", "apps.live.publish.keys[4]: ", "apps.live.publish.keys[5]: ",
		}},

		{"push", app(func(a *configs.App) {
			a.Push = []configs.Push{push("rtmp://host/live/{name}"), push("rtmps://u:p@[::1]:4443/a/b/{app}-{name}?k={name}"), {To: configs.NewAddress("rtmpt://h/a/b"), Name: "a-B.c_1", CA: existing}}
		}), nil},
		{"bad push", app(func(a *configs.App) {
			for _, to := range []string{
				"", "s3cret", "http://host/live/s3cret", "rtmp:///live/s3cret", "rtmp://{name}/live/s3cret", "rtmp://host/s3cret", "rtmp://u@host/a/s3cret",
				"rtmp://u:@host/a/s3cret", "rtmp://host/a/{stream}s3cret", "rtmp://host/a/s3cret?k={", "rtmp://host/a/s3 cret",
			} {
				a.Push = append(a.Push, push(to))
			}
			a.Push = append(a.Push, configs.Push{To: configs.NewAddress("rtmp://h/a/b"), Name: "b c", Linger: -1, CA: missing}, configs.Push{To: configs.NewAddress("rtmp://h/a/b"), Name: "b c"})
		}), []string{
			"apps.live.push[0].to: is empty", "apps.live.push[1].to: begins with", "apps.live.push[2].to: begins with", "apps.live.push[3].to: names no host",
			"apps.live.push[4].to: has a placeholder in the host", "apps.live.push[5].to: lacks the app or", "apps.live.push[6].to: has a user", "apps.live.push[7].to: has a user",
			"apps.live.push[8].to: has braces", "apps.live.push[9].to: has braces", "apps.live.push[10].to: is not an address",
			"apps.live.push[11].linger: ", "apps.live.push[11].ca: file not found", "apps.live.push[11].name: is not a name", "apps.live.push[12].name: is not a name", "apps.live.push[12].name: is the name of push[11]",
		}},
		{"too many pushes", app(func(a *configs.App) {
			for range 65 {
				a.Push = append(a.Push, push("rtmp://h/a/b"))
			}
		}), []string{"apps.live.push: has 65 targets"}},
		{"pull", app(func(a *configs.App) {
			a.Pull.From, a.Pull.Idle, a.Pull.Lost = configs.NewAddress("rtmp://host/live/{name}"), 0, 0
		}), nil},
		{"bad pull", app(func(a *configs.App) {
			a.Pull = configs.Pull{From: configs.NewAddress("rtmp://host/live/s3cret"), Idle: -1, Lost: configs.Duration(2 * time.Hour), CA: dir}
		}), []string{
			"apps.live.pull.idle: ", "apps.live.pull.lost: ", "apps.live.pull.streams: ", "apps.live.pull.ca: ", "apps.live.pull.from: lacks {name}",
		}},

		{"tunnel bounds", func(c *configs.Config) {
			t := &c.Limits.Tunnel
			t.EarlyRequests, t.GuessDelay, t.Coalesce = 9, configs.Duration(16*time.Second), configs.Duration(101*time.Millisecond)
			t.Received = 8 * configs.MiB
		}, []string{
			"limits.tunnel.early_requests: ", "limits.tunnel.guess_delay: ", "limits.tunnel.coalesce: ",
			"limits.tunnel.received: 8MiB is less than limits.tunnel.request (8256KiB): one request may wait to be read",
		}},

		{"message largest", func(c *configs.Config) {
			c.Limits.Message, c.Limits.Tunnel.Request = 0xFFFFFF, 0xFFFFFF+64*configs.KiB
		}, nil},
		{"message too large", func(c *configs.Config) {
			c.Limits.Message, c.Limits.Tunnel.Request = 0x1000000, 17*configs.MiB
		}, []string{"limits.message: 16MiB is out of range: use 64KiB to 16777215"}},
		{"request smaller than a message", func(c *configs.Config) { c.Limits.Message++ }, []string{
			"limits.tunnel.request: 8256KiB is less than limits.message and 64KiB (8454145): a client sends a whole frame in one request",
		}},
		{"relations", func(c *configs.Config) {
			c.Limits.Command, c.Limits.Partial = 9*configs.MiB, 7*configs.MiB
			c.Limits.QueueClose = configs.MiB
			c.Limits.Tunnel.Unread, c.Limits.Tunnel.IdleTimeout = 32*configs.KiB, configs.Duration(900*time.Millisecond)
		}, []string{"limits.message: ", "limits.partial: ", "limits.queue_close: ", "limits.tunnel.unread: ", "limits.tunnel.idle_timeout: "}},
		{"chunk streams", func(c *configs.Config) { c.Limits.ChunkStreams = 65599 }, []string{"limits.chunk_streams: "}},
		{"timeout", func(c *configs.Config) { c.Limits.WriteTimeout = configs.Duration(time.Hour) }, []string{"limits.write_timeout: 1h is out of range: use 10ms to 10m"}},
		{"RTMPE handshakes", func(c *configs.Config) { c.Limits.RTMPEHandshakes = 4097 }, []string{"limits.rtmpe_handshakes: 4097 is out of range: use 1 to 4096"}},
		{"SWF timeout", func(c *configs.Config) { c.Limits.SWFTimeout = configs.Duration(time.Hour) }, []string{"limits.swf_timeout: "}},
		{"hold off", func(c *configs.Config) { c.Limits.Tunnel.Hold, c.Limits.Tunnel.HoldSetup = 0, 0 }, nil},
		{"hold", func(c *configs.Config) { c.Limits.Tunnel.Hold = configs.Duration(16 * time.Second) }, []string{"limits.tunnel.hold: "}},
		{"drain", func(c *configs.Config) { c.Shutdown.Drain = -1 }, []string{"shutdown.drain: "}},
		{"no drain", func(c *configs.Config) { c.Shutdown.Drain = 0 }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, same := configs.Default(), configs.Default()
			tt.change(&cfg)
			tt.change(&same)
			problems := configs.Problems(cfg.Validate())
			for i, p := range problems {
				if i >= len(tt.want) || !strings.HasPrefix(p.Error(), tt.want[i]) {
					t.Errorf("problem %d: %v", i, p)
				}
			}
			if len(problems) < len(tt.want) {
				t.Errorf("not found: %v", tt.want[len(problems):])
			}
			if diff := cmp.Diff(same, cfg, plain); diff != "" {
				t.Errorf("Validate changed the configuration: %s", diff)
			}
		})
	}
}

func TestValidateHidesKeys(t *testing.T) {
	cfg := configs.Default()
	bad := configs.NewSecret("not so\nsecret")
	cfg.Apps["live"] = configs.App{Publish: configs.Publish{Keys: []configs.Key{{Name: "not so", Key: bad}, {Key: bad}}}}
	if err := cfg.Validate(); err == nil || strings.Contains(err.Error(), "not so") {
		t.Errorf("error %v", err)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name   string
		change func(*configs.Config)
		want   []string
	}{
		{"default", func(*configs.Config) {}, nil},
		{"admin off", func(c *configs.Config) { c.Listen.Admin = "" }, nil},
		{"admin on localhost", func(c *configs.Config) { c.Listen.Admin = "localhost:2935" }, nil},
		{"admin on IPv6 loopback", func(c *configs.Config) { c.Listen.Admin = "[::1]:2935" }, nil},
		{"admin everywhere", func(c *configs.Config) { c.Listen.Admin = ":2935" }, []string{"listen.admin: "}},
		{"admin on a network", func(c *configs.Config) { c.Listen.Admin = "10.0.0.1:2935" }, []string{"listen.admin: "}},
		{"TLS off", func(c *configs.Config) { c.TLS.Mode = configs.TLSOff }, []string{"listen.https: "}},
		{"TLS off, port off", func(c *configs.Config) { c.TLS.Mode, c.Listen.HTTPS = configs.TLSOff, "" }, nil},
		{"acme", func(c *configs.Config) { c.TLS.Mode, c.TLS.Domains = configs.TLSACME, []string{"a.example"} }, nil},
		{"acme without ports", func(c *configs.Config) {
			c.TLS.Mode, c.Listen.HTTPS, c.TLS.ACME.Challenges = configs.TLSACME, "", []configs.Challenge{configs.TLSALPN01}
		}, []string{"tls.acme.challenges: nobody can answer"}},
		{"certificate not used with acme", func(c *configs.Config) { c.TLS.Mode, c.TLS.Key = configs.TLSACME, "a.pem" }, []string{"tls.cert, tls.key: "}},
		{"certificate not used", func(c *configs.Config) { c.TLS.Cert = "a.pem" }, []string{"tls.cert, tls.key: "}},
		{"everyone trusted", func(c *configs.Config) {
			var p configs.Prefix
			if err := p.UnmarshalText([]byte("0.0.0.0/0")); err != nil {
				t.Fatal(err)
			}
			c.Listen.TrustedProxies = []configs.Prefix{p}
		}, []string{"listen.trusted_proxies: 0.0.0.0/0 trusts everyone"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := configs.Default()
			tt.change(&cfg)
			got := cfg.Warnings()
			if len(got) != len(tt.want) {
				t.Fatalf("warnings %q, want %q", got, tt.want)
			}
			for i, w := range got {
				if !strings.HasPrefix(w, tt.want[i]) {
					t.Errorf("warning %q, want %q", w, tt.want[i])
				}
			}
		})
	}
}
