package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Mode is where certificates come from.
type Mode string

// The sources of certificates.
const (
	Internal Mode = "internal" // a certificate authority of the gateway's own
	Files    Mode = "files"    // PEM files
	ACMEMode Mode = "acme"     // a public authority that speaks ACME (RFC 8555)
)

// alpnACME is the protocol of the TLS-ALPN-01 challenge (RFC 8737 §6.2).
const alpnACME = "acme-tls/1"

// Config says where certificates come from and how they are served.
type Config struct {
	Mode Mode // empty means Internal

	CertFile string // Files: PEM, the server's certificate first, then its intermediates
	KeyFile  string // Files: PEM, the private key of the server's certificate

	// Names are DNS names (also *.example.com) and IP addresses. Internal: what the certificate stands for beside localhost, the host name and the
	// addresses of this machine's interfaces at the time of New. ACMEMode: one certificate is ordered for each name that a public authority can
	// vouch for; the others are added to the internal certificate.
	Names []string
	// Hosts are names whose certificates come from elsewhere than Mode says.
	Hosts []Host
	// Storage is the directory of the internal authority (ca.pem, ca.key) and of what ACME obtains (acme), made with mode 0700 when it is missing;
	// [DefaultStorage] proposes one. Empty keeps everything in memory only: after each start clients have to trust a new authority.
	Storage string
	// ACME is used with ACMEMode.
	ACME ACME

	// MinVersion is the oldest protocol version that is accepted, as crypto/tls numbers them; 0 means TLS 1.2. Below that the cipher suites of the
	// time are accepted too, RSA key exchange included.
	MinVersion uint16
	// HTTP2 prefers h2 over http/1.1 for clients that offer both.
	HTTP2 bool

	Log zerolog.Logger
}

// Host gives names a source of their own.
type Host struct {
	Names             []string
	Mode              Mode // Internal or Files
	CertFile, KeyFile string
}

// Listeners are the open ports that authorities reach for their challenges, through whatever maps 80 and 443 to them. A nil one is not open.
type Listeners struct{ HTTP, HTTPS net.Addr }

// provider is one place certificates come from. Its methods may run concurrently, run only once.
type provider interface {
	// certificate returns the certificate for a ClientHello. It never returns nil without an error.
	certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// status describes the certificates of the provider.
	status() []Status
	// run keeps them fresh until ctx ends.
	run(ctx context.Context) error
}

// Source serves certificates. Its methods may run concurrently, Run only once.
type Source struct {
	// set at construction
	provider   provider            // for every name without a route
	routes     map[string]provider // exact names, and wildcards as *.example.com
	all        []provider
	ca         *internal // nil: no certificate is signed here
	acme       *managed  // nil: no ACME
	minVersion uint16
	http2      bool
	warnings   []string
}

