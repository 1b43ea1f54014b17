//go:build interop

package interop_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/testdata/pebble"
)

// needMounts skips the test loudly where no mount namespace can be made, and fails it in CI.
func needMounts(t *testing.T) {
	t.Helper()
	need(t, "unshare")
	out, err := exec.CommandContext(t.Context(), "unshare", "-m", "true").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("unshare -m: %v %s", err, out)
	}
	fmt.Fprintf(os.Stderr, "\n*** %s NOT RUN: unshare -m needs root: %v %s\n\n", t.Name(), err, out)
	t.Skip("no mount namespaces here")
}

// withName runs a command for which name is 127.0.0.1, by a hosts file of its own.
func withName(t *testing.T, name string, args ...string) []string {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	write(t, hosts, "127.0.0.1 localhost "+name+"\n")
	return append([]string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}, args...)
}

// TestACMEFromEmptyDisk goes from an empty disk, a domain and an authority to a publish over RTMPS that ffmpeg verifies. Then certificates are renewed while
// ffmpeg publishes and plays, and not one packet is lost.
func TestACMEFromEmptyDisk(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg", "ffprobe")
	needMounts(t)
	const name = "live.example.com"
	for _, client := range []string{"certmagic", "autocert"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			film.file(t)
			// So short a life that the certificate is renewed about once while the clip is published.
			authority := pebble.New(t, pebble.Config{Life: 12 * time.Second})
			authority.RenewIn(4 * time.Second)
			dir := t.TempDir()
			serverRoots, roots := filepath.Join(dir, "server.pem"), filepath.Join(dir, "roots.pem")
			write(t, serverRoots, string(authority.ServerRoots))
			write(t, roots, string(authority.Roots()))
			config := filepath.Join(dir, "culvert.yaml")
			write(t, config, fmt.Sprintf(`log: {level: info, format: json}
listen: {rtmp: "127.0.0.1:0", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls:
  mode: acme
  domains: [%s]
  storage: %s
  acme: {client: %s, directory: %q, roots: %s, retry: 1s}
shutdown: {drain: 5s}
`, name, filepath.Join(dir, "disk"), client, authority.Directory, serverRoots))
			s := serveArgs(t, "serve", "-c", config)
			authority.Serve(tcpPort(t, s.addr(t, "http")), tcpPort(t, s.addr(t, "https")))
			eventually(t, "a certificate", func() bool { return strings.Contains(s.status(t), "state      valid\n  issuer     Pebble") })
			orders := s.metric(t, `culvert_acme_orders_total{result="succeeded"}`)

			url := "rtmps://" + net.JoinHostPort(name, strconv.Itoa(tcpPort(t, s.addr(t, "https")))) + "/live/verified"
			verified := []string{"-tls_verify", "1", "-ca_file", roots}
			plain := playFFmpeg(t, s.url(t, "rtmp", "verified"))
			tunnelled := playFFmpeg(t, s.url(t, "rtmpts", "verified"))
			publisher := start(t, "ffmpeg publisher "+url, withName(t, name, append(append([]string{
				"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-re", "-i", film.file(t), "-c", "copy", "-f", "flv", "-flvflags", "no_duration_filesize",
			}, verified...), url)...))
			publisher.wait(t)
			for _, p := range []*player{plain, tunnelled} {
				p.require(t, film.media(t).by("rtmps"), anywhere, exact)
			}
			eventually(t, "a renewal", func() bool { return s.metric(t, `culvert_acme_orders_total{result="succeeded"}`) > orders })

			// The same with an authority that ffmpeg does not trust is refused: the verification above was one.
			distrust := start(t, "ffmpeg that distrusts", withName(t, name, "ffmpeg", "-v", "warning", "-nostdin", "-t", "1", "-f", "lavfi", "-i", "testsrc2",
				"-f", "flv", "-tls_verify", "1", "-ca_file", serverRoots, url))
			distrust.requireRefused(t)
		})
	}
}

func tcpPort(t *testing.T, addr string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// status is what `culvert status` prints.
func (s *server) status(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), culvert(t), "status", "--admin", s.addr(t, "admin")).CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) { // its exit code says that a certificate needs somebody
		t.Fatal(err)
	}
	return string(out)
}

// TestACMEFullDisk starts with each client on a disk without a byte left: a small tmpfs that a file fills. `culvert status` says so, clients are served, and when there is
// room the certificate comes by itself.
func TestACMEFullDisk(t *testing.T) {
	t.Parallel()
	needMounts(t)
	for _, client := range []string{"certmagic", "autocert"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			fullDisk(t, client)
		})
	}
}

func fullDisk(t *testing.T, client string) {
	t.Helper()
	const name = "live.example.com"
	authority := pebble.New(t, pebble.Config{})
	dir := t.TempDir()
	disk, serverRoots, config := filepath.Join(dir, "disk"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "culvert.yaml")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, serverRoots, string(authority.ServerRoots))
	write(t, config, fmt.Sprintf(`log: {level: info, format: json}
listen: {rtmp: "", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {mode: acme, domains: [%s], acme: {client: %s, directory: %q, roots: %s, retry: 1s}}
`, name, client, authority.Directory, serverRoots))
	s := serveCommand(t, []string{
		"unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=256k tmpfs "$0" && { cat /dev/zero >"$0/fill" 2>/dev/null; CULVERT_TLS_STORAGE=$0 exec "$@"; }`,
		disk, culvert(t), "serve", "-c", config,
	})
	authority.Serve(tcpPort(t, s.addr(t, "http")), tcpPort(t, s.addr(t, "https")))
	eventually(t, "the status of a full disk", func() bool { return strings.Contains(s.status(t), "the disk with tls.storage is full") })
	if text := s.status(t); !strings.Contains(text, "NOT OBTAINED; clients get the internal certificate") || !strings.Contains(text, "next try") {
		t.Errorf("culvert status:\n%s", text)
	}
	insecure := &tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}} //nolint:gosec // any certificate will do
	conn, err := insecure.DialContext(t.Context(), "tcp", s.addr(t, "https"))
	if err != nil {
		t.Fatalf("clients are not served: %v", err)
	}
	conn.Close()
	if err := os.Remove(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "root", disk, "fill")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate", func() bool { return strings.Contains(s.status(t), "state      valid\n  issuer     Pebble") })
}

// TestCARoot prints the authority, with which ffmpeg then verifies the internal certificate.
func TestCARoot(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	dir := t.TempDir()
	config := filepath.Join(dir, "culvert.yaml")
	write(t, config, fmt.Sprintf(`log: {format: json}
listen: {rtmp: "127.0.0.1:0", http: "", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {storage: %s}
`, filepath.Join(dir, "disk")))
	s := serveArgs(t, "serve", "-c", config)
	root := filepath.Join(dir, "root.pem")
	write(t, root, run(t, "culvert ca root", "env", "CULVERT_LISTEN_ADMIN="+s.addr(t, "admin"), culvert(t), "ca", "root", "-c", config))
	url := "rtmps://localhost:" + strconv.Itoa(tcpPort(t, s.addr(t, "https"))) + "/live/root"
	run(t, "ffmpeg", "ffmpeg", "-v", "warning", "-nostdin", "-re", "-t", "1", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-f", "flv", "-tls_verify", "1", "-ca_file", root, url)
}
