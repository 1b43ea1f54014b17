package tlsconf_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	tlsconf "culvert/tls"
)

func TestInternalNames(t *testing.T) {
	src, pool := internal(t, tlsconf.Config{Storage: t.TempDir(), Names: []string{"Media.Example.", "*.apps.example", "192.0.2.7", "2001:db8::7", "localhost"}})
	names := []string{"localhost", "127.0.0.1", "::1", "media.example", "x.apps.example", "192.0.2.7", "2001:db8::7"}
	if host, err := os.Hostname(); err == nil && !strings.ContainsAny(host, " _") {
		names = append(names, host)
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() {
				names = append(names, ip.String())
			}
		}
	}
	for _, name := range names {
		if _, err := dial(t, src.ServerConfig(), &tls.Config{RootCAs: pool, ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := dial(t, src.ServerConfig(), &tls.Config{RootCAs: pool, ServerName: "other.example"}); err == nil {
		t.Error("the certificate stands for other.example")
	}
	for _, name := range []string{"other.example", ""} {
		if _, err := dial(t, src.ServerConfig(), anyName(pool, name)); err != nil {
			t.Errorf("server name %q is not served: %v", name, err)
		}
	}
}

func TestInternalBadNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a..b", "-a", "a-", "*", "a.*", "fe80::1%eth0", "https://a", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if _, err := tlsconf.New(tlsconf.Config{Names: []string{name}}); err == nil || !strings.Contains(err.Error(), "neither a DNS name nor an IP address") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestInternalCertificates(t *testing.T) {
	src, pool := internal(t, tlsconf.Config{Storage: t.TempDir()})
	state, err := dial(t, src.ServerConfig(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if len(state.PeerCertificates) != 1 {
		t.Errorf("%d certificates sent", len(state.PeerCertificates))
	}
	leaf, ca := state.PeerCertificates[0], parse(t, src.CAPEM())
	if !ca.IsCA || !ca.MaxPathLenZero || leaf.IsCA {
		t.Error("an authority that is none, or the other way round")
	}
	for _, c := range []struct {
		cert *x509.Certificate
		days int
	}{{leaf, 90}, {ca, 3650}} {
		if left := time.Until(c.cert.NotAfter); left > time.Duration(c.days)*24*time.Hour || left < time.Duration(c.days)*24*time.Hour-time.Hour {
			t.Errorf("%s: ends in %v", c.cert.Subject, left)
		}
		if key, ok := c.cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: key %T", c.cert.Subject, c.cert.PublicKey)
		}
		if since := time.Since(c.cert.NotBefore); since < 59*time.Minute {
			t.Errorf("%s: a client whose clock is behind refuses it", c.cert.Subject)
		}
	}
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestInternalStorage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "culvert")
	first, _ := internal(t, tlsconf.Config{Storage: dir})
	second, _ := internal(t, tlsconf.Config{Storage: dir})
	if !bytes.Equal(first.CAPEM(), second.CAPEM()) {
		t.Error("the second start made another authority")
	}
	onDisk, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !bytes.Equal(onDisk, first.CAPEM()) {
		t.Errorf("ca.pem: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("storage holds %v, %v", entries, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "ca.key"): 0o600, filepath.Join(dir, "ca.pem"): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	third, _ := internal(t, tlsconf.Config{Storage: dir})
	if w := third.Warnings(); len(w) != 1 || !strings.Contains(w[0], "chmod 600") {
		t.Errorf("warnings of a key that others can read: %v", w)
	}
}

func TestInternalInMemory(t *testing.T) {
	var log bytes.Buffer
	first, _ := internal(t, tlsconf.Config{Log: zerolog.New(&log)})
	second, _ := internal(t, tlsconf.Config{})
	if bytes.Equal(first.CAPEM(), second.CAPEM()) {
		t.Error("two authorities are the same")
	}
	if w := first.Warnings(); len(w) != 1 || !strings.Contains(w[0], "memory only") || !strings.Contains(log.String(), "memory only") {
		t.Errorf("warnings %v, log %s", w, log.String())
	}
	first.CAPEM()[0] = 0
	if first.CAPEM()[0] == 0 {
		t.Error("a caller can change the authority")
	}
}

func TestInternalCorruptStorage(t *testing.T) {
	whole := t.TempDir()
	if _, err := tlsconf.New(tlsconf.Config{Storage: whole}); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if _, err := tlsconf.New(tlsconf.Config{Storage: other}); err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, cert := read(whole, "ca.key"), read(whole, "ca.pem")
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")})
	tests := []struct {
		name      string
		key, cert []byte // nil: no such file
		want      []string
	}{
		{"key empty", []byte{}, cert, []string{"ca.key holds no PEM block", "restore it, or delete ca.key and ca.pem"}},
		{"key truncated", key[:len(key)/2], cert, []string{"ca.key holds no PEM block"}},
		{"key of garbage", bytes.Replace(broken, []byte("CERTIFICATE"), []byte("PRIVATE KEY"), 2), cert, []string{"ca.key holds no private key"}},
		{"key missing", nil, cert, []string{"ca.pem is there but its key", "ca.key is missing"}},
		{"certificate empty", key, []byte{}, []string{"ca.pem holds no certificate", "delete it to make it again"}},
		{"certificate truncated", key, cert[:len(cert)/2], []string{"ca.pem holds no certificate"}},
		{"certificate of garbage", key, broken, []string{"ca.pem holds no certificate"}},
		{"certificate of another key", key, read(other, "ca.pem"), []string{"ca.pem does not belong to ca.key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range map[string][]byte{"ca.key": tt.key, "ca.pem": tt.cert} {
				if data == nil {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := tlsconf.New(tlsconf.Config{Storage: dir})
			for _, want := range append(tt.want, dir) {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}

	t.Run("certificate missing heals", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		src, pool := internal(t, tlsconf.Config{Storage: dir})
		if _, err := dial(t, src.ServerConfig(), &tls.Config{RootCAs: pool, ServerName: "localhost"}); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(read(dir, "ca.key"), key) {
			t.Error("the key changed")
		}
	})
	t.Run("storage is a file", func(t *testing.T) {
		_, err := tlsconf.New(tlsconf.Config{Storage: filepath.Join(whole, "ca.pem")})
		if err == nil || !strings.Contains(err.Error(), "tls.storage") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("storage cannot be written", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root can write everywhere")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil { // a directory without write permission
			t.Fatal(err)
		}
		_, err := tlsconf.New(tlsconf.Config{Storage: dir})
		if err == nil || !strings.Contains(err.Error(), "tls.storage") {
			t.Errorf("error %v", err)
		}
	})
}

// TestInternalFirstStartTogether: several gateways that share a directory and start at the same moment agree on one authority.
func TestInternalFirstStartTogether(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		pems := make([]string, 6)
		var wg sync.WaitGroup
		for i := range pems {
			wg.Go(func() {
				src, err := tlsconf.New(tlsconf.Config{Storage: dir})
				if err != nil {
					t.Error(err)
					return
				}
				pems[i] = string(src.CAPEM())
			})
		}
		wg.Wait()
		for _, p := range pems[1:] {
			if p != pems[0] {
				t.Fatal("two authorities")
			}
		}
	}
}

// TestInternalRenews runs in a bubble, where a month passes in no time.
func TestInternalRenews(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		src, pool := internal(t, tlsconf.Config{})
		server := src.ServerConfig()
		leaf := func() *x509.Certificate {
			t.Helper()
			client := &tls.Config{RootCAs: pool, ServerName: "localhost", Time: time.Now}
			state, err := dial(t, server, client)
			if err != nil {
				t.Fatal(err)
			}
			return state.PeerCertificates[0]
		}
		first := leaf()
		time.Sleep(60*day - time.Minute)
		if !leaf().Equal(first) {
			t.Error("renewed too early")
		}
		time.Sleep(2 * time.Minute)
		var wg sync.WaitGroup
		seen := make([]*x509.Certificate, 8)
		for i := range seen {
			wg.Go(func() { seen[i] = leaf() })
		}
		wg.Wait()
		second := leaf()
		if second.Equal(first) || time.Until(second.NotAfter) < 89*day {
			t.Errorf("not renewed: ends %v", second.NotAfter)
		}
		for _, c := range seen {
			if !c.Equal(first) && !c.Equal(second) {
				t.Error("renewed more than once")
			}
		}
		for range 59 { // nearly ten years: the authority ends, and no certificate outlives it
			time.Sleep(60 * day)
			leaf()
		}
		if last := leaf(); last.NotAfter.After(parse(t, src.CAPEM()).NotAfter) {
			t.Error("a certificate outlives its authority")
		}
	})
}

func TestInternalAuthorityEnds(t *testing.T) {
	const year = 365 * 24 * time.Hour
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		internal(t, tlsconf.Config{Storage: dir})
		time.Sleep(10*year - 30*24*time.Hour)
		src, _ := internal(t, tlsconf.Config{Storage: dir})
		if w := src.Warnings(); len(w) != 1 || !strings.Contains(w[0], "the internal authority ends on") {
			t.Errorf("warnings %v", w)
		}
		time.Sleep(30 * 24 * time.Hour)
		_, err := tlsconf.New(tlsconf.Config{Storage: dir})
		if err == nil || !strings.Contains(err.Error(), "ca.pem expired on") || !strings.Contains(err.Error(), "delete ca.key and ca.pem") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDefaultStorage(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"STATE_DIRECTORY", "XDG_STATE_HOME", "LocalAppData"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	if os.Geteuid() == 0 {
		if got := tlsconf.DefaultStorage(); got != "/var/lib/culvert" {
			t.Errorf("root: %q", got)
		}
	} else if runtime.GOOS != "windows" {
		if got := tlsconf.DefaultStorage(); got != filepath.Join(home, ".local", "state", "culvert") {
			t.Errorf("home: %q", got)
		}
		t.Setenv("XDG_STATE_HOME", filepath.Join(home, "xdg"))
		if got := tlsconf.DefaultStorage(); got != filepath.Join(home, "xdg", "culvert") {
			t.Errorf("XDG_STATE_HOME: %q", got)
		}
	}
	dirs := filepath.Join(home, "one") + string(filepath.ListSeparator) + filepath.Join(home, "two")
	t.Setenv("STATE_DIRECTORY", dirs)
	if got := tlsconf.DefaultStorage(); got != filepath.Join(home, "one") {
		t.Errorf("STATE_DIRECTORY: %q", got)
	}
}
