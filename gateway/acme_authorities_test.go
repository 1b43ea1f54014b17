package gateway_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"net/http"
	neturl "net/url"
	"testing"
	"time"

	"culvert/configs"
	"culvert/testdata/pebble"
)

// TestACMEKeyTypes orders with each kind of key, and looks at the public key of what the authority issued. Without the setting it is P-256.
func TestACMEKeyTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		client configs.ACMEClient
		key    configs.KeyType // empty: not set
		want   string
	}{
		{configs.ACMECertmagic, "", "ECDSA P-256"},
		{configs.ACMEAutocert, "", "ECDSA P-256"},
		{configs.ACMECertmagic, configs.KeyP256, "ECDSA P-256"},
		{configs.ACMEAutocert, configs.KeyP256, "ECDSA P-256"},
		{configs.ACMECertmagic, configs.KeyP384, "ECDSA P-384"},
		{configs.ACMECertmagic, configs.KeyRSA2048, "RSA 2048"},
		{configs.ACMECertmagic, configs.KeyRSA4096, "RSA 4096"},
	} {
		name := string(tt.key)
		if name == "" {
			name = "default"
		}
		t.Run(string(tt.client)+"/"+name, func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{})
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.Client = tt.client
			if tt.key != "" {
				cfg.TLS.ACME.KeyType = tt.key
			}
			g, _ := startACME(t, cfg, ca)
			certificate(t, g, ca.Host, in("valid"))
			cert, err := secureDial(t, g, ca.Host, ca.Pool())
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%T", cert.PublicKey)
			switch key := cert.PublicKey.(type) {
			case *ecdsa.PublicKey:
				got = "ECDSA " + key.Curve.Params().Name
			case *rsa.PublicKey:
				got = fmt.Sprintf("RSA %d", key.N.BitLen())
			}
			if got != tt.want {
				t.Errorf("the certificate has a key of %s, want %s", got, tt.want)
			}
		})
	}
}

// TestACMEExternalAccount orders from an authority that wants to know its accounts.
func TestACMEExternalAccount(t *testing.T) {
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	known := pebble.Config{EAB: map[string]string{"kid-1": key}}
	t.Run("with", func(t *testing.T) {
		withEachClient(t, known, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
			cfg.TLS.ACME.EAB = configs.EAB{KID: "kid-1", HMAC: configs.NewSecret(key)}
			g, log := startACME(t, cfg, ca)
			certificate(t, g, ca.Host, in("valid"))
			requireObtained(t, g, log, ca.Host)
		})
	})
	t.Run("without", func(t *testing.T) {
		withEachClient(t, known, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
			g, log := startACME(t, cfg, ca)
			certificate(t, g, ca.Host, in("fallback"))
			requireFailed(t, g, log, ca.Host, "fallback", "external account binding", "tls.acme.eab")
		})
	})
}

// twoAuthorities orders from first, and from second when that fails.
func twoAuthorities(t *testing.T, first, second *pebble.CA) configs.Config {
	t.Helper()
	cfg := acmeConfig(t, first)
	cfg.TLS.ACME.Fallback = configs.Authority{Directory: second.Directory, Roots: second.ServerRootsFile(t)}
	return cfg
}

// label is how an authority is called in what operators read.
func label(t *testing.T, ca *pebble.CA) string {
	t.Helper()
	u, err := neturl.Parse(ca.Directory)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestACMESecondAuthority issues from the second when the first does not.
func TestACMESecondAuthority(t *testing.T) {
	t.Parallel()
	first, second := pebble.New(t, pebble.Config{}), pebble.New(t, pebble.Config{})
	first.RateLimit()
	g, log := startACME(t, twoAuthorities(t, first, second), first, second)
	certificate(t, g, first.Host, in("valid"))
	requireObtained(t, g, log, first.Host)
	if _, err := secureDial(t, g, first.Host, second.Pool()); err != nil {
		t.Error(err)
	}
	lines := acmeLines(t, log, first.Host, "authority did not issue, the next one is tried")
	if len(lines) != 1 || !containsAll(lines[0].Reason, []string{label(t, first) + ": ", "rate limit"}) {
		t.Errorf("the log says of the first: %+v", lines)
	}
}

// outOfOrder is an authority that answers every request with its own failure.
func outOfOrder(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "out of order", http.StatusInternalServerError)
}

