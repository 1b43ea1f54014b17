package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"culvert/configs"
	"culvert/testdata/pebble"
)

// TestACMEOnDemand gets certificates for names that only a client's handshake brings up, proved by each challenge, and none for others.
func TestACMEOnDemand(t *testing.T) {
	withEachProof(t, func(t *testing.T, ca *pebble.CA, cfg configs.Config, zone *pebble.Zone) {
		asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("domain") != "asked."+ca.Domain {
				http.Error(w, "unknown", http.StatusNotFound)
			}
		}))
		defer asked.Close()
		cfg.TLS.ACME.OnDemand = configs.OnDemand{Allow: []string{"*.customers." + ca.Domain, "one." + ca.Domain}, Ask: asked.URL, Limit: 3}
		g, log := startACME(t, cfg, ca)
		certificate(t, g, ca.Host, in("valid"))
		t.Run("refused", func(t *testing.T) {
			for _, name := range []string{"refused." + ca.Domain, "deep.a.customers." + ca.Domain, "host.local"} {
				// They get the certificate of the first domain.
				if cert, err := secureDial(t, g, name, nil); err != nil || cert.VerifyHostname(ca.Host) != nil {
					t.Errorf("%s is refused: %v", name, err)
				}
				if len(acmeLines(t, log, name, "certificate on demand refused")) != 1 {
					t.Errorf("the log says nothing of %s", name)
				}
			}
			requireStatus(t, g, false, ca.Host)
			requireMetrics(t, g, map[string]float64{`culvert_acme_orders_total{result="refused"}`: 3, `culvert_acme_orders_total{result="failed"}`: 0})
			if n := ca.Orders.Load(); n != 1 || len(certificates(t, g)) != 2 {
				t.Errorf("%d orders, certificates %+v", n, certificates(t, g))
			}
		})
		t.Run("allowed", func(t *testing.T) {
			names := []string{"one." + ca.Domain, "A.customers." + ca.Domain, "asked." + ca.Domain}
			for _, name := range names {
				if _, err := secureDial(t, g, name, ca.Pool()); err != nil {
					t.Errorf("%s is allowed: %v", name, err)
				}
				certificate(t, g, strings.ToLower(name), in("valid"))
				requireObtained(t, g, log, strings.ToLower(name))
			}
			if n := ca.Orders.Load(); n != 4 {
				t.Errorf("%d orders", n)
			}
			if n := zone.Updates.Load(); cfg.TLS.ACME.DNS.Provider != configs.DNSOff && n != 8 { // one record of each name, set and removed
				t.Errorf("%d changes of records", n)
			}
		})
		t.Run("one too many", func(t *testing.T) {
			name := "b.customers." + ca.Domain // allowed, but beyond the limit
			if cert, err := secureDial(t, g, name, nil); err != nil || cert.VerifyHostname(ca.Host) != nil {
				t.Errorf("%s is refused: %v", name, err)
			}
			requireMetrics(t, g, map[string]float64{`culvert_acme_orders_total{result="refused"}`: 4, `culvert_acme_orders_total{result="succeeded"}`: 4})
			if len(acmeLines(t, log, name, "certificate on demand refused: too many names")) != 1 || ca.Orders.Load() != 4 {
				t.Errorf("%d orders, log:\n%s", ca.Orders.Load(), log)
			}
		})
	})
}

// TestACMEOnDemandFails serves a client whose name is allowed and whose order fails with the internal certificate, and the others as before.
func TestACMEOnDemandFails(t *testing.T) {
	withEachProof(t, func(t *testing.T, ca *pebble.CA, cfg configs.Config, _ *pebble.Zone) {
		name := "one." + ca.Domain
		cfg.TLS.ACME.OnDemand = configs.OnDemand{Allow: []string{name}, Limit: 1}
		g, log := startACME(t, cfg, ca)
		certificate(t, g, ca.Host, in("valid"))
		ca.RateLimit()
		requireInternal(t, g, name)
		requireFailed(t, g, log, name, "fallback", "the authority's rate limit for "+name+" is reached", "too many certificates")
		requireStatus(t, g, true, ca.Host+"  (acme)\n  state      valid")
		if _, err := secureDial(t, g, ca.Host, ca.Pool()); err != nil {
			t.Error(err)
		}
	})
}
