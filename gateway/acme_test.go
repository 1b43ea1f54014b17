package gateway_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"strings"
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
func acmeConfig(tb testing.TB, ca *pebble.CA) configs.Config {
	tb.Helper()
	cfg := config(tb)
	cfg.TLS.Mode = configs.TLSACME
	cfg.TLS.Domains = []string{liveName}
	cfg.TLS.ACME.Directory = ca.Directory
	cfg.TLS.ACME.Roots = ca.ServerRootsFile(tb)
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
	run(t, g)
	return g
}

func port(tb testing.TB, addr net.Addr) int {
	tb.Helper()
	if addr == nil {
		return 1 // a port nobody listens on
	}
	return addr.(*net.TCPAddr).Port
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
		_, body := get(tb, g.Addr("admin"), "/api/v1/certificates")
		var list struct{ Certificates []admin.CertificateInfo }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			tb.Fatal(err)
		}
		for _, c := range list.Certificates {
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

// statusText is what `culvert status` prints; its exit code is that of err.
func statusText(t *testing.T, g *gateway.Gateway) (text string, err error) {
	t.Helper()
	_, body := get(t, g.Addr("admin"), "/api/v1/certificates")
	var out bytes.Buffer
	err = gateway.WriteStatus(&out, []byte(body), time.Now())
	return out.String(), err
}

// requireStatus checks that `culvert status` prints all of it, and whether it asks for somebody.
func requireStatus(t *testing.T, g *gateway.Gateway, alarm bool, want ...string) {
	t.Helper()
	text, err := statusText(t, g)
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("culvert status lacks %q:\n%s", w, text)
		}
	}
	if (err != nil) != alarm {
		t.Errorf("culvert status ends with %v:\n%s", err, text)
	}
	t.Logf("culvert status:\n%s%v", text, err)
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
	for _, client := range acmeClients {
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

// TestACMEOnDemand gets certificates for names that only a client's handshake brings up.
func TestACMEOnDemand(t *testing.T) {
	withEachClient(t, pebble.Config{}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("domain") != "asked.example.org" {
				http.Error(w, "unknown", http.StatusNotFound)
			}
		}))
		defer asked.Close()
		cfg.TLS.ACME.OnDemand = configs.OnDemand{Allow: []string{"*.customers.example.net", "one.example.net"}, Ask: asked.URL, Limit: 3}
		g := startACME(t, cfg, ca)
		certificate(t, g, liveName, in("valid"))
		refused := func(names ...string) { // they get the certificate of the first domain
			t.Helper()
			for _, name := range names {
				if cert, err := secureDial(t, g, name, nil); err != nil || cert.VerifyHostname(liveName) != nil {
					t.Errorf("%s is refused: %v", name, err)
				}
			}
		}
		refused("refused.example.org", "deep.a.customers.example.net", "host.local")
		for _, name := range []string{"one.example.net", "A.customers.example.net", "asked.example.org"} {
			if _, err := secureDial(t, g, name, ca.Pool()); err != nil {
				t.Errorf("%s is allowed: %v", name, err)
			}
		}
		certificate(t, g, "a.customers.example.net", in("valid"))
		refused("b.customers.example.net") // allowed, and one too many
		if _, metrics := get(t, g.Addr("admin"), "/metrics"); !strings.Contains(metrics, `culvert_acme_orders_total{result="refused"} 4`) ||
			!strings.Contains(metrics, `culvert_acme_orders_total{result="succeeded"} 4`) {
			t.Error("orders are not counted")
		}
	})
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
			cfg.TLS.ACME.DNS.Provider = provider
			cfg.TLS.ACME.DNS.Resolvers = []string{zone.Addr}
			cfg.TLS.ACME.DNS.Propagation = 0
			if provider == configs.DNSRFC2136 {
				cfg.TLS.ACME.DNS.Propagation = configs.Duration(time.Minute)
			}
			cfg.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Algorithm: "hmac-sha256", Secret: configs.NewSecret(zone.Secret)}
			cfg.TLS.ACME.DNS.Webhook = configs.Webhook{URL: hook.URL, Token: configs.NewSecret("t0ken")}
			cfg.TLS.ACME.DNS.Exec = []string{os.Args[0], "-test.run=^TestDNSProgram$", program.URL}
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			g := startACME(t, cfg, ca)
			certificate(t, g, "*.example.com", in("valid"))
			certificate(t, g, "example.com", in("valid"))
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

