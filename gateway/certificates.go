package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway/admin"
	tlsconf "culvert/tls"
)

// tlsSource returns the source of certificates, or nil when TLS is off.
func tlsSource(cfg configs.TLS, log zerolog.Logger) (*tlsconf.Source, error) {
	if cfg.Mode == configs.TLSOff {
		return nil, nil
	}
	out := tlsconf.Config{
		Mode:       tlsconf.Mode(cfg.Mode),
		CertFile:   cfg.Cert,
		KeyFile:    cfg.Key,
		Names:      cfg.Domains,
		Storage:    Storage(cfg),
		MinVersion: tlsVersions[cfg.MinVersion],
		HTTP2:      cfg.HTTP2,
		Log:        log,
	}
	for _, h := range cfg.Hosts {
		out.Hosts = append(out.Hosts, tlsconf.Host{Names: h.Names, Mode: tlsconf.Mode(h.Mode), CertFile: h.Cert, KeyFile: h.Key})
	}
	if cfg.Mode == configs.TLSACME {
		var err error
		if out.ACME, err = ACMEConfig(cfg.ACME); err != nil {
			return nil, err
		}
	}
	return tlsconf.New(out)
}

// Storage returns the directory of certificates and authorities.
func Storage(cfg configs.TLS) string {
	if cfg.Storage != "" {
		return cfg.Storage
	}
	return tlsconf.DefaultStorage()
}

var tlsVersions = map[configs.TLSVersion]uint16{
	configs.TLS10: tls.VersionTLS10,
	configs.TLS12: tls.VersionTLS12,
	configs.TLS13: tls.VersionTLS13,
}

// ACMEConfig translates the settings of ACME. An error names a file that cannot be read.
func ACMEConfig(cfg configs.ACME) (tlsconf.ACME, error) {
	out := tlsconf.ACME{
		Client:    tlsconf.ACMEClient(cfg.Client),
		Email:     cfg.Email,
		HTTP01:    slices.Contains(cfg.Challenges, configs.HTTP01),
		TLSALPN01: slices.Contains(cfg.Challenges, configs.TLSALPN01),
		DNS:       dnsConfig(cfg.DNS),
		KeyType:   tlsconf.KeyType(cfg.KeyType),
		Retry:     time.Duration(cfg.Retry),
	}
	if o := cfg.OnDemand; o.Enabled() {
		out.OnDemand = &tlsconf.OnDemand{Allow: o.Allow, Ask: o.Ask, Limit: o.Limit}
	}
	first := configs.Authority{Directory: cfg.Directory, Roots: cfg.Roots, EAB: cfg.EAB}
	if first.Directory == "" {
		first.Directory = tlsconf.LetsEncrypt
	}
	for key, a := range map[string]configs.Authority{"tls.acme": first, "tls.acme.fallback": cfg.Fallback} {
		if a.Directory == "" {
			continue
		}
		roots, err := certPool(key+".roots", a.Roots)
		if err != nil {
			return tlsconf.ACME{}, err
		}
		authority := tlsconf.Authority{Directory: a.Directory, Roots: roots, KeyID: a.EAB.KID, MACKey: a.EAB.HMAC.Reveal()}
		if key == "tls.acme" {
			out.Authorities = append([]tlsconf.Authority{authority}, out.Authorities...)
		} else {
			out.Authorities = append(out.Authorities, authority)
		}
	}
	return out, nil
}

func dnsConfig(cfg configs.DNS) *tlsconf.DNS {
	out := &tlsconf.DNS{Resolvers: cfg.Resolvers, Propagation: time.Duration(cfg.Propagation), Delegate: cfg.Delegate}
	if cfg.Propagation == 0 {
		out.Propagation = -1
	}
	switch cfg.Provider {
	case configs.DNSRFC2136:
		r := cfg.RFC2136
		out.Provider = &tlsconf.RFC2136{Server: r.Server, KeyName: r.Key, Algorithm: r.Algorithm, Secret: r.Secret.Reveal()}
	case configs.DNSWebhook:
		out.Provider = &tlsconf.Webhook{URL: cfg.Webhook.URL, Token: cfg.Webhook.Token.Reveal()}
	case configs.DNSExec:
		out.Provider = &tlsconf.Exec{Command: cfg.Exec}
	case configs.DNSOff:
		return nil
	}
	return out
}

