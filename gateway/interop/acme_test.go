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
	"slices"
	"strconv"
	"strings"
	"syscall"
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
			eventually(t, "a certificate", func() bool { return strings.Contains(s.status(t, 0, 1), "state      valid\n  issuer     Pebble") })
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

// status is what `culvert status` prints; it ends with one of some exit codes: 1 says that a certificate needs somebody.
func (s *server) status(t *testing.T, exits ...int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), culvert(t), "status", "--admin", s.addr(t, "admin"))
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) || !slices.Contains(exits, cmd.ProcessState.ExitCode()) {
		t.Fatalf("culvert status: %v:\n%s", err, out)
	}
	return string(out)
}

// TestACMEFullDisk leaves the gateway a disk without a byte: a small tmpfs that a file fills. `culvert status`, the log and the metrics say so, clients are
// served with what there is, and when there is room the certificate comes by itself.
func TestACMEFullDisk(t *testing.T) {
	t.Parallel()
	needMounts(t)
	for _, client := range []string{"certmagic", "autocert"} {
		for _, renewal := range []bool{false, true} {
			name := client + "/first order"
			if renewal {
				name = client + "/renewal"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				fullDisk(t, client, renewal)
			})
		}
	}
}

func fullDisk(t *testing.T, client string, renewal bool) {
	t.Helper()
	life, state, words, serving, exit := 90*24*time.Hour, "fallback", "NOT OBTAINED; clients get the internal certificate", "the internal certificate", 1
	if renewal {
		life, state, words, serving, exit = 15*time.Second, "failing", "valid, but its renewal fails", "the old certificate, which is still valid", 0
	}
	authority := pebble.New(t, pebble.Config{Life: life})
	if renewal {
		authority.RenewIn(4 * time.Second)
	}
	dir := t.TempDir()
	disk, serverRoots, config := filepath.Join(dir, "disk"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "culvert.yaml")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, serverRoots, string(authority.ServerRoots))
	write(t, config, fmt.Sprintf(`log: {level: info, format: json}
listen: {rtmp: "", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {mode: acme, domains: [%s], acme: {client: %s, directory: %q, roots: %s, retry: 1s}}
`, authority.Host, client, authority.Directory, serverRoots))
	fill := "true"
	if !renewal {
		fill = `{ cat /dev/zero >"$0/fill" 2>/dev/null || true; }`
	}
	s := serveCommand(t, []string{
		"unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=256k tmpfs "$0" && ` + fill + ` && CULVERT_TLS_STORAGE=$0 exec "$@"`,
		disk, culvert(t), "serve", "-c", config,
	})
	inside := filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "root", disk, "fill")
	authority.Serve(tcpPort(t, s.addr(t, "http")), tcpPort(t, s.addr(t, "https")))
	const valid = "state      valid\n  issuer     Pebble"
	if renewal {
		eventually(t, "the first certificate", func() bool { return strings.Contains(s.status(t, 0, 1), valid) })
		if err := os.WriteFile(inside, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
	}
	eventually(t, "the status of a full disk", func() bool { return strings.Contains(s.status(t, 0, 1), "the disk with tls.storage is full") })
	if text := s.status(t, exit); !strings.Contains(text, words) || !strings.Contains(text, "next try") {
		t.Errorf("culvert status:\n%s", text)
	}
	s.wantsLog(t, `"certificate not obtained"`, authority.Host, "the disk with tls.storage is full", `"serving":"`+serving+`"`)
	labels := fmt.Sprintf(`{name=%q,source="acme"`, authority.Host)
	for series, least := range map[string]float64{
		`culvert_acme_orders_total{result="failed"}`:                         1,
		"culvert_tls_certificate_failures" + labels + "}":                    1,
		"culvert_tls_certificate_state" + labels + `,state="` + state + `"}`: 1,
	} {
		if got := s.metric(t, series); got < least {
			t.Errorf("metric %s is %v", series, got)
		}
	}
	insecure := &tls.Dialer{Config: &tls.Config{ServerName: authority.Host, InsecureSkipVerify: true}} //nolint:gosec // any certificate will do
	conn, err := insecure.DialContext(t.Context(), "tcp", s.addr(t, "https"))
	if err != nil {
		t.Fatalf("clients are not served: %v", err)
	}
	conn.Close()
	if err := os.Remove(inside); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate", func() bool { return strings.Contains(s.status(t, 0, 1), valid) })
}

// TestCheckACME runs the pre-flight as an operator does; what it finds is TestPreflight's. Its only name is a private one, which is looked up nowhere.
func TestCheckACME(t *testing.T) {
	t.Parallel()
	authority := pebble.New(t, pebble.Config{})
	authority.Serve(1, 1) // nothing is proved here
	dir := t.TempDir()
	serverRoots, config := filepath.Join(dir, "server.pem"), filepath.Join(dir, "culvert.yaml")
	write(t, serverRoots, string(authority.ServerRoots))
	write(t, config, fmt.Sprintf(`listen: {rtmp: "", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {mode: acme, domains: [studio.lan], storage: %s, acme: {directory: %q, roots: %s}}
`, filepath.Join(dir, "disk"), authority.Directory, serverRoots))
	args := []string{culvert(t), "check", "--acme", "-c", config}
	out := run(t, "culvert check --acme", args...)
	for _, want := range []string{"studio.lan: no public authority", "storage: ", "authority " + authority.Directory + ": answers", "clock: agrees"} {
		if !strings.Contains(out, "ok       "+want) {
			t.Errorf("culvert check --acme lacks %q:\n%s", want, out)
		}
	}
	authority.Stop()
	down := start(t, "culvert check --acme without an authority", args)
	down.wait(t, 1)
	if !strings.Contains(down.out.String(), "PROBLEM  authority "+authority.Directory+": the authority cannot be reached") {
		t.Errorf("culvert check --acme without an authority:\n%s", down.out)
	}
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
	pem := run(t, "culvert ca root", "env", "CULVERT_LISTEN_ADMIN="+s.addr(t, "admin"), culvert(t), "ca", "root", "-c", config)
	write(t, root, pem)
	if served := s.get(t, "/ca.pem"); strings.TrimSpace(served) != strings.TrimSpace(pem) {
		t.Errorf("the admin listener serves another authority:\n%s", served)
	}
	help := run(t, "culvert ca root --help", culvert(t), "ca", "root", "--help")
	for _, system := range []string{"Debian", "Fedora", "Alpine", "Arch", "macOS", "Windows", "Android, iOS", "Firefox", "OBS"} {
		if !strings.Contains(help, "\n  "+system) {
			t.Errorf("culvert ca root --help lacks the steps for %s", system)
		}
	}
	url := "rtmps://localhost:" + strconv.Itoa(tcpPort(t, s.addr(t, "https"))) + "/live/root"
	run(t, "ffmpeg", "ffmpeg", "-v", "warning", "-nostdin", "-re", "-t", "1", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-f", "flv", "-tls_verify", "1", "-ca_file", root, url)
}
