package tlsconf_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/rs/zerolog"

	"culvert/testdata/pebble"
	tlsconf "culvert/tls"
)

const public = "live.example.com"

var clients = []tlsconf.ACMEClient{tlsconf.Certmagic, tlsconf.Autocert}

func acmeSource(t *testing.T, authority *pebble.CA, client tlsconf.ACMEClient, dir string, store certmagic.Storage) *tlsconf.Source {
	t.Helper()
	src, err := tlsconf.New(tlsconf.Config{
		Mode: tlsconf.ACMEMode, Names: []string{authority.Host}, Storage: dir, Log: zerolog.New(zerolog.NewTestWriter(t)),
		ACME: tlsconf.ACME{
			Client: client, Authorities: []tlsconf.Authority{{Directory: authority.Directory, Roots: authority.ServerPool()}},
			HTTP01: true, TLSALPN01: true, Retry: time.Second, Store: store,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// runSource serves a source on two ports of loopback and keeps it until stop, or the end of the test.
func runSource(t *testing.T, src *tlsconf.Source, authority *pebble.CA) (https string, stop func()) {
	t.Helper()
	var listeners [2]net.Listener
	for i := range listeners {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = ln
	}
	authority.Serve(listeners[0].Addr().(*net.TCPAddr).Port, listeners[1].Addr().(*net.TCPAddr).Port)
	plain := &http.Server{Handler: src.ChallengeHandler(http.NotFoundHandler()), ReadHeaderTimeout: time.Minute}
	secure := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute, ErrorLog: nil, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = plain.Serve(listeners[0]) })
	work.Go(func() { _ = secure.Serve(tls.NewListener(listeners[1], src.ServerConfig("http/1.1"))) })
	work.Go(func() {
		if err := src.Run(ctx, tlsconf.Listeners{HTTP: listeners[0].Addr(), HTTPS: listeners[1].Addr()}); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			_ = plain.Close()
			_ = secure.Close()
			work.Wait()
		})
	}
	t.Cleanup(stop)
	return listeners[1].Addr().String(), stop
}

// await waits until the certificate of a name is as wanted.
func await(t *testing.T, src *tlsconf.Source, source tlsconf.Mode, want func(tlsconf.Status) bool) tlsconf.Status {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last tlsconf.Status
	for time.Now().Before(deadline) {
		for _, s := range src.Certificates() {
			if s.Source == source {
				if last = s; want(s) {
					return s
				}
			}
		}
		<-tick.C
	}
	t.Fatalf("status %+v", last)
	return last
}

func inState(state tlsconf.State) func(tlsconf.Status) bool {
	return func(s tlsconf.Status) bool { return s.State == state }
}

// verify handshakes with the server at addr as a client of a name that trusts pool.
func verify(t *testing.T, addr, name string, pool *x509.CertPool) error {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: pool}}
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err
}

// fullDisk is a storage that takes nothing while it is full.
type fullDisk struct {
	certmagic.Storage
	full atomic.Bool
}

func (d *fullDisk) Store(ctx context.Context, key string, value []byte) error {
	if d.full.Load() {
		return &fs.PathError{Op: "write", Path: key, Err: syscall.ENOSPC}
	}
	return d.Storage.Store(ctx, key, value)
}

