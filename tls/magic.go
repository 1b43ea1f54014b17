package tlsconf

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	acmez "github.com/mholt/acmez/v3/acme"
	"github.com/rs/zerolog"
	"go.uber.org/zap"
)

// magic is the engine over certmagic. It uses its orders, challenges, storage layout and locks, not its schedule: when to try again and what to say
// about it is the same for all engines and belongs to [keeper]. Certificates have no OCSP staples: Let's Encrypt has ended OCSP, and no RTMP client asks.
type magic struct {
	// set at construction
	cache *certmagic.Cache // needed by certmagic; holds no certificate
	store certmagic.Storage
	lines []*line
	log   zerolog.Logger

	closing sync.Once
}

// line is one authority.
type line struct {
	label string
	web   *certmagic.Config // HTTP-01 and TLS-ALPN-01; nil when neither is allowed
	dns   *certmagic.Config // DNS-01; nil without a provider

	mu sync.Mutex
	// guarded by mu
	rests map[string]rest // by name: it is not asked again until then
}

// rest is what an authority said that has enough for now.
type rest struct {
	until time.Time
	err   error
}

// resting returns why the authority is not asked for name yet, nil when it may be.
func (l *line) resting(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rests[name]
	if time.Now().Before(r.until) {
		return r.err
	}
	delete(l.rests, name)
	return nil
}

// failed remembers an authority that wants to be left in peace, so that the others can be tried before.
func (l *line) failed(name string, err error) {
	at := notBefore(err)
	if at.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rests[name] = rest{at, err}
}

// config returns what obtains a certificate for name.
func (l *line) config(name string) *certmagic.Config {
	if l.web == nil || l.dns != nil && strings.HasPrefix(name, "*.") {
		return l.dns
	}
	return l.web
}

// issuerOf returns the one issuer of a configuration made here.
func issuerOf(cfg *certmagic.Config) *certmagic.ACMEIssuer {
	return cfg.Issuers[0].(*certmagic.ACMEIssuer)
}

func newMagic(a ACME, store certmagic.Storage, log zerolog.Logger) (*magic, error) {
	keys := map[KeyType]certmagic.KeyType{P256: certmagic.P256, P384: certmagic.P384, RSA2048: certmagic.RSA2048, RSA4096: certmagic.RSA4096}
	key, ok := keys[a.KeyType]
	if !ok {
		return nil, fmt.Errorf("unknown key type %q", a.KeyType)
	}
	if !a.HTTP01 && !a.TLSALPN01 && a.DNS == nil {
		return nil, errors.New("no ACME challenge is allowed: set tls.acme.challenges, or tls.acme.dns")
	}
	logger := zap.New(zapCore{log.With().Str("library", "certmagic").Logger()})
	m := &magic{store: store, log: log}
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return nil, errors.New("the cache is empty") },
		Logger:           logger,
	})
	for _, authority := range a.Authorities {
		l := &line{label: authority.Directory, rests: make(map[string]rest)}
		if u, err := url.Parse(authority.Directory); err == nil {
			l.label = u.Host
		}
		template := certmagic.ACMEIssuer{
			CA:                      authority.Directory,
			TestCA:                  authority.Directory,  // none: an order is what it is
			Email:                   cmp.Or(a.Email, " "), // certmagic asks on standard input for an address that is ""
			Agreed:                  true,
			TrustedRoots:            authority.Roots,
			DisableHTTPChallenge:    !a.HTTP01,
			DisableTLSALPNChallenge: !a.TLSALPN01,
			CertObtainTimeout:       orderTimeout,
			Logger:                  logger,
		}
		if authority.KeyID != "" {
			template.ExternalAccount = &acmez.EAB{KeyID: authority.KeyID, MACKey: authority.MACKey}
		}
		base := certmagic.Config{Storage: store, KeySource: certmagic.StandardKeyGenerator{KeyType: key}, Logger: logger}
		if a.HTTP01 || a.TLSALPN01 {
			l.web = certmagic.New(m.cache, base)
			l.web.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(l.web, template)}
		}
		if a.DNS != nil {
			template.DNS01Solver = a.DNS.solver(logger)
			l.dns = certmagic.New(m.cache, base)
			l.dns.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(l.dns, template)}
		}
		m.lines = append(m.lines, l)
	}
	return m, nil
}

// listen makes certmagic find our listeners on the ports of its challenges: it tries to bind them, fails, dials them, and takes it that whoever answers
// answers for it.
func (m *magic) listen(at Listeners) {
	for _, l := range m.lines {
		if l.web == nil {
			continue
		}
		issuer := issuerOf(l.web)
		httpHost, httpPort := split(at.HTTP)
		httpsHost, httpsPort := split(at.HTTPS)
		issuer.AltHTTPPort, issuer.AltTLSALPNPort = httpPort, httpsPort
		issuer.ListenHost = cmp.Or(httpsHost, httpHost)
		if httpPort == 0 {
			issuer.DisableHTTPChallenge = true
		}
		if httpsPort == 0 {
			issuer.DisableTLSALPNChallenge = true
		}
		if httpPort != 0 && httpsPort != 0 && httpHost != httpsHost {
			issuer.ListenHost = "" // it knows only one: let it find both taken
		}
	}
}

// split returns the host of a listener, empty when it listens everywhere, and its port.
func split(addr net.Addr) (host string, port int) {
	if addr == nil {
		return "", 0
	}
	host, p, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", 0
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	port, _ = strconv.Atoi(p) // an address of the system
	return host, port
}

