package gateway_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"

	"culvert/configs"
	"culvert/gateway"
	"culvert/testdata/pebble"
	tlsconf "culvert/tls"
)

// TestPreflight checks what `culvert check --acme` finds, with the gateway running and not, and with each thing that can be wrong.
func TestPreflight(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.Domains = append(cfg.TLS.Domains, "studio.lan")
	g, _ := startACME(t, cfg, ca)
	certificate(t, g, ca.Host, in("valid"))
	httpPort, httpsPort := port(t, g.Addr("http")), port(t, g.Addr("https"))
	zone := ca.Zone(t, "example.com")
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	bare, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: stranger.TLS.Certificates}) // knows no ALPN
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
		for {
			conn, err := bare.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Close()
		}
	})
	defer accepting.Wait()
	defer bare.Close()
	plainStranger := httptest.NewServer(http.NotFoundHandler())
	defer plainStranger.Close()
	mode := func(name string, mode os.FileMode) func() {
		return func() {
			if err := os.Chmod(filepath.Join(cfg.TLS.Storage, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	wildcard := func(c *configs.Config) {
		c.TLS.Domains = []string{"*.example.com"}
		c.TLS.ACME.DNS.Provider, c.TLS.ACME.DNS.Resolvers = configs.DNSRFC2136, []string{zone.Addr}
		c.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Secret: configs.NewSecret(zone.Secret)}
	}
	caa := func(policies ...challtestsrv.CAAPolicy) func() {
		return func() { ca.Names.AddDNSCAARecord("example.com", policies) }
	}
	noCAA := func() { ca.Names.DeleteDNSCAARecord("example.com") }
	for _, tt := range []struct {
		name   string
		before func()
		change func(*configs.Config)
		from   func(*tlsconf.Preflight)
		after  func()
		want   []string
		bad    int
	}{
		{
			"all is well", nil, nil, nil, nil,
			[]string{
				"storage: ", "storage permissions: nobody else", "authority " + ca.Directory + ": answers", "clock: agrees", ca.Host + " in the DNS: has 127.0.0.1",
				fmt.Sprintf("%s, port %d at 127.0.0.1: reaches this gateway", ca.Host, httpPort),
				fmt.Sprintf("%s, port %d at 127.0.0.1: reaches this gateway", ca.Host, httpsPort),
				"CAA: none", "studio.lan: no public authority",
			},
			0,
		},
		{
			"DNS: another machine",
			func() { ca.Names.AddDNSARecord(ca.Host, []string{"127.0.0.2"}) }, nil, nil,
			func() { ca.Names.DeleteDNSARecord(ca.Host) },
			[]string{"at 127.0.0.2: cannot be reached from here: let it through to listen.http ", "let it through to listen.https"},
			2,
		},
		{
			"DNS: no address",
			func() { ca.Names.SetDefaultDNSIPv4("") }, nil, nil,
			func() { ca.Names.SetDefaultDNSIPv4("127.0.0.1") },
			[]string{"has no address: give it an A or AAAA record"},
			1,
		},
		{
			"DNS: no name server", nil, nil, func(p *tlsconf.Preflight) { p.Resolver = "127.0.0.1:1" }, nil,
			[]string{ca.Host + " in the DNS: has no address", "CAA: the records of " + ca.Host + " cannot be read"},
			2,
		},
		{
			"port 80: another server", nil, nil, func(p *tlsconf.Preflight) { p.HTTPPort = port(t, plainStranger.Listener.Addr()) }, nil,
			[]string{"another server answers there (404 Not Found)"},
			1,
		},
		{
			"port 80: closed", nil, nil, func(p *tlsconf.Preflight) { p.HTTPPort = 1 }, nil,
			[]string{"port 1 at 127.0.0.1: cannot be reached from here: let it through to listen.http"},
			1,
		},
		{
			"port 443: another server", nil, nil, func(p *tlsconf.Preflight) { p.HTTPSPort = port(t, stranger.Listener.Addr()) }, nil,
			[]string{"another server answers there", "point the name to this gateway, or the port to listen.https"},
			1,
		},
		{
			"port 443: another server without ALPN", nil, nil, func(p *tlsconf.Preflight) { p.HTTPSPort = port(t, bare.Addr()) }, nil,
			[]string{`another server answers there, with a certificate for "example.com": point the name to this gateway`},
			1,
		},
		{
			"port 443: no TLS", nil, nil, func(p *tlsconf.Preflight) { p.HTTPSPort = port(t, plainStranger.Listener.Addr()) }, nil,
			[]string{"another server answers there"},
			1,
		},
		{
			"port 443: closed, http-01 alone", nil,
			func(c *configs.Config) { c.TLS.ACME.Challenges = []configs.Challenge{configs.HTTP01} },
			func(p *tlsconf.Preflight) { p.HTTPSPort = 1 }, nil,
			[]string{"port 1 at 127.0.0.1: cannot be reached from here: let it through to listen.https"},
			1,
		},
		{
			"CAA of another authority",
			caa(challtestsrv.CAAPolicy{Tag: "issue", Value: "other.example"}), nil, nil, noCAA,
			[]string{`add CAA 0 issue "pebble.test"`},
			1,
		},
		{
			"CAA of this authority",
			caa(challtestsrv.CAAPolicy{Tag: "issue", Value: "pebble.test; x=y"}), nil, nil, noCAA,
			[]string{"example.com allows the authority"},
			0,
		},
		{
			"CAA for wildcards",
			caa(challtestsrv.CAAPolicy{Tag: "issue", Value: "pebble.test"}, challtestsrv.CAAPolicy{Tag: "issuewild", Value: ";"}),
			func(c *configs.Config) { wildcard(c); c.TLS.Domains = append(c.TLS.Domains, ca.Host) }, nil, noCAA,
			[]string{"*.example.com, CAA: example.com forbids", ca.Host + ", CAA: example.com allows"},
			1,
		},
		{
			"authority: none there", nil, func(c *configs.Config) { c.TLS.ACME.Directory = "https://127.0.0.1:1/dir" }, nil, nil,
			[]string{"the authority cannot be reached"},
			1,
		},
		{
			"authority: not trusted", nil, func(c *configs.Config) { c.TLS.ACME.Roots = "" }, nil, nil,
			[]string{"tls.acme.roots"},
			1,
		},
		{
			"authority: no directory", nil, func(c *configs.Config) { c.TLS.ACME.Directory = ca.Directory + "/../root" }, nil, nil,
			[]string{"authority " + ca.Directory},
			1,
		},
		{
			"clock: an hour fast", func() { ca.Clock(-time.Hour) }, nil, nil, func() { ca.Fault(nil) },
			[]string{"clock: is 1h0m", "away from the authority's: set it, or run a time service"},
			1,
		},
		{
			"clock: a day slow", func() { ca.Clock(24 * time.Hour) }, nil, nil, func() { ca.Fault(nil) },
			[]string{"clock: is -2"},
			1,
		},
		{
			"clock: a minute fast", func() { ca.Clock(-time.Minute) }, nil, nil, func() { ca.Fault(nil) },
			[]string{"clock: agrees"},
			0,
		},
		{
			"storage is no directory", nil, func(c *configs.Config) { c.TLS.Storage = c.TLS.ACME.Roots }, nil, nil,
			[]string{"storage: cannot be made"},
			1,
		},
		{
			"storage: others can read a key", mode("ca.key", 0o640), nil, nil, mode("ca.key", 0o600),
			[]string{"storage permissions: other users can read " + filepath.Join(cfg.TLS.Storage, "ca.key"), "chmod -R go= "},
			1,
		},
		{
			"storage: others can write", mode(".", 0o777), nil, nil, mode(".", 0o700),
			[]string{"storage permissions: other users can replace keys"},
			1,
		},
		{
			"records for dns-01", nil, wildcard, nil, nil,
			[]string{"*.example.com by dns-01: records can be set and removed"},
			0,
		},
		{
			"wrong key for dns-01", nil, func(c *configs.Config) { wildcard(c); c.TLS.ACME.DNS.RFC2136.Secret = configs.NewSecret("d3Jvbmc=") }, nil, nil,
			[]string{"*.example.com by dns-01: a record cannot be set"},
			1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before()
			}
			if tt.after != nil {
				defer tt.after()
			}
			c := cfg
			if tt.change != nil {
				tt.change(&c)
			}
			flight, err := gateway.Preflight(c)
			if err != nil {
				t.Fatal(err)
			}
			flight.HTTPAddr, flight.HTTPSAddr = g.Addr("http").String(), g.Addr("https").String()
			flight.HTTPPort, flight.HTTPSPort, flight.Resolver = httpPort, httpsPort, ca.Resolver
			if tt.from != nil {
				tt.from(&flight)
			}
			var out bytes.Buffer
			err = gateway.WritePreflight(&out, flight.Run(t.Context()))
			if bad := strings.Count(out.String(), "PROBLEM"); bad != tt.bad || (err != nil) != (tt.bad > 0) {
				t.Errorf("%d problems, want %d; %v:\n%s", bad, tt.bad, err, &out)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("lacks %q:\n%s", w, &out)
				}
			}
		})
	}
}

