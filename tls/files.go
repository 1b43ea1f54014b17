package tlsconf

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// maxPEM is the largest file that is read, in bytes.
const maxPEM = 1 << 20

// files serves one certificate from PEM files, and takes over what they are replaced with.
type files struct {
	// set at construction
	certFile, keyFile string
	log               zerolog.Logger

	// owned by run, set at construction
	seen []byte // fingerprint of the files when they were read last

	current atomic.Pointer[loaded]

	mu sync.Mutex
	// guarded by mu
	failures    int
	lastError   string
	lastErrorAt time.Time
}

// loaded is what the files held at one moment. Immutable.
type loaded struct {
	cert     *tls.Certificate
	warnings []string
}

func newFiles(cfg Config) (*files, []string, error) {
	p := &files{certFile: cfg.CertFile, keyFile: cfg.KeyFile, log: cfg.Log}
	p.seen = p.fingerprint() // before they are read: what changes meanwhile is read again
	l, err := p.read()
	if err != nil {
		return nil, nil, err
	}
	p.use(l)
	return p, l.warnings, nil
}

// read reads and checks the files. The warnings tell what clients will stumble over.
func (p *files) read() (*loaded, error) {
	certs, err := readCertificates(p.certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := readKey(p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if err := matchKey(certs, key, p.certFile, p.keyFile); err != nil {
		return nil, err
	}
	leaf := certs[0]
	l := &loaded{cert: &tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, c := range certs {
		l.cert.Certificate = append(l.cert.Certificate, c.Raw)
	}
	l.warnings = append(checkDates(p.certFile, certs, time.Now()), checkChain(p.certFile, certs, systemRoots())...)
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		l.warnings = append(l.warnings, p.certFile+": the certificate has no subject alternative names: no client of today accepts it for any name")
	}
	return l, nil
}

// use serves what was read.
func (p *files) use(l *loaded) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current.Store(l)
	p.failures, p.lastError, p.lastErrorAt = 0, "", time.Time{}
	leaf := l.cert.Leaf
	p.log.Info().Strs("names", leaf.DNSNames).Str("issuer", name(leaf.Issuer.CommonName, leaf.Issuer.String())).
		Time("not_after", leaf.NotAfter).Msg("certificate loaded")
}

func (p *files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.current.Load().cert, nil
}

func (p *files) status() []Status {
	l := p.current.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Name: p.certFile, Source: Files, State: stateOf(l.cert, p.failures, time.Now()),
		LastError: p.lastError, LastErrorAt: p.lastErrorAt, Failures: p.failures,
	}
	s.describe(l.cert.Leaf)
	if len(s.Names) > 0 {
		s.Name = s.Names[0]
	}
	if s.LastError == "" && len(l.warnings) > 0 {
		s.LastError = strings.Join(l.warnings, "; ")
	}
	return []Status{s}
}

func readPEM(path, what string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("no file is named: set %s", what)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() || info.Size() > maxPEM {
		return nil, fmt.Errorf("%s is no PEM file", path)
	}
	return os.ReadFile(path)
}

// readCertificates returns the certificates of a PEM file in their order, at least one.
func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readPEM(path, "tls.cert")
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			others = append(others, block.Type)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d cannot be read: %w", path, len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	switch {
	case len(certs) > 0:
		return certs, nil
	case len(others) > 0:
		return nil, fmt.Errorf("%s holds no certificate but %s: are tls.cert and tls.key swapped?", path, strings.Join(others, ", "))
	case len(data) > 0 && data[0] == 0x30: // the first byte of a DER sequence
		return nil, fmt.Errorf("%s is in DER form: convert it with openssl x509 -inform der -in %[1]s", path)
	default:
		return nil, fmt.Errorf("%s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", path)
	}
}

