package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// File names in the storage directory.
const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca.key"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	backdate = time.Hour // for clients whose clock is behind
)

// authority signs the internal certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// openAuthority reads the authority from dir, or makes it there. Several processes may do so at the same moment: the first key wins, and ca.pem always
// belongs to ca.key. A crash between the two files heals, because the certificate is made again from the key. Without dir it is made in memory.
func openAuthority(dir string, now time.Time) (a *authority, made bool, err error) {
	if dir == "" {
		key, err := newKey()
		if err != nil {
			return nil, false, err
		}
		a, err := newAuthority(key, now)
		return a, true, err
	}
	if err := makeStorage(dir); err != nil {
		return nil, false, err
	}
	keyPath, certPath := filepath.Join(dir, caKeyFile), filepath.Join(dir, caCertFile)
	key, err := readCAKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(certPath); statErr == nil {
			key, err = readCAKey(keyPath) // again: another process may have made both in between
		} else {
			key, err = createCAKey(keyPath)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("%s is there but its key %s is missing: put it back, or delete %[1]s to make a new authority, "+
			"which clients have to trust again", certPath, keyPath)
	}
	if err != nil {
		return nil, false, err
	}
	a, err = readAuthority(certPath, key, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, false, err
	}
	if a, err = newAuthority(key, now); err != nil {
		return nil, false, err
	}
	switch err := create(certPath, a.pem, 0o644); {
	case errors.Is(err, fs.ErrExist):
		a, err = readAuthority(certPath, key, now)
		return a, false, err
	case err != nil:
		return nil, false, writeError(certPath, err)
	}
	return a, true, nil
}

func writeError(path string, err error) error {
	return fmt.Errorf("write %s: %w: name a directory that can be written (tls.storage)", path, err)
}

// createCAKey makes the key of the authority, or takes the one that another process has just made.
func createCAKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	err = create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return readCAKey(path)
	}
	if err != nil {
		return nil, writeError(path, err)
	}
	return key, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

const remake = "delete ca.key and ca.pem to make a new authority, which clients have to trust again"

func readCAKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block: restore it, or %s", path, remake)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key (%w): restore it, or %s", path, err, remake)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, not an ECDSA key: restore it, or %s", path, key, remake)
	}
	return ec, nil
}

// readAuthority reads the certificate that belongs to key. Its error is fs.ErrNotExist when there is no such file.
func readAuthority(path string, key *ecdsa.PrivateKey, now time.Time) (*authority, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate: restore it, or delete it to make it again from ca.key", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate (%w): restore it, or delete it to make it again from ca.key", path, err)
	}
	switch {
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("%s does not belong to ca.key beside it: restore both from the same copy, or %s", path, remake)
	case !cert.IsCA:
		return nil, fmt.Errorf("%s is no certificate authority: restore it, or delete it to make it again from ca.key", path)
	case !now.Before(cert.NotAfter):
		return nil, fmt.Errorf("%s expired on %s: %s", path, cert.NotAfter.Format(time.DateOnly), remake)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(block)}, nil
}

// newAuthority signs a root certificate with its own key.
func newAuthority(key *ecdsa.PrivateKey, now time.Time) (*authority, error) {
	name := "culvert internal CA"
	if host, err := os.Hostname(); err == nil && host != "" && len(name)+3+len(host) <= 64 { // X.520: a common name has up to 64 characters
		name += " (" + host + ")"
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: text.Bytes()}, nil
}

// issue signs a server certificate with a new key for names and addresses. It never outlives the authority.
func (a *authority) issue(names []string, addrs []net.IP, now time.Time) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	notAfter := now.Add(leafLife)
	if a.cert.NotAfter.Before(notAfter) {
		notAfter = a.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "culvert"},
		DNSNames:              names,
		IPAddresses:           addrs,
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
