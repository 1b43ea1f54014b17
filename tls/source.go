package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/rs/zerolog"
)

// Mode is where certificates come from.
type Mode string

// The sources of certificates.
const (
	Internal Mode = "internal" // a certificate authority of the gateway's own
	Files    Mode = "files"    // PEM files
)

// Config says where certificates come from and how they are served.
type Config struct {
	Mode Mode // empty means Internal

	CertFile string // Files: PEM, the server's certificate first, then its intermediates
	KeyFile  string // Files: PEM, the private key of the server's certificate

	// Names are DNS names (also *.example.com) and IP addresses for the internal certificate, beside localhost, the host name and the addresses of
	// this machine's interfaces at the time of New.
	Names []string
	// Storage is the directory of the internal authority (ca.pem, ca.key), made with mode 0700 when it is missing; [DefaultStorage] proposes one.
	// Empty keeps the authority in memory only: after each start clients have to trust a new one.
	Storage string

	// MinVersion is the oldest protocol version that is accepted, as crypto/tls numbers them; 0 means TLS 1.2.
	MinVersion uint16
	// HTTP2 prefers h2 over http/1.1 for clients that offer both.
	HTTP2 bool

	Log zerolog.Logger
}

// provider is one place certificates come from. Its methods may run concurrently.
type provider interface {
	// certificate returns the certificate for a ClientHello. It never returns nil without an error.
	certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// authority returns the PEM of the authority that clients have to trust, nil when it is not ours to give.
	authority() []byte
}

// Source serves certificates. Its methods may run concurrently.
type Source struct {
	provider   provider
	minVersion uint16
	http2      bool
	warnings   []string
}

// New prepares a source: it reads the files, or reads or makes the internal authority. Errors name the file and what to do about it. What does not
// stop the gateway from serving, but will stop clients (an expired certificate, an incomplete chain), is logged and returned by [Source.Warnings].
func New(cfg Config) (*Source, error) {
	s := &Source{minVersion: cfg.MinVersion, http2: cfg.HTTP2}
	if s.minVersion == 0 {
		s.minVersion = tls.VersionTLS12
	}
	var err error
	switch cfg.Mode {
	case Internal, "":
		s.provider, s.warnings, err = newInternal(cfg)
	case Files:
		s.provider, s.warnings, err = newFiles(cfg)
	default:
		err = fmt.Errorf("unknown mode %q: use %s or %s", cfg.Mode, Internal, Files)
	}
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	for _, w := range s.warnings {
		cfg.Log.Warn().Str("problem", w).Msg("tls certificate will trouble clients")
	}
	return s, nil
}

// Warnings returns what New found that will stop clients, one sentence each.
func (s *Source) Warnings() []string { return slices.Clone(s.warnings) }

// CAPEM returns the certificate of the internal authority in PEM form, for clients to trust; nil with Files. The caller owns the slice.
func (s *Source) CAPEM() []byte { return slices.Clone(s.provider.authority()) }

// ServerConfig returns a configuration for a server that speaks nextProtos (ALPN), the most preferred first. Without nextProtos it is http/1.1 and
// h2, in the order that [Config.HTTP2] asks for.
//
// The session ticket keys belong to the returned configuration: share it among listeners, so that a session begun on one resumes on all. Give it to
// tls.Server or tls.NewListener as it is; a Clone has keys of its own.
func (s *Source) ServerConfig(nextProtos ...string) *tls.Config {
	if len(nextProtos) == 0 {
		nextProtos = []string{"http/1.1", "h2"}
		if s.http2 {
			slices.Reverse(nextProtos)
		}
	}
	cfg := &tls.Config{
		GetCertificate: s.provider.certificate,
		NextProtos:     slices.Clone(nextProtos),
		MinVersion:     s.minVersion,
		// Full records from the start: a stream is bulk data, and small first records only help web pages.
		DynamicRecordSizingDisabled: true,
	}
	silent := cfg.Clone()
	silent.SessionTicketsDisabled = true
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "" && len(hello.SupportedProtos) == 0 {
			return silent, nil
		}
		return nil, nil // nil: the configuration itself
	}
	return cfg
}