// New prepares a source: it reads the files, reads or makes the internal authority, reads what ACME obtained before. Errors name the file and what to
// do about it. What does not stop the gateway from serving, but will stop clients (an expired certificate, an incomplete chain), is logged and returned
// by [Source.Warnings]. Nothing is ordered before [Source.Run].
func New(cfg Config) (*Source, error) {
	s := &Source{minVersion: cfg.MinVersion, http2: cfg.HTTP2, routes: make(map[string]provider)}
	if s.minVersion == 0 {
		s.minVersion = tls.VersionTLS12
	}
	var err error
	switch cfg.Mode {
	case Internal, "":
		err = s.useInternal(cfg)
	case Files:
		err = s.useFiles(cfg)
	case ACMEMode:
		err = s.useACME(cfg)
	default:
		err = fmt.Errorf("unknown mode %q: use %s, %s or %s", cfg.Mode, Internal, Files, ACMEMode)
	}
	if err == nil {
		err = s.addHosts(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	for _, w := range s.warnings {
		cfg.Log.Warn().Str("problem", w).Msg("tls certificate will trouble clients")
	}
	return s, nil
}

func (s *Source) useInternal(cfg Config) error {
	for _, h := range cfg.Hosts {
		if h.Mode == Internal {
			cfg.Names = append(slices.Clone(cfg.Names), h.Names...)
		}
	}
	p, warnings, err := newInternal(cfg)
	if err != nil {
		return err
	}
	s.warnings = append(s.warnings, warnings...)
	s.ca, s.provider = p, p
	s.all = append(s.all, p)
	return nil
}

func (s *Source) useFiles(cfg Config) error {
	p, warnings, err := newFiles(cfg)
	if err != nil {
		return err
	}
	s.warnings = append(s.warnings, warnings...)
	s.provider = p
	s.all = append(s.all, p)
	return nil
}

// useACME orders for public names and signs for the rest; the internal certificate also stands in while there is none.
func (s *Source) useACME(cfg Config) error {
	public, private := splitNames(cfg.Names)
	internalCfg := cfg
	internalCfg.Names = append(slices.Clone(private), public...)
	if err := s.useInternal(internalCfg); err != nil {
		// A storage that cannot be written must not stop the gateway: what clients get meanwhile is trusted by nobody anyway.
		cfg.Log.Error().Err(err).Msg("the internal authority cannot be stored, it is kept in memory until the next start")
		internalCfg.Storage = ""
		if err := s.useInternal(internalCfg); err != nil {
			return err
		}
	}
	m, err := newManaged(cfg, public, s.ca)
	if err != nil {
		return err
	}
	for _, n := range private {
		s.routes[canonicalName(n)] = s.ca
	}
	s.provider, s.acme = m, m
	s.all = append(s.all, m)
	return nil
}

// addHosts gives names their own sources.
func (s *Source) addHosts(cfg Config) error {
	for _, h := range cfg.Hosts {
		var p provider
		switch h.Mode {
		case Internal:
			if s.ca == nil {
				all := cfg
				for _, other := range cfg.Hosts {
					if other.Mode == Internal {
						all.Names = append(slices.Clone(all.Names), other.Names...)
					}
				}
				ca, warnings, err := newInternal(all)
				if err != nil {
					return err
				}
				s.ca, s.warnings = ca, append(s.warnings, warnings...)
				s.all = append(s.all, ca)
			}
			p = s.ca
		case Files:
			f, warnings, err := newFiles(Config{CertFile: h.CertFile, KeyFile: h.KeyFile, Log: cfg.Log})
			if err != nil {
				return err
			}
			p, s.warnings = f, append(s.warnings, warnings...)
			s.all = append(s.all, f)
		default:
			return fmt.Errorf("unknown mode %q of %s: use %s or %s", h.Mode, strings.Join(h.Names, ", "), Internal, Files)
		}
		for _, n := range h.Names {
			s.routes[canonicalName(n)] = p
		}
	}
	return nil
}

// Run keeps the certificates fresh until ctx ends: it watches files, and orders and renews with ACME. The ports of at must be served before. It
// returns when all it started has ended, and never because a certificate could not be had.
func (s *Source) Run(ctx context.Context, at Listeners) error {
	if s.acme != nil {
		s.acme.engine.listen(at)
	}
	work, ctx := errgroup.WithContext(ctx)
	for _, p := range s.all {
		work.Go(func() error { return p.run(ctx) }) // stopped by ctx; waited below
	}
	return work.Wait()
}

// Close ends what New began, for a source that is not run.
func (s *Source) Close() {
	if s.acme != nil {
		s.acme.engine.close()
	}
}

// Warnings returns what New found that will stop clients, one sentence each.
func (s *Source) Warnings() []string { return slices.Clone(s.warnings) }

// CAPEM returns the certificate of the internal authority in PEM form, for clients to trust; nil without one. The caller owns the slice.
func (s *Source) CAPEM() []byte {
	if s.ca == nil {
		return nil
	}
	return slices.Clone(s.ca.ca.pem)
}

// Certificates describes all certificates, sorted by name.
func (s *Source) Certificates() []Status {
	var out []Status
	for _, p := range s.all {
		out = append(out, p.status()...)
	}
	slices.SortStableFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Orders counts orders with ACME.
func (s *Source) Orders() Orders {
	if s.acme == nil {
		return Orders{}
	}
	return s.acme.orders()
}

// ChallengeHandler answers the HTTP-01 challenge of ACME (RFC 8555 §8.3) and gives everything else to next. It belongs before anything that redirects.
func (s *Source) ChallengeHandler(next http.Handler) http.Handler {
	if s.acme == nil {
		return next
	}
	return s.acme.challengeHandler(next)
}

// Vouches reports whether browsers get a certificate for host from here that stands for it, is valid at this time and comes from an authority they
// may trust: from ACME or files.
func (s *Source) Vouches(host string) bool {
	host = canonicalName(host)
	switch p := s.route(host).(type) {
	case *files:
		return usable(p.current.Load().cert, host)
	case *managed:
		if k := p.find(host); k != nil {
			cert := k.current.Load()
			return cert != nil && usable(cert, host)
		}
	}
	return false
}

// route returns the provider for a canonical name.
func (s *Source) route(name string) provider {
	if len(s.routes) == 0 || name == "" {
		return s.provider
	}
	if p := s.routes[name]; p != nil {
		return p
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if p := s.routes["*."+parent]; p != nil {
			return p
		}
	}
	return s.provider
}

func (s *Source) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(s.routes) == 0 {
		return s.provider.certificate(hello)
	}
	return s.route(canonicalName(hello.ServerName)).certificate(hello)
}

// ServerConfig returns a configuration for a server that speaks nextProtos (ALPN), the most preferred first. Without nextProtos it is http/1.1 and
// h2, in the order that [Config.HTTP2] asks for. The TLS-ALPN-01 challenge of ACME is answered beside them.
//
// The session ticket keys belong to the returned configuration: share it among listeners, so that a session begun on one resumes on all. Give it to
// tls.Server or tls.NewListener as it is; a Clone has keys of its own.
func (s *Source) ServerConfig(nextProtos ...string) *tls.Config {
	return s.serverConfig(nil, nextProtos)
}

// ServerConfigFor is ServerConfig for a listener that serves only clients with a certificate that one of the authorities signed. The challenges of ACME
// need none.
func (s *Source) ServerConfigFor(clientCAs *x509.CertPool, nextProtos ...string) *tls.Config {
	return s.serverConfig(clientCAs, nextProtos)
}

func (s *Source) serverConfig(clientCAs *x509.CertPool, nextProtos []string) *tls.Config {
	if len(nextProtos) == 0 {
		nextProtos = []string{"http/1.1", "h2"}
		if s.http2 {
			slices.Reverse(nextProtos)
		}
	}
	cfg := &tls.Config{
		GetCertificate: s.certificate,
		NextProtos:     slices.Clone(nextProtos),
		MinVersion:     s.minVersion,
		// Full records from the start: a stream is bulk data, and small first records only help web pages.
		DynamicRecordSizingDisabled: true,
	}
	if s.minVersion < tls.VersionTLS12 {
		cfg.CipherSuites = oldSuites()
	}
	if clientCAs != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, clientCAs
	}
	silent := cfg.Clone()
	silent.SessionTicketsDisabled = true
	challenge := s.challengeConfig()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case hello.ServerName == "" && len(hello.SupportedProtos) == 0:
			return silent, nil
		case challenge != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == alpnACME:
			return challenge, nil
		}
		if challenge != nil {
			return probeConfig(hello, s.ca.certificate), nil
		}
		return nil, nil // nil: the configuration itself
	}
	return cfg
}

// challengeConfig answers TLS-ALPN-01, nil without ACME.
func (s *Source) challengeConfig() *tls.Config {
	if s.acme == nil {
		return nil
	}
	return &tls.Config{
		GetCertificate:         s.acme.engine.challengeCertificate,
		NextProtos:             []string{alpnACME},
		MinVersion:             tls.VersionTLS12, // RFC 8737 §4
		SessionTicketsDisabled: true,
	}
}

// oldSuites are the cipher suites for devices from before TLS 1.2: what crypto/tls has, RSA key exchange, CBC and 3DES included.
func oldSuites() []uint16 {
	var ids []uint16
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if !strings.Contains(suite.Name, "RC4") {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}
