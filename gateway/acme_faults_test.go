package gateway_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/admin"
	"culvert/testdata/pebble"
)

// stillServes checks that clients are served with what there is: over TLS, and with pages that are not redirected to a certificate nobody trusts.
func stillServes(t *testing.T, g *gateway.Gateway) {
	t.Helper()
	cert, err := secureDial(t, g, liveName, nil)
	if err != nil || cert.VerifyHostname(liveName) != nil || !strings.Contains(cert.Issuer.CommonName, "culvert internal CA") {
		t.Errorf("clients get %v, %v", cert, err)
	}
	if status, _, _ := page(t, g, liveName, "/"); status != http.StatusOK {
		t.Errorf("a page over plain HTTP: %d", status)
	}
}

// TestACMEFaults shows for each fault what `culvert status` says, that the gateway serves all the same, and that it recovers by itself.
func TestACMEFaults(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name  string
		cause func(*pebble.CA)
		words []string
		cure  func(*pebble.CA) // nil: none
		later time.Duration    // the next try is at least that far away
	}{
		{
			"CA down",
			(*pebble.CA).Stop,
			[]string{"the authority cannot be reached", "connection refused"},
			nil, 0,
		},
		{
			"CA broken",
			func(ca *pebble.CA) {
				ca.Fault(func(w http.ResponseWriter, _ *http.Request) {
					http.Error(w, "out of order", http.StatusInternalServerError)
				})
			},
			[]string{"HTTP 500", "out of order"},
			func(ca *pebble.CA) { ca.Fault(nil) }, 0,
		},
		{
			"wrong DNS: another machine",
			func(ca *pebble.CA) { ca.Names.AddDNSARecord(liveName, []string{"127.0.0.2"}) },
			[]string{"the authority cannot connect to " + liveName, "127.0.0.2"},
			func(ca *pebble.CA) { ca.Names.DeleteDNSARecord(liveName) }, 0,
		},
		{
			"wrong DNS: no address",
			func(ca *pebble.CA) { ca.Names.SetDefaultDNSIPv4("") },
			[]string{"the authority", liveName, "A or AAAA record"},
			func(ca *pebble.CA) { ca.Names.SetDefaultDNSIPv4("127.0.0.1") }, 0,
		},
		{
			"rate limit",
			(*pebble.CA).RateLimit,
			[]string{"the authority's rate limit for " + liveName + " is reached", "too many certificates"},
			nil, 55 * time.Minute,
		},
	}
	for _, client := range acmeClients {
		for _, f := range faults {
			t.Run(string(client)+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				ca := pebble.New(t, pebble.Config{})
				f.cause(ca)
				cfg := acmeConfig(t, ca)
				cfg.TLS.ACME.Client = client
				g := startACME(t, cfg, ca)
				c := certificate(t, g, liveName, in("fallback"))
				if c.NextTry == nil || time.Until(*c.NextTry) < f.later || c.Failures < 1 || c.LastErrorAt == nil {
					t.Errorf("status %+v", c)
				}
				requireStatus(t, g, true, append([]string{liveName + "  (acme)", "NOT OBTAINED; clients get the internal certificate", "next try"}, f.words...)...)
				stillServes(t, g)
				if f.cure == nil {
					return
				}
				f.cure(ca)
				certificate(t, g, liveName, in("valid"))
				requireStatus(t, g, false, "state      valid")
			})
		}
	}
}

// TestACMERenewalFails keeps serving the old certificate, first a valid one, then one that has ended, and takes a new one as soon as it can.
func TestACMERenewalFails(t *testing.T) {
	withEachClient(t, pebble.Config{Life: 15 * time.Second}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		ca.RenewIn(8 * time.Second)
		g := startACME(t, cfg, ca)
		first := certificate(t, g, liveName, in("valid"))
		ca.Fault(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order", http.StatusInternalServerError)
		})
		certificate(t, g, liveName, in("failing"))
		requireStatus(t, g, false, "valid, but its renewal fails", "problem", "next try")
		ended := certificate(t, g, liveName, in("expired"))
		requireStatus(t, g, true, "EXPIRED")
		if cert, err := secureDial(t, g, liveName, nil); err != nil || !cert.NotAfter.Equal(*ended.NotAfter) {
			t.Errorf("clients get %v, %v", cert, err)
		}
		ca.Fault(nil)
		certificate(t, g, liveName, func(c admin.CertificateInfo) bool { return c.State == "valid" && c.NotAfter.After(*first.NotAfter) })
	})
}