// freeAddr returns an address of loopback that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestPreflightBeforeTheFirstStart checks without a gateway: the check answers on its ports itself. It leaves nothing in the storage, which may be another
// user's.
func TestPreflightBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{EAB: map[string]string{"kid-1": "c2VjcmV0"}})
	ca.Serve(1, 1) // nothing is proved here
	cfg := acmeConfig(t, ca)
	cfg.TLS.Storage = filepath.Join(t.TempDir(), "not", "there")
	cfg.Listen.HTTP, cfg.Listen.HTTPS = freeAddr(t), freeAddr(t)
	flight, err := gateway.Preflight(cfg)
	if err != nil {
		t.Fatal(err)
	}
	flight.Resolver = ca.Resolver
	for addr, port := range map[string]*int{cfg.Listen.HTTP: &flight.HTTPPort, cfg.Listen.HTTPS: &flight.HTTPSPort} {
		if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", port); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := gateway.WritePreflight(&out, flight.Run(t.Context())); err == nil {
		t.Error("an authority that wants an external account binding is no problem")
	}
	for _, w := range []string{
		"set tls.acme.eab", "storage: ",
		fmt.Sprintf("port %d at 127.0.0.1: reaches this gateway", flight.HTTPPort), fmt.Sprintf("port %d at 127.0.0.1: reaches this gateway", flight.HTTPSPort),
	} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("lacks %q", w)
		}
	}
	if n := strings.Count(out.String(), "PROBLEM"); n != 1 {
		t.Errorf("%d problems", n)
	}
	if _, err := os.Stat(filepath.Dir(cfg.TLS.Storage)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check left its storage: %v", err)
	}
	if t.Failed() {
		t.Logf("\n%s", &out)
	}
}
