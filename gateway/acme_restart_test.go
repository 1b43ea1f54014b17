package gateway_test

import (
	"testing"

	"culvert/configs"
	"culvert/gateway"
	"culvert/testdata/pebble"
)

// TestACMEGatewayThatStartsAgainAndAgain leaves an authority in peace whose limit is reached, serves, and says in `culvert status` what it waits for.
func TestACMEGatewayThatStartsAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, client := range acmeClients {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{})
			ca.RateLimit()
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.Client = client
			cfg.TLS.ACME.Retry = configs.Default().TLS.ACME.Retry
			t.Run("first run", func(t *testing.T) {
				certificate(t, startACME(t, cfg, ca), liveName, in("fallback"))
			})
			asked := ca.Requests.Load()
			for range 3 {
				t.Run("again", func(t *testing.T) {
					g, err := gateway.New(cfg, gateway.Options{})
					if err != nil {
						t.Fatal(err)
					}
					run(t, g)
					certificate(t, g, liveName, in("fallback"))
					requireStatus(t, g, true, "NOT OBTAINED; clients get the internal certificate", "the authority's rate limit for "+liveName+" is reached", ", once)", "next try   in 5")
					stillServes(t, g)
				})
			}
			if n := ca.Requests.Load(); n != asked {
				t.Errorf("%d requests by starts alone", n-asked)
			}
		})
	}
}
