package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/admin"
	"culvert/testdata/pebble"
)

// nobody is a port where nobody listens.
const nobody = 1

// acmeConfig orders a certificate for ca.Host from ca.
func acmeConfig(tb testing.TB, ca *pebble.CA) configs.Config {
	tb.Helper()
	cfg := config(tb)
	cfg.TLS.Mode = configs.TLSACME
	cfg.TLS.Domains = []string{ca.Host}
	cfg.TLS.ACME.Directory = ca.Directory
	cfg.TLS.ACME.Roots = ca.ServerRootsFile(tb)
	cfg.TLS.ACME.Retry = configs.Duration(time.Second)
	return cfg
}

// startACME starts a gateway. The authority reaches it on the ports of the challenges that are configured, and on no other.
func startACME(t *testing.T, cfg configs.Config, authorities ...*pebble.CA) (*gateway.Gateway, *logBuffer) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	g, err := gateway.New(cfg, gateway.Options{Log: zerolog.New(io.MultiWriter(log, zerolog.NewTestWriter(t)))})
	if err != nil {
		t.Fatal(err)
	}
	ports := map[configs.Challenge]int{configs.HTTP01: nobody, configs.TLSALPN01: nobody}
	for challenge, listener := range map[configs.Challenge]string{configs.HTTP01: "http", configs.TLSALPN01: "https"} {
		if slices.Contains(cfg.TLS.ACME.Challenges, challenge) && g.Addr(listener) != nil {
			ports[challenge] = port(t, g.Addr(listener))
		}
	}
	for _, ca := range authorities {
		ca.Serve(ports[configs.HTTP01], ports[configs.TLSALPN01])
	}
	run(t, g)
	return g, log
}

func port(tb testing.TB, addr net.Addr) int {
	tb.Helper()
	return addr.(*net.TCPAddr).Port
}

// proofs are the sources of certificates with each challenge that they know.
var proofs = []struct {
	client    configs.ACMEClient
	challenge configs.Challenge
}{
	{configs.ACMECertmagic, configs.HTTP01},
	{configs.ACMECertmagic, configs.TLSALPN01},
	{configs.ACMECertmagic, configs.DNS01},
	{configs.ACMEAutocert, configs.HTTP01},
	{configs.ACMEAutocert, configs.TLSALPN01},
}

// withEachProof runs a test with each client and each challenge alone. The zone takes the records of dns-01 and nobody else's.
func withEachProof(t *testing.T, test func(t *testing.T, ca *pebble.CA, cfg configs.Config, zone *pebble.Zone)) {
	t.Helper()
	t.Parallel()
	for _, p := range proofs {
		t.Run(string(p.client)+"/"+string(p.challenge), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{})
			zone := ca.Zone(t, "example.com")
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.Client = p.client
			cfg.TLS.ACME.Challenges = []configs.Challenge{p.challenge}
			if p.challenge == configs.DNS01 {
				cfg.TLS.ACME.DNS = dynamicUpdates(cfg, zone)
			}
			test(t, ca, cfg, zone)
		})
	}
}

var acmeClients = []configs.ACMEClient{configs.ACMECertmagic, configs.ACMEAutocert}

// withEachClient runs a test with each ACME client, against an authority of its own.
func withEachClient(t *testing.T, authority pebble.Config, test func(t *testing.T, ca *pebble.CA, cfg configs.Config)) {
	t.Helper()
	t.Parallel()
	for _, client := range acmeClients {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, authority)
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.Client = client
			test(t, ca, cfg)
		})
	}
}

// certificate waits until the state of a certificate is as wanted, and returns it as the admin listener shows it.
func certificate(tb testing.TB, g *gateway.Gateway, name string, want func(admin.CertificateInfo) bool) admin.CertificateInfo {
	tb.Helper()
	var last admin.CertificateInfo
	defer func() {
		if tb.Failed() {
			tb.Logf("it is %+v", last)
		}
	}()
	eventually(tb, "the wanted state of the certificate of "+name, func() bool {
		for _, c := range certificates(tb, g) {
			if c.Name == name && c.Source == "acme" {
				if last = c; want(c) {
					return true
				}
			}
		}
		return false
	})
	return last
}