// TestACMEFullDisk: certmagic orders nothing that it could not keep, autocert orders nothing without an account; both say why, and go on when there is room.
func TestACMEFullDisk(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			authority := pebble.New(t, pebble.Config{})
			disk := &fullDisk{Storage: tlsconf.NewStore(t.TempDir())}
			disk.full.Store(true)
			src := acmeSource(t, authority, client, t.TempDir(), disk)
			addr, _ := runSource(t, src, authority)
			s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Fallback))
			if !strings.Contains(s.LastError, "the disk with tls.storage is full") || s.NextTry.IsZero() {
				t.Errorf("status %+v", s)
			}
			internalCA := x509.NewCertPool()
			internalCA.AppendCertsFromPEM(src.CAPEM())
			if err := verify(t, addr, authority.Host, internalCA); err != nil {
				t.Errorf("the internal certificate does not stand in: %v", err)
			}
			disk.full.Store(false)
			await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid))
			if err := verify(t, addr, authority.Host, authority.Pool()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestACMEFullDiskOrdersNothing: what cannot be stored would be ordered again after each start, until the authority has enough.
func TestACMEFullDiskOrdersNothing(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			authority := pebble.New(t, pebble.Config{})
			disk := &fullDisk{Storage: tlsconf.NewStore(t.TempDir())}
			src := acmeSource(t, authority, client, t.TempDir(), disk)
			_, stop := runSource(t, src, authority)
			await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid))
			stop()
			keys, err := disk.List(t.Context(), "", true)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys { // the account stays
				if strings.Contains(key, authority.Host) {
					if err := disk.Delete(t.Context(), key); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
				}
			}
			disk.full.Store(true)
			ordered := authority.Orders.Load() // the first run's question when to renew may still be on its way
			authority.Again()
			src = acmeSource(t, authority, client, t.TempDir(), disk)
			runSource(t, src, authority)
			s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Fallback))
			if n := authority.Orders.Load(); ordered != 1 || n != ordered || !strings.Contains(s.LastError, "is full") {
				t.Errorf("%d orders, then %d, status %+v", ordered, n-ordered, s)
			}
		})
	}
}

// TestACMEDiskFullAfterOrder serves what autocert obtained and could not store, and says so.
func TestACMEDiskFullAfterOrder(t *testing.T) {
	t.Parallel()
	authority := pebble.New(t, pebble.Config{})
	disk := &fullSite{tlsconf.NewStore(t.TempDir()), authority.Host}
	src := acmeSource(t, authority, tlsconf.Autocert, t.TempDir(), disk)
	addr, _ := runSource(t, src, authority)
	s := await(t, src, tlsconf.ACMEMode, func(s tlsconf.Status) bool { return s.State == tlsconf.Valid && s.LastError != "" })
	if !strings.Contains(s.LastError, "could not be stored") || !strings.Contains(s.LastError, "full") {
		t.Errorf("status %+v", s)
	}
	if err := verify(t, addr, authority.Host, authority.Pool()); err != nil {
		t.Error(err)
	}
}

// fullSite has room for all but the certificate.
type fullSite struct {
	certmagic.Storage
	name string
}

func (d *fullSite) Store(ctx context.Context, key string, value []byte) error {
	if strings.HasSuffix(key, d.name) {
		return &fs.PathError{Op: "write", Path: key, Err: syscall.ENOSPC}
	}
	return d.Storage.Store(ctx, key, value)
}

// TestACMECorruptStorage: whatever is damaged is named, replaced, and does not stop the gateway.
func TestACMECorruptStorage(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		for _, damage := range []struct {
			name string
			to   func(path string, data []byte) []byte // nil keeps a file
		}{
			{"everything is garbage", func(string, []byte) []byte { return []byte("\x00garbage") }},
			{"everything is empty", func(string, []byte) []byte { return []byte{} }},
			{"certificates are cut", func(path string, data []byte) []byte {
				if !bytes.Contains(data, []byte("BEGIN CERTIFICATE-")) {
					return nil
				}
				return data[:len(data)/2]
			}},
		} {
			t.Run(string(client)+"/"+damage.name, func(t *testing.T) {
				t.Parallel()
				authority := pebble.New(t, pebble.Config{})
				dir := t.TempDir()
				src := acmeSource(t, authority, client, dir, nil)
				_, stop := runSource(t, src, authority)
				first := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid))
				stop()
				spoil(t, filepath.Join(dir, "acme"), damage.to)

				src = acmeSource(t, authority, client, dir, nil)
				for _, s := range src.Certificates() {
					if s.Source == tlsconf.ACMEMode && (s.State != tlsconf.Pending || !strings.Contains(s.LastError, "cannot be used and is ordered anew")) {
						t.Errorf("status before the order: %+v", s)
					}
				}
				authority.Again()
				addr, _ := runSource(t, src, authority)
				s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid))
				if s.LastError != "" || s.NotBefore.Before(first.NotBefore) {
					t.Errorf("status %+v", s)
				}
				if err := verify(t, addr, authority.Host, authority.Pool()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// spoil changes every file below dir.
func spoil(t *testing.T, dir string, to func(string, []byte) []byte) {
	t.Helper()
	spoiled := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bad := to(path, data); bad != nil {
			spoiled++
			return os.WriteFile(path, bad, 0o600)
		}
		return nil
	})
	if err != nil || spoiled == 0 {
		t.Fatalf("%d files spoiled: %v", spoiled, err)
	}
}