// readKey returns the first private key of a PEM file.
func readKey(path string) (crypto.Signer, error) {
	data, err := readPEM(path, "tls.key")
	if err != nil {
		return nil, err
	}
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
			return nil, fmt.Errorf("%s is encrypted with a pass phrase: remove it with openssl pkey -in %[1]s", path)
		case block.Type == "PRIVATE KEY", strings.HasSuffix(block.Type, " PRIVATE KEY"):
			key, err := parseKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return key, nil
		default:
			others = append(others, block.Type)
		}
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%s holds no private key but %s: are tls.cert and tls.key swapped?", path, strings.Join(others, ", "))
	}
	return nil, fmt.Errorf("%s holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)", path)
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("the private key cannot be read: it is neither PKCS #8 nor SEC 1 nor PKCS #1")
}

// matchKey makes sure that the first certificate belongs to the key, and says where else it is when it does not.
func matchKey(certs []*x509.Certificate, key crypto.Signer, certFile, keyFile string) error {
	for i, c := range certs {
		pub, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !pub.Equal(key.Public()) {
			continue
		}
		if i > 0 {
			return fmt.Errorf("%s is in the wrong order: the certificate of %s is number %d, put it first and its issuer after it", certFile, keyFile, i+1)
		}
		return nil
	}
	return fmt.Errorf("%s does not belong to %s (%s): take both from the same order or renewal", keyFile, certFile, subject(certs[0]))
}

// checkDates names certificates that are not valid at this time.
func checkDates(path string, certs []*x509.Certificate, now time.Time) []string {
	var out []string
	for _, c := range certs {
		switch {
		case now.After(c.NotAfter):
			out = append(out, fmt.Sprintf("%s: %s expired on %s: renew it", path, subject(c), c.NotAfter.Format(time.DateTime)))
		case now.Before(c.NotBefore):
			out = append(out, fmt.Sprintf("%s: %s is not valid before %s: check the clock of this machine (it says %s)",
				path, subject(c), c.NotBefore.Format(time.DateTime), now.UTC().Format(time.DateTime)))
		}
	}
	return out
}

// systemRoots returns the authorities that this machine trusts, nil when it has none, as in an empty container.
func systemRoots() *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil || roots.Equal(x509.NewCertPool()) {
		return nil
	}
	return roots
}

// checkChain follows the issuers from the first certificate through the file, and names the one that is missing. A chain is whole when it ends at a
// self-signed certificate or at one that a root of this machine signed. Without roots to look at, an intermediate as its end is believed.
func checkChain(path string, certs []*x509.Certificate, roots *x509.CertPool) []string {
	top, used := certs[0], map[*x509.Certificate]bool{certs[0]: true}
	for !selfSigned(top) {
		next := signerOf(top, certs, used)
		if next == nil {
			break
		}
		top, used[next] = next, true
	}
	var out []string
	for i, c := range certs {
		if !used[c] {
			out = append(out, fmt.Sprintf("%s: certificate %d (%s) is no issuer of those before it: clients may stumble over it, remove it", path, i+1, subject(c)))
		}
	}
	if selfSigned(top) || roots == nil && top != certs[0] || roots != nil && signedByRoot(top, roots) {
		return out
	}
	return append(out, fmt.Sprintf("%s is incomplete: the certificate of %q, which signed %s, is neither in it nor among the authorities that this machine trusts: "+
		"unless all clients trust that authority themselves, append its certificate (most authorities offer the whole as fullchain.pem)",
		path, name(top.Issuer.CommonName, top.Issuer.String()), subject(top)))
}

func signerOf(c *x509.Certificate, certs []*x509.Certificate, used map[*x509.Certificate]bool) *x509.Certificate {
	for _, candidate := range certs {
		if !used[candidate] && bytes.Equal(candidate.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(candidate) == nil {
			return candidate
		}
	}
	return nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer)
}

// signedByRoot tells whether a root signed c itself. The time is set to one at which c is valid: dates are checked elsewhere, and so is all else that
// a verification may find.
func signedByRoot(c *x509.Certificate, roots *x509.CertPool) bool {
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	return !errors.As(err, &unknown)
}

func subject(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return fmt.Sprintf("%q", c.DNSNames[0])
	}
	return fmt.Sprintf("%q", name(c.Subject.CommonName, c.Subject.String()))
}

// name returns the common name, or the whole name when there is none.
func name(common, whole string) string {
	if common != "" {
		return common
	}
	return whole
}
