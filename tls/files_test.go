package tlsconf_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	tlsconf "culvert/tls"
)

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// sign makes a certificate; with the zero issuer it signs itself.
func sign(t *testing.T, issuer pair, key crypto.Signer, template x509.Certificate) pair {
	t.Helper()
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if issuer.cert == nil {
		issuer = pair{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{cert, key}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ca(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

func host(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
}

func certPEM(pairs ...pair) []byte {
	var out []byte
	for _, p := range pairs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})...)
	}
	return out
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// inFiles writes both files; nil leaves one out.
func inFiles(t *testing.T, cert, key []byte) tlsconf.Config {
	t.Helper()
	dir := t.TempDir()
	cfg := tlsconf.Config{Mode: tlsconf.Files, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for path, data := range map[string][]byte{cfg.CertFile: cert, cfg.KeyFile: key} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

func TestFilesServeTheChain(t *testing.T) {
	root := sign(t, pair{}, ecKey(t), ca("Test Root"))
	intermediate := sign(t, root, ecKey(t), ca("Test Intermediate"))
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		key  crypto.Signer
		pem  []byte
	}{
		{"EC, PKCS #8", ec, keyPEM(t, ec)},
		{"EC, SEC 1 with parameters", ec, append(
			pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)},
		{"RSA, PKCS #8", rsaKey, keyPEM(t, rsaKey)},
		{"RSA, PKCS #1", rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		{"Ed25519", edKey, keyPEM(t, edKey)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf := sign(t, intermediate, tt.key, host("media.example"))
			var log bytes.Buffer
			cfg := inFiles(t, append([]byte("a comment\n"), certPEM(leaf, intermediate, root)...), tt.pem)
			cfg.Log = zerolog.New(&log)
			src, err := tlsconf.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if src.Warnings() != nil || src.CAPEM() != nil {
				t.Errorf("warnings %v, authority %s", src.Warnings(), src.CAPEM())
			}
			if !strings.Contains(log.String(), "media.example") || !strings.Contains(log.String(), "Test Intermediate") {
				t.Errorf("log %s", log.String())
			}
			state, err := dial(t, src.ServerConfig(), &tls.Config{RootCAs: pool, ServerName: "media.example"})
			if err != nil {
				t.Fatal(err)
			}
			if len(state.PeerCertificates) != 3 {
				t.Errorf("%d certificates sent", len(state.PeerCertificates))
			}
			for _, name := range []string{"", "other.example"} {
				if _, err := dial(t, src.ServerConfig(), anyNameThrough(pool, intermediate.cert, name)); err != nil {
					t.Errorf("server name %q is not served: %v", name, err)
				}
			}
		})
	}
}

// anyNameThrough is anyName for a chain.
func anyNameThrough(pool *x509.CertPool, intermediate *x509.Certificate, serverName string) *tls.Config {
	cfg := anyName(pool, serverName)
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		between.AddCert(intermediate)
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
		return err
	}
	return cfg
}

func TestFilesErrors(t *testing.T) {
	root := sign(t, pair{}, ecKey(t), ca("Test Root"))
	leaf := sign(t, root, ecKey(t), host("media.example"))
	other := sign(t, root, ecKey(t), host("other.example"))
	good, key := certPEM(leaf, root), keyPEM(t, leaf.key)
	block := func(kind string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("no")}) }
	legacy := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("no")})
	tests := []struct {
		name      string
		cert, key []byte
		want      string
	}{
		{"certificate missing", nil, key, "certificate: stat "},
		{"key missing", good, nil, "private key: stat "},
		{"certificate empty", []byte{}, key, "cert.pem holds no certificate in PEM form"},
		{"key empty", good, []byte{}, "key.pem holds no private key in PEM form"},
		{"swapped", key, good, "are tls.cert and tls.key swapped?"},
		{"key file holds the certificate", good, good, "key.pem holds no private key but CERTIFICATE, CERTIFICATE: are tls.cert and tls.key swapped?"},
		{"DER", leaf.cert.Raw, key, "cert.pem is in DER form: convert it with openssl x509 -inform der -in "},
		{"certificate of garbage", append(certPEM(leaf), block("CERTIFICATE")...), key, "cert.pem: certificate 2 cannot be read"},
		{"key of garbage", good, block("PRIVATE KEY"), "key.pem: the private key cannot be read"},
		{"key with pass phrase", good, block("ENCRYPTED PRIVATE KEY"), "key.pem is encrypted with a pass phrase: remove it with openssl pkey -in "},
		{"key with old pass phrase", good, legacy, "key.pem is encrypted with a pass phrase"},
		{"wrong key", good, keyPEM(t, other.key), `does not belong to`},
		{"wrong order", certPEM(root, leaf), key, "is number 2, put it first"},
		{"too large", bytes.Repeat([]byte("a"), 1<<20+1), key, "cert.pem is no PEM file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := inFiles(t, tt.cert, tt.key)
			_, err := tlsconf.New(cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Dir(cfg.CertFile)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("none named", func(t *testing.T) {
		_, err := tlsconf.New(tlsconf.Config{Mode: tlsconf.Files})
		if err == nil || !strings.Contains(err.Error(), "set tls.cert") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("truncated", func(t *testing.T) { // every prefix fails cleanly, or is a shorter whole file
		whole := certPEM(leaf)
		for i := range len(whole) - 1 {
			if _, err := tlsconf.New(inFiles(t, whole[:i], key)); err == nil {
				t.Fatalf("%d of %d bytes are a certificate", i, len(whole))
			}
		}
	})
}

func TestFilesWarnings(t *testing.T) {
	root := sign(t, pair{}, ecKey(t), ca("Test Root"))
	bare := x509.Certificate{Subject: pkix.Name{CommonName: "media.example"}}
	expired, early := host("media.example"), host("media.example")
	expired.NotBefore, expired.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	early.NotBefore, early.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	tests := []struct {
		name     string
		template x509.Certificate
		want     []string
	}{
		{"good", host("media.example"), nil},
		{"expired", expired, []string{`cert.pem: "media.example" expired on `}},
		{"not yet valid", early, []string{`cert.pem: "media.example" is not valid before `}},
		{"no names", bare, []string{"no subject alternative names"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf := sign(t, root, ecKey(t), tt.template)
			var log bytes.Buffer
			cfg := inFiles(t, certPEM(leaf, root), keyPEM(t, leaf.key))
			cfg.Log = zerolog.New(&log)
			src, err := tlsconf.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			contain(t, src.Warnings(), tt.want)
			if strings.Count(log.String(), `"level":"warn"`) != len(tt.want) {
				t.Errorf("log %s", log.String())
			}
		})
	}
}

func contain(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestChain(t *testing.T) {
	root := sign(t, pair{}, ecKey(t), ca("Test Root"))
	upper := sign(t, root, ecKey(t), ca("Upper"))
	lower := sign(t, upper, ecKey(t), ca("Lower"))
	leaf := sign(t, lower, ecKey(t), host("media.example"))
	own := sign(t, pair{}, ecKey(t), host("own.example"))
	stranger := sign(t, pair{}, ecKey(t), ca("Stranger"))
	imposter := sign(t, pair{}, ecKey(t), ca("Lower"))
	known := x509.NewCertPool()
	known.AddCert(root.cert)
	foreign := x509.NewCertPool()
	foreign.AddCert(stranger.cert)
	tests := []struct {
		name  string
		chain []pair
		roots *x509.CertPool // nil: a machine without any
		want  []string
	}{
		{"whole", []pair{leaf, lower, upper}, known, nil},
		{"whole with root", []pair{leaf, lower, upper, root}, foreign, nil},
		{"any order", []pair{leaf, upper, lower}, known, nil},
		{"self-signed", []pair{own}, foreign, nil},
		{"signed by a root", []pair{upper}, known, nil},
		{"first intermediate missing", []pair{leaf}, known, []string{`is incomplete: the certificate of "Lower", which signed "media.example"`}},
		{"second intermediate missing", []pair{leaf, lower}, known, []string{`is incomplete: the certificate of "Upper", which signed "Lower"`}},
		{"unknown root", []pair{leaf, lower, upper}, foreign, []string{`the certificate of "Test Root", which signed "Upper"`}},
		{"wrong intermediate", []pair{leaf, imposter}, known, []string{
			`certificate 2 ("Lower") is no issuer of those before it`, `is incomplete: the certificate of "Lower"`,
		}},
		{"one too many", []pair{leaf, lower, upper, stranger}, known, []string{`certificate 4 ("Stranger") is no issuer`}},
		{"no roots, alone", []pair{leaf}, nil, []string{`is incomplete: the certificate of "Lower"`}},
		{"no roots, with an intermediate", []pair{leaf, lower}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var certs []*x509.Certificate
			for _, p := range tt.chain {
				certs = append(certs, p.cert)
			}
			contain(t, tlsconf.CheckChain("cert.pem", certs, tt.roots), tt.want)
			// An expired chain is no incomplete one.
			if w := tlsconf.CheckDates("cert.pem", certs, time.Now().Add(2*time.Hour)); len(w) != len(certs) {
				t.Errorf("after the end: %q", w)
			}
			if w := tlsconf.CheckDates("cert.pem", certs, time.Now()); w != nil {
				t.Errorf("now: %q", w)
			}
		})
	}
}