// TestACMEStorageCannotBeWritten starts all the same, with everything in memory.
func TestACMEStorageCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	authority := pebble.New(t, pebble.Config{})
	src := acmeSource(t, authority, tlsconf.Certmagic, filepath.Join(file, "below"), nil)
	addr, _ := runSource(t, src, authority)
	s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Fallback))
	if !strings.Contains(s.LastError, "tls.storage cannot be written") {
		t.Errorf("status %+v", s)
	}
	internalCA := x509.NewCertPool()
	internalCA.AppendCertsFromPEM(src.CAPEM())
	if err := verify(t, addr, authority.Host, internalCA); err != nil {
		t.Error(err)
	}
}

func TestACMEErrors(t *testing.T) {
	dns := &tlsconf.DNS{Provider: &tlsconf.Exec{}}
	for name, tt := range map[string]struct {
		names []string
		acme  tlsconf.ACME
		want  string
	}{
		"no public name":        {[]string{"localhost", "10.0.0.1", "studio.lan", "a.local"}, tlsconf.ACME{HTTP01: true}, "no name that a public authority can vouch for"},
		"wildcard":              {[]string{"*.example.com"}, tlsconf.ACME{HTTP01: true}, "needs the DNS-01 challenge"},
		"no challenge":          {[]string{public}, tlsconf.ACME{}, "no ACME challenge is allowed"},
		"unknown client":        {[]string{public}, tlsconf.ACME{Client: "lego", HTTP01: true}, "unknown ACME client"},
		"autocert, DNS":         {[]string{public}, tlsconf.ACME{Client: tlsconf.Autocert, HTTP01: true, DNS: dns}, "autocert knows no DNS-01"},
		"autocert, key type":    {[]string{public}, tlsconf.ACME{Client: tlsconf.Autocert, HTTP01: true, KeyType: tlsconf.RSA2048}, "autocert makes p256 keys only"},
		"autocert, authorities": {[]string{public}, tlsconf.ACME{Client: tlsconf.Autocert, HTTP01: true, Authorities: make([]tlsconf.Authority, 2)}, "autocert knows one authority"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tlsconf.New(tlsconf.Config{Mode: tlsconf.ACMEMode, Names: tt.names, ACME: tt.acme, Storage: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"full disk, wrapped":  {&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, "the disk with tls.storage is full"},
		"full disk, as text":  {errors.New("failed storage check: write /x: no space left on device - storage is probably misconfigured"), "the disk with tls.storage is full"},
		"name of the CA":      {&net.DNSError{Err: "no such host", Name: "acme.example"}, "this machine cannot look up acme.example"},
		"closed port":         {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "cannot be reached"},
		"untrusted authority": {x509.UnknownAuthorityError{}, "tls.acme.roots"},
		"deadline":            {context.DeadlineExceeded, "does not answer"},
		"broken authority":    {errors.New("creating new order: fetching new nonce from server: HTTP 503: "), "the authority answers HTTP 503, which is a fault of its own"},
		"anything else":       {errors.New("something else"), "something else"},
	} {
		if got := tlsconf.Explain(tt.err, public); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
