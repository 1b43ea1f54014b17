package gateway_test

import (
	"crypto/tls"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/admin"
	"culvert/testdata/pebble"
)

// requireInternal checks that clients are served under a name with the internal certificate.
func requireInternal(t *testing.T, g *gateway.Gateway, name string) {
	t.Helper()
	cert, err := secureDial(t, g, name, nil)
	if err != nil || !strings.Contains(cert.Issuer.CommonName, "culvert internal CA") {
		t.Errorf("clients of %s get %v, %v", name, cert, err)
	}
}

// stillServes checks that clients are served with what there is: over TLS, and with pages that are not redirected to a certificate nobody trusts.
func stillServes(t *testing.T, g *gateway.Gateway, name string) {
	t.Helper()
	requireInternal(t, g, name)
	if cert, err := secureDial(t, g, name, nil); err != nil || cert.VerifyHostname(name) != nil {
		t.Errorf("clients get %v, %v", cert, err)
	}
	if status, _, _ := page(t, g, name, "/"); status != http.StatusOK {
		t.Errorf("a page over plain HTTP: %d", status)
	}
}

// fault is something that keeps a gateway from getting a certificate.
type fault struct {
	name   string
	cause  func(*testing.T, *pebble.CA, *configs.Config)
	reason []string         // as operators read it, about {name}
	cure   func(*pebble.CA) // nil: none
	later  time.Duration    // the next try is at least that far away
}

// faults are those that every client meets.
var faults = []fault{
	{
		"CA down",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) { ca.Stop() },
		[]string{"the authority cannot be reached", "connection refused"},
		nil, 0,
	},
	{
		"CA broken",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) { ca.Fault(outOfOrder) },
		[]string{"the authority answers HTTP 500", "out of order"},
		func(ca *pebble.CA) { ca.Fault(nil) }, 0,
	},
	{
		"CA not trusted",
		func(_ *testing.T, _ *pebble.CA, cfg *configs.Config) { cfg.TLS.ACME.Roots = "" },
		[]string{"is not trusted here: name its root with tls.acme.roots"},
		nil, 0,
	},
	{
		"CA issues no such name",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) { ca.Refuse("rejectedIdentifier") },
		[]string{"the authority issues no certificate for {name}", "no, never"},
		func(ca *pebble.CA) { ca.Fault(nil) }, 0,
	},
	{
		"wrong DNS: another machine",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) {
			ca.Names.AddDNSARecord(ca.Host, []string{"127.0.0.2"})
		},
		[]string{"the authority cannot connect to {name}", "127.0.0.2"},
		func(ca *pebble.CA) { ca.Names.DeleteDNSARecord(ca.Host) }, 0,
	},
	{
		"wrong DNS: another server on port 80",
		func(t *testing.T, ca *pebble.CA, cfg *configs.Config) {
			t.Helper()
			cfg.TLS.ACME.Challenges = []configs.Challenge{configs.HTTP01}
			stranger := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(stranger.Close)
			ca.Serve(port(t, stranger.Listener.Addr()), nobody)
		},
		[]string{"the authority reached another server under {name}", "check where its A and AAAA records point"},
		nil, 0,
	},
	{
		"wrong DNS: another server on port 443",
		func(t *testing.T, ca *pebble.CA, cfg *configs.Config) {
			t.Helper()
			cfg.TLS.ACME.Challenges = []configs.Challenge{configs.TLSALPN01}
			stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
			stranger.TLS = &tls.Config{NextProtos: []string{"acme-tls/1"}}
			stranger.StartTLS()
			t.Cleanup(stranger.Close)
			ca.Serve(nobody, port(t, stranger.Listener.Addr()))
		},
		[]string{"the authority reached another server under {name}", "check where its A and AAAA records point"},
		nil, 0,
	},
	{
		"wrong DNS: no address",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) { ca.Names.SetDefaultDNSIPv4("") },
		[]string{"the authority", "{name}", "A or AAAA record"},
		func(ca *pebble.CA) { ca.Names.SetDefaultDNSIPv4("127.0.0.1") }, 0,
	},
	{
		"rate limit",
		func(_ *testing.T, ca *pebble.CA, _ *configs.Config) { ca.RateLimit() },
		[]string{"the authority's rate limit for {name} is reached", "too many certificates"},
		nil, 55 * time.Minute,
	},
	{
		"storage cannot be written",
		func(t *testing.T, _ *pebble.CA, cfg *configs.Config) {
			t.Helper()
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.TLS.Storage = filepath.Join(file, "below")
		},
		[]string{"tls.storage cannot be written"},
		nil, 0,
	},
}