// certificates returns what the admin listener says of all.
func certificates(tb testing.TB, g *gateway.Gateway) []admin.CertificateInfo {
	tb.Helper()
	_, body := get(tb, g.Addr("admin"), "/api/v1/certificates")
	var list struct{ Certificates []admin.CertificateInfo }
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		tb.Fatal(err)
	}
	return list.Certificates
}

func in(state string) func(admin.CertificateInfo) bool {
	return func(c admin.CertificateInfo) bool { return c.State == state }
}

// requireStatus checks that `culvert status` prints all of it, and whether it asks for somebody.
func requireStatus(t *testing.T, g *gateway.Gateway, alarm bool, want ...string) {
	t.Helper()
	_, body := get(t, g.Addr("admin"), "/api/v1/certificates")
	var text bytes.Buffer
	err := gateway.WriteStatus(&text, []byte(body), time.Now())
	for _, w := range want {
		if !strings.Contains(text.String(), w) {
			t.Errorf("culvert status lacks %q:\n%s", w, &text)
		}
	}
	if (err != nil) != alarm {
		t.Errorf("culvert status ends with %v:\n%s", err, &text)
	}
}

// requireMetrics checks series by their least value; below zero: there must be none.
func requireMetrics(t *testing.T, g *gateway.Gateway, least map[string]float64) {
	t.Helper()
	_, metrics := get(t, g.Addr("admin"), "/metrics")
	for series, want := range least {
		got := -1.0
		for line := range strings.Lines(metrics) {
			if text, ok := strings.CutPrefix(line, series+" "); ok {
				var err error
				if got, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got < want || want < 0 && got >= 0 {
			t.Errorf("metric %s is %v, want %v", series, got, want)
		}
	}
}

// acmeLine is a log line about a certificate.
type acmeLine struct {
	Level, Message, Name, Issuer, Reason, Serving, Error string
	Failures                                             int
	NextTry                                              time.Time `json:"next_try"`
	NotAfter                                             time.Time `json:"not_after"`
}

// acmeLines returns the log lines with a message about a name.
func acmeLines(t *testing.T, log *logBuffer, name, message string) (lines []acmeLine) {
	t.Helper()
	for text := range strings.Lines(log.String()) {
		var line acmeLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %s: %v", text, err)
		}
		if line.Name == name && line.Message == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// requireObtained checks that a certificate from ACME shows wherever an operator looks: in `culvert status`, the log and the metrics.
func requireObtained(t *testing.T, g *gateway.Gateway, log *logBuffer, name string) {
	t.Helper()
	var lines []acmeLine
	eventually(t, "a log line of the order of "+name, func() bool { lines = acmeLines(t, log, name, "certificate obtained"); return len(lines) > 0 })
	requireStatus(t, g, false, name+"  (acme)\n  state      valid\n  issuer     Pebble", "  names      "+name, "renewal    in 5", "in 89 days")
	labels := `{name="` + name + `",source="acme"`
	requireMetrics(t, g, map[string]float64{
		`culvert_acme_orders_total{result="succeeded"}`:                   1,
		"culvert_tls_certificate_state" + labels + `,state="valid"}`:      1,
		"culvert_tls_certificate_expiry_timestamp_seconds" + labels + "}": float64(time.Now().Add(88 * 24 * time.Hour).Unix()),
		"culvert_tls_certificate_failures" + labels + "}":                 0,
	})
	if lines[0].Level != "info" || !strings.HasPrefix(lines[0].Issuer, "Pebble") || lines[0].NotAfter.Before(time.Now()) {
		t.Errorf("log lines of the order: %+v", lines)
	}
}

// failures are how `culvert status` and the log say what is served while orders fail.
var failures = map[string]struct{ words, serving, level string }{
	"fallback": {"NOT OBTAINED; clients get the internal certificate", "the internal certificate", "error"},
	"failing":  {"valid, but its renewal fails", "the old certificate, which is still valid", "warn"},
	"expired":  {"EXPIRED, and still served because nothing replaced it", "the old certificate, which has ended", "error"},
}

// requireFailed checks that a failed order shows with its reason wherever an operator looks: in `culvert status`, the log and the metrics.
func requireFailed(t *testing.T, g *gateway.Gateway, log *logBuffer, name, state string, reason ...string) {
	t.Helper()
	want := failures[state]
	var lines []acmeLine
	eventually(t, fmt.Sprintf("a log line of a failed order of %s with %q, serving %s", name, reason, want.serving), func() bool {
		lines = slices.DeleteFunc(acmeLines(t, log, name, "certificate not obtained"), func(l acmeLine) bool { return l.Serving != want.serving || !containsAll(l.Reason, reason) })
		return len(lines) > 0
	})
	if lines[0].Level != want.level || lines[0].Failures < 1 || lines[0].NextTry.IsZero() {
		t.Errorf("the log says of it: %+v", lines)
	}
	requireStatus(t, g, state != "failing", append([]string{name + "  (acme)\n  state      " + want.words, "problem    ", "next try   "}, reason...)...)
	labels := `{name="` + name + `",source="acme"`
	requireMetrics(t, g, map[string]float64{
		`culvert_acme_orders_total{result="failed"}`:                         1,
		"culvert_tls_certificate_failures" + labels + "}":                    1,
		"culvert_tls_certificate_state" + labels + `,state="` + state + `"}`: 1,
		"culvert_tls_certificate_state" + labels + `,state="valid"}`:         -1,
	})
}

func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
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
	withEachProof(t, func(t *testing.T, ca *pebble.CA, cfg configs.Config, zone *pebble.Zone) {
		g, log := startACME(t, cfg, ca)
		c := certificate(t, g, ca.Host, in("valid"))
		if c.Issuer == "" || *c.DaysLeft < 88 || c.NextTry == nil || c.LastError != "" || c.Names[0] != ca.Host {
			t.Errorf("status %+v", c)
		}
		requireObtained(t, g, log, ca.Host)
		if _, err := secureDial(t, g, ca.Host, ca.Pool()); err != nil {
			t.Errorf("%s: %v", ca.Host, err)
		}
		// Clients without a server name get the same certificate.
		if cert, err := secureDial(t, g, "", nil); err != nil || cert.VerifyHostname(ca.Host) != nil {
			t.Errorf("no server name: %v %v", cert, err)
		}
		if n := ca.Orders.Load(); n != 1 {
			t.Errorf("%d orders: a challenge was tried that is not configured", n)
		}
		if set := zone.Updates.Load() > 0; set != (cfg.TLS.ACME.DNS.Provider != configs.DNSOff) {
			t.Errorf("records were set: %v", set)
		}
	})
}

// page asks for a page over plain HTTP under a name and does not follow redirects.
func page(t *testing.T, g *gateway.Gateway, host, path string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Addr("http").String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b.String()
}

// clientTLS trusts the authority and verifies for ca.Host, whatever address is dialled.
func clientTLS(ca *pebble.CA) *tls.Config {
	return &tls.Config{ServerName: ca.Host, RootCAs: ca.Pool()}
}

// TestACMEBesideClientCertificates proves a name by tls-alpn-01 on a listener that serves only clients with a certificate: authorities have none.
func TestACMEBesideClientCertificates(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.ACME.Challenges = []configs.Challenge{configs.TLSALPN01}
	cfg.TLS.ClientCA.HTTPS = cfg.TLS.ACME.Roots // some authority
	g, _ := startACME(t, cfg, ca)
	certificate(t, g, ca.Host, in("valid"))
	conn, err := (&tls.Dialer{Config: clientTLS(ca)}).DialContext(t.Context(), "tcp", g.Addr("https").String())
	if err == nil { // with TLS 1.3 the refusal comes after the client's side of the handshake
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("a client without a certificate: %v", err)
	}
	// Neither a challenge nor the probe of a pre-flight is a way round that.
	for _, proto := range []string{"acme-tls/1", "culvert-check-0a"} {
		config := &tls.Config{ServerName: ca.Host, NextProtos: []string{proto}, InsecureSkipVerify: true} //nolint:gosec // who answers does not matter
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", g.Addr("https").String())
		if err != nil {
			continue // there is no challenge
		}
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) // it may be closed already
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s is served without a certificate", proto)
		}
		conn.Close()
	}
	// The other listeners ask for none.
	secure, err := (&tls.Dialer{Config: clientTLS(ca)}).DialContext(t.Context(), "tcp", g.Addr("rtmp").String())
	if err != nil {
		t.Fatal(err)
	}
	secure.Close()
}