// TestACMEBothAuthoritiesFail names what is wrong with each, serves what there is, and is content with the one that recovers first: that the other wants to be
// left in peace for an hour keeps nobody waiting, and it is left in peace.
func TestACMEBothAuthoritiesFail(t *testing.T) {
	t.Parallel()
	limited := func(t *testing.T, ca *pebble.CA) string { return label(t, ca) + ": the authority's rate limit" }
	broken := func(t *testing.T, ca *pebble.CA) string { return label(t, ca) + ": the authority answers HTTP 500" }
	for _, firstIsLimited := range []bool{true, false} {
		t.Run(fmt.Sprintf("first is at its limit: %v", firstIsLimited), func(t *testing.T) {
			t.Parallel()
			first, second := pebble.New(t, pebble.Config{}), pebble.New(t, pebble.Config{})
			full, down := first, second
			words := []string{limited(t, first), "; then " + broken(t, second)}
			if !firstIsLimited {
				full, down = second, first
				words = []string{broken(t, first), "; then " + limited(t, second)}
			}
			full.RateLimit()
			down.Fault(outOfOrder)
			g, log := startACME(t, twoAuthorities(t, first, second), first, second)
			certificate(t, g, first.Host, in("fallback"))
			requireFailed(t, g, log, first.Host, "fallback", words...)
			stillServes(t, g, first.Host)
			down.Fault(nil)
			certificate(t, g, first.Host, in("valid"))
			requireObtained(t, g, log, first.Host)
			if _, err := secureDial(t, g, first.Host, down.Pool()); err != nil {
				t.Error(err)
			}
			if n := full.Orders.Load(); n != 1 {
				t.Errorf("%d orders from an authority that has enough", n)
			}
		})
	}
	t.Run("both want peace", func(t *testing.T) {
		t.Parallel()
		first, second := pebble.New(t, pebble.Config{}), pebble.New(t, pebble.Config{})
		first.RateLimit()
		second.RateLimit()
		g, log := startACME(t, twoAuthorities(t, first, second), first, second)
		c := certificate(t, g, first.Host, in("fallback"))
		requireFailed(t, g, log, first.Host, "fallback", limited(t, first), "; then "+limited(t, second))
		if c.NextTry == nil || time.Until(*c.NextTry) < 55*time.Minute {
			t.Errorf("status %+v", c)
		}
		stillServes(t, g, first.Host)
	})
	t.Run("renewal", func(t *testing.T) {
		t.Parallel()
		first, second := pebble.New(t, pebble.Config{}), pebble.New(t, pebble.Config{})
		first.RefuseRenewals()
		second.Fault(outOfOrder)
		g, log := startACME(t, twoAuthorities(t, first, second), first, second)
		certificate(t, g, first.Host, in("failing"))
		requireFailed(t, g, log, first.Host, "failing", limited(t, first)+" for "+first.Host+" is reached", "; then "+broken(t, second))
		if _, err := secureDial(t, g, first.Host, first.Pool()); err != nil {
			t.Errorf("the old certificate is not served any more: %v", err)
		}
		second.Fault(nil)
		certificate(t, g, first.Host, in("valid"))
		if _, err := secureDial(t, g, first.Host, second.Pool()); err != nil {
			t.Error(err)
		}
	})
}

// TestACMERenewalInformation renews a certificate with 90 days left because the authority says so, as it does before it revokes.
func TestACMERenewalInformation(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	ca.RenewNow()
	g, log := startACME(t, acmeConfig(t, ca), ca)
	eventually(t, "a renewal", func() bool { return len(acmeLines(t, log, ca.Host, "certificate obtained")) == 2 })
	certificate(t, g, ca.Host, in("valid"))
	requireObtained(t, g, log, ca.Host)
	requireMetrics(t, g, map[string]float64{`culvert_acme_orders_total{result="succeeded"}`: 2})
}
