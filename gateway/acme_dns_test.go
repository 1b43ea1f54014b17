package gateway_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"testing"
	"time"

	"culvert/configs"
	"culvert/testdata/pebble"
)

// dynamicUpdates are the settings with which dns-01 sets its records in a zone.
func dynamicUpdates(cfg configs.Config, zone *pebble.Zone) configs.DNS {
	d := cfg.TLS.ACME.DNS
	d.Provider, d.Resolvers, d.Propagation = configs.DNSRFC2136, []string{zone.Addr}, 0
	d.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Algorithm: "hmac-sha256", Secret: configs.NewSecret(zone.Secret)}
	return d
}

// TestACMEWildcard proves a wildcard by dns-01 with each of our providers.
func TestACMEWildcard(t *testing.T) {
	t.Parallel()
	for _, provider := range []configs.DNSProvider{configs.DNSRFC2136, configs.DNSWebhook, configs.DNSExec} {
		t.Run(string(provider), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{})
			zone := ca.Zone(t, "example.com")
			hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var change struct{ Action, Zone, Name, Type, Value string }
				if r.Header.Get("Authorization") != "Bearer t0ken" || json.NewDecoder(r.Body).Decode(&change) != nil || change.Zone != "example.com" || change.Type != "TXT" {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				zone.Set(change.Action, change.Name, change.Value)
			}))
			defer hook.Close()
			program := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				zone.Set(q.Get("action"), q.Get("name"), q.Get("value"))
			}))
			defer program.Close()
			cfg := acmeConfig(t, ca)
			cfg.TLS.Domains = []string{"*.example.com", "example.com"}
			cfg.TLS.ACME.Challenges = []configs.Challenge{configs.DNS01}
			cfg.TLS.ACME.DNS = dynamicUpdates(cfg, zone)
			cfg.TLS.ACME.DNS.Provider = provider
			if provider == configs.DNSRFC2136 {
				cfg.TLS.ACME.DNS.Propagation = configs.Duration(time.Minute)
			}
			cfg.TLS.ACME.DNS.Webhook = configs.Webhook{URL: hook.URL, Token: configs.NewSecret("t0ken")}
			cfg.TLS.ACME.DNS.Exec = []string{os.Args[0], "-test.run=^TestDNSProgram$", program.URL}
			g, log := startACME(t, cfg, ca)
			certificate(t, g, "*.example.com", in("valid"))
			certificate(t, g, "example.com", in("valid"))
			requireObtained(t, g, log, "*.example.com")
			for _, name := range []string{"any.example.com", "example.com"} {
				if _, err := secureDial(t, g, name, ca.Pool()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := zone.Updates.Load(); n != 4 { // two names, each set and removed
				t.Errorf("%d changes of records", n)
			}
			if left := ca.Names.GetDNSTXTRecords("_acme-challenge.example.com."); len(left) > 0 {
				t.Errorf("records are left: %q", left)
			}
		})
	}
}

// TestDNSProgram is the program of TestACMEWildcard/exec: it hands its arguments to the URL that comes first.
func TestDNSProgram(t *testing.T) {
	args := flag.Args()
	if len(args) != 4 {
		t.Skip("a program for another test")
	}
	q := neturl.Values{"action": {args[1]}, "name": {args[2]}, "value": {args[3]}}
	if args[1] != os.Getenv("CULVERT_DNS_ACTION") || args[2] != os.Getenv("CULVERT_DNS_NAME") || os.Getenv("CULVERT_DNS_ZONE") != "example.com" {
		t.Fatalf("environment of %q: %q", args, os.Environ())
	}
	resp, err := http.Get(args[0] + "?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}
