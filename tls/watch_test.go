package tlsconf_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	tlsconf "culvert/tls"
)

// TestFilesReload replaces the files in the ways programs do, while a connection lives on, and with some that are no good.
func TestFilesReload(t *testing.T) {
	t.Parallel()
	root := sign(t, pair{}, ecKey(t), ca("root"))
	serial := func(name string) (cert, key []byte, leaf *x509.Certificate) {
		p := sign(t, root, ecKey(t), host(name))
		return certPEM(p, root), keyPEM(t, p.key), p.cert
	}
	cert, key, first := serial("first.example")
	cfg := inFiles(t, cert, key)
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t))
	src, err := tlsconf.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, tlsconf.Listeners{}) }() // stopped and waited for at the end
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	served := func() *x509.Certificate {
		state, err := dial(t, src.ServerConfig(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is what is looked at
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0]
	}
	if !served().Equal(first) {
		t.Fatal("not the first certificate")
	}

	// In place, one after the other: between the two writes they do not belong together.
	cert, key, second := serial("second.example")
	write(t, cfg.CertFile, cert)
	write(t, cfg.KeyFile, key)
	await(t, src, tlsconf.Files, func(s tlsconf.Status) bool { return s.Name == "second.example" && s.State == tlsconf.Valid })
	if !served().Equal(second) {
		t.Error("not the second certificate")
	}

	// A key that does not belong: the old pair stays.
	_, wrong, _ := serial("wrong.example")
	write(t, cfg.KeyFile, wrong)
	s := await(t, src, tlsconf.Files, inState(tlsconf.Failing))
	if !strings.Contains(s.LastError, "does not belong to") || s.Failures != 1 || s.LastErrorAt.IsZero() {
		t.Errorf("status %+v", s)
	}
	if !served().Equal(second) {
		t.Error("not the second certificate any more")
	}

	// Renamed over the old ones, and without the intermediate, which is named.
	middle := sign(t, root, ecKey(t), ca("the intermediate"))
	leaf := sign(t, middle, ecKey(t), host("third.example"))
	replace(t, cfg.KeyFile, keyPEM(t, leaf.key))
	replace(t, cfg.CertFile, certPEM(leaf))
	s = await(t, src, tlsconf.Files, func(s tlsconf.Status) bool { return s.Name == "third.example" })
	if s.State != tlsconf.Valid || !strings.Contains(s.LastError, `"the intermediate"`) {
		t.Errorf("status %+v", s)
	}
	if !served().Equal(leaf.cert) {
		t.Error("not the third certificate")
	}
}

// TestFilesReloadLinks swaps the directory behind a link, as Kubernetes does.
func TestFilesReloadLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(version, name string) {
		p := sign(t, pair{}, ecKey(t), host(name))
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "tls.crt"), certPEM(p))
		write(t, filepath.Join(dir, version, "tls.key"), keyPEM(t, p.key))
		if err := os.Symlink(version, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	put("v1", "one.example")
	for _, f := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("data", f), filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	src, err := tlsconf.New(tlsconf.Config{Mode: tlsconf.Files, CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, tlsconf.Listeners{}) }() // stopped and waited for at the end
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	await(t, src, tlsconf.Files, func(s tlsconf.Status) bool { return s.Name == "one.example" })
	put("v2", "two.example")
	await(t, src, tlsconf.Files, func(s tlsconf.Status) bool { return s.Name == "two.example" })
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	write(t, path+".new", data)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestHosts gives names sources of their own.
func TestHosts(t *testing.T) {
	t.Parallel()
	root := sign(t, pair{}, ecKey(t), ca("root"))
	one, two := sign(t, root, ecKey(t), host("one.example")), sign(t, root, ecKey(t), host("*.two.example"))
	cfg := inFiles(t, certPEM(one, root), keyPEM(t, one.key))
	other := inFiles(t, certPEM(two, root), keyPEM(t, two.key))
	cfg.Hosts = []tlsconf.Host{
		{Names: []string{"*.Two.example"}, Mode: tlsconf.Files, CertFile: other.CertFile, KeyFile: other.KeyFile},
		{Names: []string{"studio.lan"}, Mode: tlsconf.Internal},
	}
	cfg.Storage = t.TempDir()
	src, err := tlsconf.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	files, own := x509.NewCertPool(), x509.NewCertPool()
	files.AddCert(root.cert)
	own.AppendCertsFromPEM(src.CAPEM())
	for name, pool := range map[string]*x509.CertPool{"one.example": files, "a.two.example": files, "studio.lan": own} {
		if _, err := dial(t, src.ServerConfig(), &tls.Config{ServerName: name, RootCAs: pool}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]bool{"one.example": true, "ONE.example": true, "a.two.example": true, "two.example": false, "studio.lan": false, "": false, "127.0.0.1": false} {
		if got := src.Vouches(name); got != want {
			t.Errorf("Vouches(%q) = %v", name, got)
		}
	}
	if n := len(src.Certificates()); n != 3 {
		t.Errorf("%d certificates", n)
	}
}

// TestClientCertificates serves only clients with a certificate on a listener that wants one.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	src, pool := internal(t, tlsconf.Config{})
	root := sign(t, pair{}, ecKey(t), ca("clients"))
	template := host("encoder")
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	known, stranger := sign(t, root, ecKey(t), template), sign(t, pair{}, ecKey(t), template)
	cas := x509.NewCertPool()
	cas.AddCert(root.cert)
	for name, tt := range map[string]struct {
		certs []tls.Certificate
		ok    bool
	}{
		"none":     {nil, false},
		"known":    {[]tls.Certificate{{Certificate: [][]byte{known.cert.Raw}, PrivateKey: known.key}}, true},
		"stranger": {[]tls.Certificate{{Certificate: [][]byte{stranger.cert.Raw}, PrivateKey: stranger.key}}, false},
	} {
		client := &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: tt.certs}
		if err := dialTCP(t, src.ServerConfigFor(cas), client); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		silent := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Certificates: tt.certs} // without server name, the configuration without tickets
		if err := dialTCP(t, src.ServerConfigFor(cas), silent); (err == nil) != tt.ok {
			t.Errorf("%s, no server name: %v", name, err)
		}
		if err := dialTCP(t, src.ServerConfig(), client); err != nil {
			t.Errorf("%s on a listener that asks for none: %v", name, err)
		}
	}
}

// dialTCP handshakes over a socket and reads what the server sends after its handshake: with TLS 1.3 a client learns only there that it is refused.
func dialTCP(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var served sync.WaitGroup
	defer served.Wait()
	served.Go(func() { // ends when the client closes; waited for above
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{1}); err == nil {
			_, _ = conn.Read(make([]byte, 1)) // until the client closes
		}
	})
	conn, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// TestOldDevices lets clients in that know only TLS 1.0 and RSA key exchange, where the switch says so.
func TestOldDevices(t *testing.T) {
	t.Parallel()
	old := func(pool *x509.CertPool) *tls.Config {
		return &tls.Config{
			RootCAs: pool, ServerName: "old.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, //nolint:gosec // the devices of this test
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := sign(t, pair{}, key, host("old.example"))
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	cfg := inFiles(t, certPEM(p), keyPEM(t, p.key))
	for version, ok := range map[uint16]bool{0: false, tls.VersionTLS10: true} {
		cfg.MinVersion = version
		src, err := tlsconf.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, src.ServerConfig(), old(pool)); (err == nil) != ok {
			t.Errorf("MinVersion %#x: %v", version, err)
		}
	}
}