// TestACMERenewalInformation renews a certificate with 90 days left because the authority says so, as it does before it revokes.
func TestACMERenewalInformation(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	ca.RenewNow()
	g := startACME(t, acmeConfig(t, ca), ca)
	first := certificate(t, g, liveName, in("valid"))
	certificate(t, g, liveName, func(c admin.CertificateInfo) bool {
		_, metrics := get(t, g.Addr("admin"), "/metrics")
		return c.State == "valid" && !c.NotAfter.Before(*first.NotAfter) && strings.Contains(metrics, `culvert_acme_orders_total{result="succeeded"} 2`)
	})
}

// TestACMEStoredCertificate takes what an earlier run obtained, without asking the authority.
func TestACMEStoredCertificate(t *testing.T) {
	withEachClient(t, pebble.Config{}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		t.Run("first run", func(t *testing.T) {
			certificate(t, startACME(t, cfg, ca), liveName, in("valid"))
		})
		ca.Stop()
		g := startACME(t, cfg, ca)
		if c := certificate(t, g, liveName, in("valid")); c.Failures != 0 {
			t.Errorf("status %+v", c)
		}
		if _, err := secureDial(t, g, liveName, ca.Pool()); err != nil {
			t.Error(err)
		}
	})
}

// TestACMECorruptStorage starts on a storage in which every file is garbage: it says so, serves the internal certificate, and orders anew.
func TestACMECorruptStorage(t *testing.T) {
	withEachClient(t, pebble.Config{}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		t.Run("first run", func(t *testing.T) {
			certificate(t, startACME(t, cfg, ca), liveName, in("valid"))
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
		ca.Again() // it answers nothing until it knows the new ports
		g, err := gateway.New(cfg, gateway.Options{})
		if err != nil {
			t.Fatal(err)
		}
		run(t, g)
		certificate(t, g, liveName, in("pending"))
		requireStatus(t, g, false, "being ordered; clients get the internal certificate", "cannot be used and is ordered anew", "is damaged")
		stillServes(t, g)
		ca.Serve(port(t, g.Addr("http")), port(t, g.Addr("https")))
		certificate(t, g, liveName, in("valid"))
		requireStatus(t, g, false, "state      valid")
	})
}

// TestHTTPPolicy redirects pages under a name with a certificate, never the tunnel nor challenges.
func TestHTTPPolicy(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.HSTS = configs.Duration(24 * time.Hour)
	g := startACME(t, cfg, ca)
	certificate(t, g, liveName, in("valid"))
	secure := g.Addr("https").String()
	secure = secure[strings.LastIndex(secure, ":"):]
	for _, tt := range []struct {
		host, path string
		status     int
		location   string
	}{
		{liveName, "/", 308, "https://" + liveName + "/"},
		{liveName, "/culvert.css?x=1", 308, "https://" + liveName + "/culvert.css?x=1"},
		{liveName + ":8080", "/", 308, "https://" + liveName + secure + "/"},
		{strings.ToUpper(liveName), "/", 308, "https://" + strings.ToUpper(liveName) + "/"},
		{"other.example.com", "/", 200, ""},
		{"127.0.0.1", "/", 200, ""},
		{"[::1]:8080", "/", 200, ""},
		{liveName, "/.well-known/acme-challenge/nothing", 404, ""},
		{liveName, "/.well-known/acme-challenge/culvert-check-0a", 200, ""},
		{liveName, "/idle/12/3", 405, ""},
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