// TestACMEOnDemandByDNS gets certificates for names that only a handshake brings up, proved by dns-01: the authority connects to nobody.
func TestACMEOnDemandByDNS(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	zone := ca.Zone(t, "example.com")
	cfg := acmeConfig(t, ca)
	cfg.Listen.HTTP = ""
	cfg.TLS.ACME.Challenges = []configs.Challenge{configs.DNS01}
	cfg.TLS.ACME.DNS.Provider = configs.DNSRFC2136
	cfg.TLS.ACME.DNS.Resolvers = []string{zone.Addr}
	cfg.TLS.ACME.DNS.RFC2136 = configs.RFC2136{Server: zone.Addr, Key: zone.Key, Algorithm: "hmac-sha256", Secret: configs.NewSecret(zone.Secret)}
	cfg.TLS.ACME.OnDemand = configs.OnDemand{Allow: []string{"*.customers.example.com"}, Limit: 1}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	g := startACME(t, cfg, ca)
	certificate(t, g, liveName, in("valid"))
	if cert, err := secureDial(t, g, "other.example.com", nil); err != nil || cert.VerifyHostname(liveName) != nil {
		t.Errorf("other.example.com is refused: %v", err)
	}
	if n := zone.Updates.Load(); n != 2 { // liveName's record, set and removed
		t.Errorf("%d changes of records before a name was allowed", n)
	}
	if _, err := secureDial(t, g, "a.customers.example.com", ca.Pool()); err != nil {
		t.Errorf("a.customers.example.com is allowed: %v", err)
	}
	certificate(t, g, "a.customers.example.com", in("valid"))
	if n := zone.Updates.Load(); n != 4 {
		t.Errorf("%d changes of records", n)
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

// TestACMEKeyTypes asks for each kind of key.
func TestACMEKeyTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  configs.KeyType
		bits int
	}{{configs.KeyP256, 256}, {configs.KeyP384, 384}, {configs.KeyRSA2048, 2048}} {
		t.Run(string(tt.key), func(t *testing.T) {
			t.Parallel()
			ca := pebble.New(t, pebble.Config{})
			cfg := acmeConfig(t, ca)
			cfg.TLS.ACME.KeyType = tt.key
			g := startACME(t, cfg, ca)
			certificate(t, g, liveName, in("valid"))
			cert, err := secureDial(t, g, liveName, ca.Pool())
			if err != nil {
				t.Fatal(err)
			}
			bits := 0
			switch key := cert.PublicKey.(type) {
			case *ecdsa.PublicKey:
				bits = key.Curve.Params().BitSize
			case *rsa.PublicKey:
				bits = key.N.BitLen()
			}
			if bits != tt.bits {
				t.Errorf("a %T of %d bits", cert.PublicKey, bits)
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
			certificate(t, startACME(t, cfg, ca), liveName, in("valid"))
		})
	})
	t.Run("without", func(t *testing.T) {
		withEachClient(t, known, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
			g := startACME(t, cfg, ca)
			certificate(t, g, liveName, in("fallback"))
			requireStatus(t, g, true, "NOT OBTAINED", "external account binding", "tls.acme.eab")
		})
	})
}

// TestACMESecondAuthority issues from the second when the first does not.
func TestACMESecondAuthority(t *testing.T) {
	t.Parallel()
	first, second := pebble.New(t, pebble.Config{}), pebble.New(t, pebble.Config{})
	first.RateLimit()
	cfg := acmeConfig(t, first)
	cfg.TLS.ACME.Fallback = configs.Authority{Directory: second.Directory, Roots: second.ServerRootsFile(t)}
	g, err := gateway.New(cfg, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	second.Serve(port(t, g.Addr("http")), port(t, g.Addr("https")))
	first.Serve(port(t, g.Addr("http")), port(t, g.Addr("https")))
	run(t, g)
	certificate(t, g, liveName, in("valid"))
	if _, err := secureDial(t, g, liveName, second.Pool()); err != nil {
		t.Error(err)
	}
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

// clientTLS trusts the authority and verifies for liveName, whatever address is dialled.
func clientTLS(ca *pebble.CA) *tls.Config {
	return &tls.Config{ServerName: liveName, RootCAs: ca.Pool()}
}

// TestACMEBesideClientCertificates proves a name by tls-alpn-01 on a listener that serves only clients with a certificate: authorities have none.
func TestACMEBesideClientCertificates(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Config{})
	cfg := acmeConfig(t, ca)
	cfg.TLS.ACME.Challenges = []configs.Challenge{configs.TLSALPN01}
	cfg.TLS.ClientCA.HTTPS = cfg.TLS.ACME.Roots // some authority
	g := startACME(t, cfg, ca)
	certificate(t, g, liveName, in("valid"))
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
		config := &tls.Config{ServerName: liveName, NextProtos: []string{proto}, InsecureSkipVerify: true} //nolint:gosec // who answers does not matter
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
