package gateway_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"culvert/gateway/admin"
	"culvert/gateway/client"
	"culvert/testdata/pebble"
)

// TestRenewalUnderStreams renews certificates while streams go in and out over RTMPS and RTMPTS: not one frame is lost, and new connections get the new
// certificate.
func TestRenewalUnderStreams(t *testing.T) {
	t.Parallel()
	file, tags := clip(t, 7900)
	for _, acmeClient := range acmeClients {
		t.Run(string(acmeClient), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{Life: 6 * time.Second})
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.Client = acmeClient
			g := startACME(t, cfg, ca)
			first := certificate(t, g, liveName, in("valid"))
			verified := client.Options{TLS: clientTLS(ca)}
			schemes := []string{"rtmps", "rtmpts"}
			received := make([]bytes.Buffer, len(schemes)*len(schemes))
			var players, publishers sync.WaitGroup
			for i, in := range schemes {
				for j, out := range schemes {
					tg := target(t, url(g, out, "live/"+in))
					players.Go(func() {
						if err := client.PlayFLV(t.Context(), tg, &received[i*len(schemes)+j], verified, nil); err != nil {
							t.Errorf("play %s over %s: %v", in, out, err)
						}
					})
				}
			}
			waitForPlayers(t, g, len(received))
			for _, in := range schemes {
				tg := target(t, url(g, in, "live/"+in))
				publishers.Go(func() {
					if err := client.PublishFLV(t.Context(), bytes.NewReader(file), tg, verified, nil); err != nil {
						t.Errorf("publish over %s: %v", in, err)
					}
				})
			}
			renewed := certificate(t, g, liveName, func(c admin.CertificateInfo) bool { return c.NotAfter != nil && c.NotAfter.After(*first.NotAfter) })
			if cert, err := secureDial(t, g, liveName, nil); err != nil || cert.NotAfter.Before(*renewed.NotAfter) {
				t.Errorf("a new connection gets %v, %v", cert, err)
			}
			publishers.Wait()
			players.Wait()
			for i := range received {
				compare(t, schemes[i/len(schemes)]+" to "+schemes[i%len(schemes)], &received[i], tags)
			}
		})
	}
}