func (m *magic) load(ctx context.Context, name string) (*tls.Certificate, error) {
	var newest *tls.Certificate
	var damaged error
	for _, l := range m.lines {
		cert, err := m.read(ctx, issuerOf(l.config(name)), name)
		switch {
		case err == nil && (newest == nil || cert.Leaf.NotAfter.After(newest.Leaf.NotAfter)):
			newest = cert
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			damaged = err
		}
	}
	switch {
	case newest != nil:
		return newest, nil
	case damaged != nil:
		return nil, damaged
	}
	return nil, fs.ErrNotExist
}

// read reads what one authority issued.
func (m *magic) read(ctx context.Context, issuer *certmagic.ACMEIssuer, name string) (*tls.Certificate, error) {
	keys := certmagic.StorageKeys
	certPath, keyPath := keys.SiteCert(issuer.IssuerKey(), name), keys.SitePrivateKey(issuer.IssuerKey(), name)
	certPEM, err := m.store.Load(ctx, certPath)
	if err != nil {
		return nil, err
	}
	keyPEM, err := m.store.Load(ctx, keyPath)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	return parsePair(certPEM, keyPEM, name, certPath)
}

// parsePair makes a certificate of what was stored and checks that it is for name.
func parsePair(certPEM, keyPEM []byte, name, where string) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", where, err)
	}
	if !wholePEM(certPEM) || !wholePEM(keyPEM) { // a chain that is cut would be served without its intermediates
		return nil, fmt.Errorf("%s is damaged: it ends in the middle", where)
	}
	if err := cert.Leaf.VerifyHostname(strings.Replace(name, "*", "x", 1)); err != nil {
		return nil, fmt.Errorf("%s is for another name: %w", where, err)
	}
	return &cert, nil
}

// wholePEM tells whether data is nothing but PEM blocks.
func wholePEM(data []byte) bool {
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			return false
		}
		data = rest
	}
	return true
}

func (m *magic) order(ctx context.Context, name string, held *x509.Certificate) (*tls.Certificate, error) {
	var errs []error
	for _, l := range m.lines {
		err := l.resting(name)
		if err == nil {
			var cert *tls.Certificate
			if cert, err = m.orderFrom(ctx, l.config(name), name); err == nil {
				return cert, nil
			}
			l.failed(name, err)
		}
		if len(m.lines) > 1 {
			err = &authorityError{l.label, err}
			m.log.Warn().Str("name", name).Str("reason", explain(err, name)).Msg("authority did not issue, the next one is tried")
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (m *magic) orderFrom(ctx context.Context, cfg *certmagic.Config, name string) (*tls.Certificate, error) {
	issuer := issuerOf(cfg)
	m.repairAccounts(ctx, issuer)
	_, err := m.read(ctx, issuer, name)
	switch {
	case err == nil:
		err = cfg.RenewCertSync(ctx, name, true)
	case errors.Is(err, fs.ErrNotExist):
		err = cfg.ObtainCertSync(ctx, name)
	default: // damaged: certmagic would take its existence for a certificate
		if err := m.discard(ctx, issuer, name); err != nil {
			return nil, err
		}
		err = cfg.ObtainCertSync(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return m.read(ctx, issuer, name)
}

// discard removes a damaged certificate.
func (m *magic) discard(ctx context.Context, issuer *certmagic.ACMEIssuer, name string) error {
	keys, by := certmagic.StorageKeys, issuer.IssuerKey()
	for _, key := range []string{keys.SiteCert(by, name), keys.SitePrivateKey(by, name), keys.SiteMeta(by, name)} {
		if err := m.store.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("damaged certificate: %w", err)
		}
	}
	return nil
}

// repairAccounts removes accounts that cannot be read, so that a new one is made: with them every order would fail for ever.
func (m *magic) repairAccounts(ctx context.Context, issuer *certmagic.ACMEIssuer) {
	files, err := m.store.List(ctx, path.Join("acme", certmagic.StorageKeys.Safe(issuer.IssuerKey()), "users"), true)
	if err != nil {
		return // none yet
	}
	for _, file := range files {
		data, err := m.store.Load(ctx, file)
		if err != nil {
			continue
		}
		whole := true
		switch path.Ext(file) {
		case ".json":
			whole = json.Valid(data)
		case ".key":
			_, err := certmagic.PEMDecodePrivateKey(data)
			block, _ := pem.Decode(data)
			whole = err == nil && block != nil
		}
		if !whole {
			m.log.Warn().Str("file", file).Msg("stored ACME account is damaged, a new one is made")
			_ = m.store.Delete(ctx, file) // the order says what is wrong if this did not work
		}
	}
}

func (m *magic) suggestion(ctx context.Context, cert *tls.Certificate) (time.Time, error) {
	name := ""
	if len(cert.Leaf.DNSNames) > 0 {
		name = cert.Leaf.DNSNames[0]
	}
	for _, l := range m.lines {
		issuer := issuerOf(l.config(name))
		stored, err := m.read(ctx, issuer, name)
		if err != nil || !stored.Leaf.Equal(cert.Leaf) {
			continue
		}
		info, err := issuer.GetRenewalInfo(ctx, certmagic.Certificate{Certificate: *cert})
		if err != nil {
			return time.Time{}, err
		}
		return info.SelectedTime, nil
	}
	return time.Time{}, nil
}

func (m *magic) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	err := errors.New("no such challenge")
	for _, l := range m.lines {
		if l.web == nil {
			continue
		}
		var cert *tls.Certificate
		if cert, err = l.web.GetCertificate(hello); err == nil {
			return cert, nil
		}
	}
	return nil, err
}

func (m *magic) challengeHTTP(w http.ResponseWriter, r *http.Request) bool {
	for _, l := range m.lines {
		if l.web != nil && issuerOf(l.web).HandleHTTPChallenge(w, r) {
			return true
		}
	}
	return false
}

func (m *magic) close() { m.closing.Do(m.cache.Stop) }