// certPool reads certificate authorities; nil without a path.
func certPool(key, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", key, path)
	}
	return pool, nil
}

// useTLS makes the configurations of the listeners: one for all, so that a session begun on one resumes on the others, and one for each that wants
// client certificates.
func (g *Gateway) useTLS(source *tlsconf.Source) error {
	if source == nil {
		return nil
	}
	shared := source.ServerConfig()
	g.tls = make(map[string]*tls.Config)
	ca := g.cfg.TLS.ClientCA
	for name, path := range map[string]string{rtmpListener: ca.RTMP, httpListener: ca.HTTP, httpsListener: ca.HTTPS} {
		pool, err := certPool("tls.client_ca."+name, path)
		switch {
		case err != nil:
			source.Close()
			return err
		case pool != nil:
			g.tls[name] = source.ServerConfigFor(pool)
		default:
			g.tls[name] = shared
		}
	}
	g.source = source
	return nil
}

// closeSource ends a source that will not be run.
func (g *Gateway) closeSource() {
	if g.source != nil {
		g.source.Close()
	}
}

// Certificates implements [admin.Certificates].
func (g *Gateway) Certificates() []admin.CertificateInfo {
	if g.source == nil {
		return nil
	}
	var out []admin.CertificateInfo
	for _, s := range g.source.Certificates() {
		info := admin.CertificateInfo{
			Name: s.Name, Source: string(s.Source), State: string(s.State), Issuer: s.Issuer, Names: s.Names,
			LastError: s.LastError, Failures: s.Failures,
			NotBefore: timeOrNil(s.NotBefore), NotAfter: timeOrNil(s.NotAfter), LastErrorAt: timeOrNil(s.LastErrorAt), NextTry: timeOrNil(s.NextTry),
		}
		if !s.NotAfter.IsZero() {
			days := int(time.Until(s.NotAfter).Hours() / 24)
			info.DaysLeft = &days
		}
		out = append(out, info)
	}
	return out
}

// Authority implements [admin.Certificates].
func (g *Gateway) Authority() []byte {
	if g.source == nil {
		return nil
	}
	return g.source.CAPEM()
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (g *Gateway) countCertificates(out *admin.Snapshot) {
	if g.source == nil {
		return
	}
	o := g.source.Orders()
	out.Certificates = g.Certificates()
	out.Orders = map[string]uint64{"succeeded": o.Succeeded, "failed": o.Failed, "refused": o.Refused}
}

// Preflight returns the checks of what ACME needs, for a configuration in mode acme.
func Preflight(cfg configs.Config) (tlsconf.Preflight, error) {
	acme, err := ACMEConfig(cfg.TLS.ACME)
	if err != nil {
		return tlsconf.Preflight{}, err
	}
	return tlsconf.Preflight{
		Names:     cfg.TLS.Domains,
		ACME:      acme,
		Storage:   Storage(cfg.TLS),
		HTTPAddr:  cfg.Listen.HTTP,
		HTTPSAddr: cfg.Listen.HTTPS,
	}, nil
}

// WritePreflight writes findings for people. The error says how many are problems.
func WritePreflight(w io.Writer, findings []tlsconf.Finding) error {
	bad := 0
	var text bytes.Buffer
	for _, f := range findings {
		sign := "ok      "
		if !f.OK {
			sign = "PROBLEM "
			bad++
		}
		fmt.Fprintf(&text, "%s %s: %s\n", sign, f.What, f.Note)
	}
	if _, err := text.WriteTo(w); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks found a problem", bad, len(findings))
	}
	return nil
}
