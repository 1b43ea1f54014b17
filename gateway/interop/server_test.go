//go:build interop

package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a gateway of its own for one group of tests.
type server struct {
	*process
	ca string // PEM file of the certificate authority its chain ends in

	chain, key string // PEM files of the chain and its key

	mu    sync.Mutex
	addrs map[string]string // listener name to host:port
	ready bool
	fault string // first line that no healthy gateway writes
}

// faults are what a healthy gateway never writes. The race detector's reports and panics do not go through the log.
var faults = regexp.MustCompile(`^(WARNING: DATA RACE|panic: |fatal error: |goroutine \d+ \[|runtime: )|"level":"(panic|fatal)"`)

// serve starts a gateway: RTMP, HTTP, HTTPS and admin on ports of the kernel's choice, a certificate chain from files,
// anyone on loopback may publish and play. More YAML is appended to its configuration.
func serve(t *testing.T, more ...string) *server {
	t.Helper()
	return serveListen(t, "", more...)
}

// serveTrusting starts a gateway that believes what a proxy on this machine says of its clients.
func serveTrusting(t *testing.T, more ...string) *server {
	t.Helper()
	return serveListen(t, ", trusted_proxies: [127.0.0.1]", more...)
}

// serveListen is serve with more settings of listen, such as ", client_header: forwarded".
func serveListen(t *testing.T, listen string, more ...string) *server {
	t.Helper()
	dir := t.TempDir()
	chain, key, ca := certificates(t, dir)
	config := filepath.Join(dir, "culvert.yaml")
	write(t, config, fmt.Sprintf(`log: {level: debug, format: json}
listen: {rtmp: "127.0.0.1:0", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"%s}
tls: {mode: files, cert: %q, key: %q}
shutdown: {drain: 5s}
%s
`, listen, chain, key, strings.Join(more, "\n")))
	s := serveArgs(t, "serve", "-c", config)
	s.ca, s.chain, s.key = ca, chain, key
	return s
}

// serveArgs starts a gateway by the words after `culvert` and waits until it is ready.
func serveArgs(t *testing.T, args ...string) *server {
	t.Helper()
	return serveCommand(t, append([]string{culvert(t)}, args...))
}

// serveCommand starts a gateway by a whole command line, which may set it up first.
func serveCommand(t *testing.T, args []string) *server {
	t.Helper()
	s := &server{addrs: map[string]string{}}
	s.process = start(t, "culvert serve", args,
		onLine(s.line), env("CULVERT_TLS_STORAGE="+t.TempDir(), "GORACE=halt_on_error=0 exitcode=66"))
	t.Cleanup(func() { s.stop(t) })
	eventually(t, "the gateway's ready line", func() bool {
		s.requireRunning(t)
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ready
	})
	return s
}

// line reads one line of the gateway's log.
func (s *server) line(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == "" && faults.MatchString(line) {
		s.fault = line
	}
	var entry struct{ Message, Listener, Addr string }
	if json.Unmarshal([]byte(line), &entry) != nil {
		return
	}
	switch entry.Message {
	case "listening":
		s.addrs[entry.Listener] = entry.Addr
	case "ready":
		s.ready = true
	}
}

// stop ends the gateway in good order and fails the test if it does not end so.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	s.wait(t)
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != "" {
		t.Errorf("the gateway wrote %q; its last lines:\n%s", fault, s.out)
	}
}

// addr returns the address of a listener: rtmp, http, https or admin.
func (s *server) addr(t *testing.T, listener string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, ok := s.addrs[listener]
	if !ok {
		t.Fatalf("the gateway logged no listener %q, only %v", listener, s.addrs)
	}
	return addr
}

// url returns the address of a stream over one of the transports.
func (s *server) url(t *testing.T, transport, stream string) string {
	t.Helper()
	listener := map[string]string{"rtmp": "rtmp", "rtmps": "https", "rtmpt": "http", "rtmpts": "https", "rtmpe": "rtmp", "rtmpte": "http"}[transport]
	return transport + "://" + s.addr(t, listener) + "/live/" + stream
}

// memory returns the resident memory of the gateway in bytes, without the pages of its file, which the kernel takes and gives as it likes; zero where
// the system does not tell.
func (s *server) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	} else if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// seconds formats a duration for command lines.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
