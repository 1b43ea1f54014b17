package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/admin"
	"culvert/testdata/pebble"
)

// liveName is the public name of the gateway in these tests.
const liveName = "live.example.com"

// acmeConfig orders certificates for liveName from ca.
func acmeConfig(t *testing.T, ca *pebble.CA) configs.Config {
	t.Helper()
	cfg := config(t)
	cfg.TLS.Mode = configs.TLSACME
	cfg.TLS.Domains = []string{liveName}
	cfg.TLS.ACME.Directory = ca.Directory
	cfg.TLS.ACME.Roots = ca.ServerRootsFile(t)
	cfg.TLS.ACME.Retry = configs.Duration(time.Second)
	return cfg
}

// startACME starts a gateway whose ports the authority connects to.
func startACME(t *testing.T, cfg configs.Config, ca *pebble.CA) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(cfg, gateway.Options{Log: zerolog.New(zerolog.NewTestWriter(t))})
	if err != nil {
		t.Fatal(err)
	}
	ca.Serve(port(t, g.Addr("http")), port(t, g.Addr("https")))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }() // stopped and waited for by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return g
}

func port(t *testing.T, addr net.Addr) int {
	t.Helper()
	if addr == nil {
		return 1 // a port nobody listens on
	}
	return addr.(*net.TCPAddr).Port
}

// certificate waits until the state of a certificate is as wanted, and returns it as the admin listener shows it.
func certificate(t *testing.T, g *gateway.Gateway, name string, want func(admin.CertificateInfo) bool) admin.CertificateInfo {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last admin.CertificateInfo
	for time.Now().Before(deadline) {
		_, body := get(t, g.Addr("admin"), "/api/v1/certificates")
		var list struct{ Certificates []admin.CertificateInfo }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Certificates {
			if c.Name == name && c.Source == "acme" {
				if last = c; want(c) {
					return c
				}
			}
		}
		<-tick.C
	}
	t.Fatalf("certificate of %s: %+v", name, last)
	return last
}

func in(state string) func(admin.CertificateInfo) bool {
	return func(c admin.CertificateInfo) bool { return c.State == state }
}

// secureDial connects to the HTTPS listener, verifies for name (nothing when pool is nil) and returns the certificate.
func secureDial(t *testing.T, g *gateway.Gateway, name string, pool *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: pool, InsecureSkipVerify: pool == nil}} //nolint:gosec // what the caller wants to see
	conn, err := dialer.DialContext(t.Context(), "tcp", g.Addr("https").String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// TestACMEChallenges gets a certificate with each client and each challenge, through the gateway's own sniffing ports.
func TestACMEChallenges(t *testing.T) {
	t.Parallel()
	for _, client := range []configs.ACMEClient{configs.ACMECertmagic, configs.ACMEAutocert} {
		for _, challenge := range []configs.Challenge{configs.HTTP01, configs.TLSALPN01} {
			t.Run(string(client)+"/"+string(challenge), func(t *testing.T) {
				t.Parallel()
				ca := pebble.New(t, pebble.Config{})
				cfg := acmeConfig(t, ca)
				cfg.TLS.ACME.Client = client
				cfg.TLS.ACME.Challenges = []configs.Challenge{challenge}
				g := startACME(t, cfg, ca)
				c := certificate(t, g, liveName, in("valid"))
				if c.Issuer == "" || *c.DaysLeft < 88 || c.NextTry == nil || c.LastError != "" || c.Names[0] != liveName {
					t.Errorf("status %+v", c)
				}
				if _, err := secureDial(t, g, liveName, ca.Pool()); err != nil {
					t.Errorf("%s: %v", liveName, err)
				}
				// Clients without a server name get the same certificate.
				if cert, err := secureDial(t, g, "", nil); err != nil || cert.VerifyHostname(liveName) != nil {
					t.Errorf("no server name: %v %v", cert, err)
				}
				_, metrics := get(t, g.Addr("admin"), "/metrics")
				for _, line := range []string{
					`culvert_acme_orders_total{result="succeeded"} 1`,
					`culvert_tls_certificate_state{name="` + liveName + `",source="acme",state="valid"} 1`,
					`culvert_tls_certificate_expiry_timestamp_seconds{name="` + liveName + `",source="acme"} `,
				} {
					if !strings.Contains(metrics, line) {
						t.Errorf("metrics lack %s", line)
					}
				}
			})
		}
	}
}

var _ = []any{bytes.NewReader, io.EOF, sync.Mutex{}}