// dnsFaults are those of dns-01, which only certmagic knows.
var dnsFaults = []fault{
	{
		"dns-01, record refused",
		func(t *testing.T, ca *pebble.CA, cfg *configs.Config) {
			t.Helper()
			byDNS(t, ca, cfg)
			cfg.TLS.ACME.DNS.RFC2136.Secret = configs.NewSecret("d3Jvbmc=")
		},
		[]string{"127.0.0.1", "NOTAUTH"},
		nil, 0,
	},
	{
		"dns-01, record not found",
		func(t *testing.T, ca *pebble.CA, cfg *configs.Config) {
			t.Helper()
			byDNS(t, ca, cfg)
			idle := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // says yes and does nothing
			t.Cleanup(idle.Close)
			cfg.TLS.ACME.DNS.Provider, cfg.TLS.ACME.DNS.Webhook.URL = configs.DNSWebhook, idle.URL
		},
		[]string{"the authority does not find the TXT record that proves {name}", "tls.acme.dns.propagation"},
		nil, 0,
	},
}

// byDNS proves names by dns-01 alone.
func byDNS(t *testing.T, ca *pebble.CA, cfg *configs.Config) {
	t.Helper()
	cfg.TLS.ACME.Challenges = []configs.Challenge{configs.DNS01}
	cfg.TLS.ACME.DNS = dynamicUpdates(*cfg, ca.Zone(t, "example.com"))
}

// TestACMEFaults shows for each fault and client what `culvert status`, the log and the metrics say, that the gateway serves all the same, and that it
// recovers by itself.
func TestACMEFaults(t *testing.T) {
	t.Parallel()
	for client, met := range map[configs.ACMEClient][]fault{configs.ACMECertmagic: slices.Concat(faults, dnsFaults), configs.ACMEAutocert: faults} {
		for _, f := range met {
			t.Run(string(client)+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				ca := pebble.New(t, pebble.Config{})
				cfg := acmeConfig(t, ca)
				cfg.TLS.ACME.Client = client
				f.cause(t, ca, &cfg)
				g, log := startACME(t, cfg, ca)
				c := certificate(t, g, ca.Host, in("fallback"))
				if c.NextTry == nil || time.Until(*c.NextTry) < f.later || c.Failures < 1 || c.LastErrorAt == nil {
					t.Errorf("status %+v", c)
				}
				reason := slices.Clone(f.reason)
				for i := range reason {
					reason[i] = strings.ReplaceAll(reason[i], "{name}", ca.Host)
				}
				requireFailed(t, g, log, ca.Host, "fallback", reason...)
				stillServes(t, g, ca.Host)
				if f.cure == nil {
					return
				}
				f.cure(ca)
				certificate(t, g, ca.Host, in("valid"))
				requireObtained(t, g, log, ca.Host)
			})
		}
	}
}

// TestACMERenewalFails keeps serving the old certificate, first a valid one, then one that has ended, and takes a new one as soon as it can.
func TestACMERenewalFails(t *testing.T) {
	withEachClient(t, pebble.Config{Life: 9 * time.Second}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		ca.RenewIn(4 * time.Second) // certmagic asks; autocert renews after two thirds of the life
		g, log := startACME(t, cfg, ca)
		first := certificate(t, g, ca.Host, in("valid"))
		ca.Fault(outOfOrder)
		certificate(t, g, ca.Host, in("failing"))
		requireFailed(t, g, log, ca.Host, "failing", "the authority answers HTTP 500")
		if _, err := secureDial(t, g, ca.Host, ca.Pool()); err != nil {
			t.Errorf("the old certificate is not served: %v", err)
		}
		ended := certificate(t, g, ca.Host, in("expired"))
		requireFailed(t, g, log, ca.Host, "expired", "the authority answers HTTP 500")
		if cert, err := secureDial(t, g, ca.Host, nil); err != nil || !cert.NotAfter.Equal(*ended.NotAfter) {
			t.Errorf("clients get %v, %v", cert, err)
		}
		ca.Fault(nil)
		certificate(t, g, ca.Host, func(c admin.CertificateInfo) bool { return c.State == "valid" && c.NotAfter.After(*first.NotAfter) })
	})
}

