package gateway_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"

	"culvert/configs"
	"culvert/gateway"
	"culvert/testdata/pebble"
)

// TestPreflight checks what `culvert check --acme` finds, with the gateway running and not, and with each thing that can be wrong.
func TestPreflight(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.Domains = append(cfg.TLS.Domains, "studio.lan")
	g := startACME(t, cfg, ca)
	certificate(t, g, liveName, in("valid"))
	httpPort, httpsPort := port(t, g.Addr("http")), port(t, g.Addr("https"))
	zone := ca.Zone(t, "example.com")
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	openHTTP, openHTTPS := httpPort, httpsPort
	directory := func(date time.Time, meta string) func() { // of an authority whose clock says date
		return func() {
			ca.Fault(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
				fmt.Fprintf(w, `{"newOrder": "/order", "meta": {%s}}`, meta)
			})
		}
	}
	caa := func(value string) func() {
		return func() {
			ca.Names.AddDNSCAARecord("example.com", []challtestsrv.CAAPolicy{{Tag: "issue", Value: value}})
		}
	}
	for _, tt := range []struct {
		name   string
		before func()
		change func(*configs.Config)
		after  func()
		want   []string
		bad    int
	}{
		{"all is well", nil, nil, nil, []string{
			"storage: ", "authority " + ca.Directory + ": answers", "clock: agrees", liveName + " in the DNS: has 127.0.0.1",
			fmt.Sprintf("%s, port %d at 127.0.0.1: reaches this gateway", liveName, httpPort), fmt.Sprintf("port %d at 127.0.0.1: is open", httpsPort),
			"CAA: none", "studio.lan: no public authority",
		}, 0},
		{
			"another machine",
			func() { ca.Names.AddDNSARecord(liveName, []string{"127.0.0.2"}) }, nil,
			func() { ca.Names.DeleteDNSARecord(liveName) },
			[]string{"at 127.0.0.2: cannot be reached from here"},
			2,
		},
		{
			"no address",
			func() { ca.Names.SetDefaultDNSIPv4("") }, nil,
			func() { ca.Names.SetDefaultDNSIPv4("127.0.0.1") },
			[]string{"has no address: give it an A or AAAA record"},
			1,
		},
		{"CAA of another authority", caa("other.example"), nil, func() { ca.Names.DeleteDNSCAARecord("example.com") }, []string{`add CAA 0 issue "pebble.test"`}, 1},
		{"CAA of this authority", caa("pebble.test; x=y"), nil, func() { ca.Names.DeleteDNSCAARecord("example.com") }, []string{"example.com allows the authority"}, 0},
		{"no such authority", nil, func(c *configs.Config) { c.TLS.ACME.Directory = "https://127.0.0.1:1/dir" }, nil, []string{"the authority cannot be reached"}, 1},
		{"untrusted authority", nil, func(c *configs.Config) { c.TLS.ACME.Roots = "" }, nil, []string{"tls.acme.roots"}, 1},
		{"storage is no directory", nil, func(c *configs.Config) { c.TLS.Storage = c.TLS.ACME.Roots }, nil, []string{"storage: cannot be made"}, 1},
		{
			"another server on port 80",
			func() { httpPort = port(t, stranger.Listener.Addr()) }, nil,
			func() { httpPort = openHTTP },
			[]string{"another server answers there (404 Not Found)"},
			1,
		},
		{"port 80 is closed", func() { httpPort = 1 }, nil, func() { httpPort = openHTTP }, []string{"port 1 at 127.0.0.1: cannot be reached from here: let it through to listen.http "}, 1},
		{"port 443 is closed", func() { httpsPort = 1 }, nil, func() { httpsPort = openHTTPS }, []string{"port 1 at 127.0.0.1: cannot be reached from here: let it through to listen.https"}, 1},
		{"a clock that is slow", directory(time.Now().Add(time.Hour), ""), nil, func() { ca.Fault(nil) }, []string{"PROBLEM  clock: is -", "away from the authority's: set it"}, 1},
		{"a clock that is fast", directory(time.Now().Add(-time.Hour), ""), nil, func() { ca.Fault(nil) }, []string{"PROBLEM  clock: is 1h"}, 1},
		{
			"an account is wanted",
			directory(time.Now(), `"externalAccountRequired": true`), nil,
			func() { ca.Fault(nil) },
			[]string{"wants an external account binding: set tls.acme.eab"},
			1,
		},
		{"no storage", nil, func(c *configs.Config) { c.TLS.Storage = "/proc/1/nowhere" }, nil, []string{"PROBLEM  storage: cannot be made", "name a directory that can be written (tls.storage)"}, 1},
		{"records for dns-01", nil, func(c *configs.Config) {
			c.TLS.Domains = []string{"*.example.com"}
			c.TLS.ACME.DNS.Provider, c.TLS.ACME.DNS.Resolvers = configs.DNSRFC2136, []string{zone.Addr}
			c.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Secret: configs.NewSecret(zone.Secret)}
		}, nil, []string{"*.example.com by dns-01: records can be set and removed"}, 0},
		{"wrong key for dns-01", nil, func(c *configs.Config) {
			c.TLS.Domains = []string{"*.example.com"}
			c.TLS.ACME.DNS.Provider, c.TLS.ACME.DNS.Resolvers = configs.DNSRFC2136, []string{zone.Addr}
			c.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Secret: configs.NewSecret("d3Jvbmc=")}
		}, nil, []string{"*.example.com by dns-01: a record cannot be set"}, 1},
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
