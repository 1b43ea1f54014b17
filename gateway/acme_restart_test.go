package gateway_test

import (
	"strings"
	"testing"
	"time"

	"culvert/configs"
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
				g, _ := startACME(t, cfg, ca)
				certificate(t, g, ca.Host, in("fallback"))
			})
			asked := ca.Requests.Load()
			for range 3 {
				t.Run("again", func(t *testing.T) {
					g, log := startACME(t, cfg)
					certificate(t, g, ca.Host, in("fallback"))
					requireStatus(t, g, true, "NOT OBTAINED; clients get the internal certificate", "the authority's rate limit for "+ca.Host+" is reached", ", once)", "next try   in 5")
					lines := acmeLines(t, log, ca.Host, "certificate is not ordered yet: the last try, before this start, failed")
					if len(lines) != 1 || !strings.Contains(lines[0].Reason, "rate limit") || time.Until(lines[0].NextTry) < 50*time.Minute {
						t.Errorf("the log says of it: %+v", lines)
					}
					stillServes(t, g, ca.Host)
				})
			}
			if n := ca.Requests.Load(); n != asked {
				t.Errorf("%d requests by starts alone", n-asked)
			}
		})
	}
}