// TestACMEStoredCertificate takes what an earlier run obtained, without asking the authority.
func TestACMEStoredCertificate(t *testing.T) {
	withEachClient(t, pebble.Config{}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		t.Run("first run", func(t *testing.T) {
			g, _ := startACME(t, cfg, ca)
			certificate(t, g, ca.Host, in("valid"))
		})
		ca.Stop()
		g, _ := startACME(t, cfg, ca)
		if c := certificate(t, g, ca.Host, in("valid")); c.Failures != 0 {
			t.Errorf("status %+v", c)
		}
		if _, err := secureDial(t, g, ca.Host, ca.Pool()); err != nil {
			t.Error(err)
		}
	})
}

// TestACMECorruptStorage starts on a storage in which every file is garbage: it says so, serves the internal certificate, and orders anew.
func TestACMECorruptStorage(t *testing.T) {
	withEachClient(t, pebble.Config{}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		t.Run("first run", func(t *testing.T) {
			g, _ := startACME(t, cfg, ca)
			certificate(t, g, ca.Host, in("valid"))
		})
		err := filepath.WalkDir(filepath.Join(cfg.TLS.Storage, "acme"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.WriteFile(path, []byte("garbage"), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		ca.Again()
		g, log := startACME(t, cfg) // the authority answers nothing until it knows the new ports
		certificate(t, g, ca.Host, in("pending"))
		requireStatus(t, g, false, ca.Host+"  (acme)\n  state      being ordered; clients get the internal certificate", "cannot be used and is ordered anew", "is damaged")
		requireMetrics(t, g, map[string]float64{`culvert_tls_certificate_state{name="` + ca.Host + `",source="acme",state="pending"}`: 1})
		lines := acmeLines(t, log, ca.Host, "stored certificate cannot be used, it is ordered anew")
		if len(lines) != 1 || lines[0].Level != "warn" || !strings.Contains(lines[0].Error, "is damaged") {
			t.Errorf("the log says of it: %+v", lines)
		}
		stillServes(t, g, ca.Host)
		ca.Serve(port(t, g.Addr("http")), port(t, g.Addr("https")))
		certificate(t, g, ca.Host, in("valid"))
		requireObtained(t, g, log, ca.Host)
		waitForLog(t, log, "stored ACME account is damaged, a new one is made")
	})
}

// TestHTTPPolicy redirects pages under a name with a certificate, never the tunnel nor challenges.
func TestHTTPPolicy(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.HSTS = configs.Duration(24 * time.Hour)
	g, _ := startACME(t, cfg, ca)
	certificate(t, g, ca.Host, in("valid"))
	secure := g.Addr("https").String()
	secure = secure[strings.LastIndex(secure, ":"):]
	for _, tt := range []struct {
		host, path string
		status     int
		location   string
	}{
		{ca.Host, "/", 308, "https://" + ca.Host + "/"},
		{ca.Host, "/culvert.css?x=1", 308, "https://" + ca.Host + "/culvert.css?x=1"},
		{ca.Host + ":8080", "/", 308, "https://" + ca.Host + secure + "/"},
		{strings.ToUpper(ca.Host), "/", 308, "https://" + strings.ToUpper(ca.Host) + "/"},
		{"other.example.com", "/", 200, ""},
		{"127.0.0.1", "/", 200, ""},
		{"[::1]:8080", "/", 200, ""},
		{ca.Host, "/.well-known/acme-challenge/nothing", 404, ""},
		{ca.Host, "/.well-known/acme-challenge/culvert-check-0a", 200, ""},
		{ca.Host, "/idle/12/3", 405, ""},
	} {
		status, header, _ := page(t, g, tt.host, tt.path)
		if status == http.StatusNotFound && strings.HasPrefix(tt.path, "/idle") { // the tunnel's own answer, whichever it is
			status = tt.status
		}
		if status != tt.status || header.Get("Location") != tt.location {
			t.Errorf("%s%s: %d %s, want %d %s", tt.host, tt.path, status, header.Get("Location"), tt.status, tt.location)
		}
		if header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s%s: HSTS over plain HTTP", tt.host, tt.path)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(ca), DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+g.Addr("https").String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Strict-Transport-Security") != "max-age=86400" {
		t.Errorf("over TLS: %s %v", resp.Status, resp.Header)
	}
}

// TestACMEPortTaken leaves nothing running when the gateway cannot be built.
func TestACMEPortTaken(t *testing.T) {
	ca := pebble.New(t, pebble.Config{})
	g, _ := start(t, config(t), gateway.Options{})
	cfg := acmeConfig(t, ca)
	cfg.Listen.HTTP = g.Addr("http").String()
	if _, err := gateway.New(cfg, gateway.Options{}); err == nil || !strings.Contains(err.Error(), "listen.http") {
		t.Errorf("error %v", err)
	}
	// goleak finds what is left
}
