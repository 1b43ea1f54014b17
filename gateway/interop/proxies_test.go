//go:build interop

package interop_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"culvert/tunnel"
)

// Proxies of Debian between client and gateway. Each comes to the gateway from a loopback address of its own, so that the log tells them
// apart from each other and from the clients, which come from 127.0.0.1.
const (
	squidFrom     = "127.0.0.2"
	tinyproxyFrom = "127.0.0.3"
	trustedFrom   = "127.0.2.0/24" // nginx and HAProxy, an address for each way they are set up

	publishKey = "k3y"
)

// behindProxies is a gateway that keeps what it logs of streams and of proxies.
type behindProxies struct {
	*server

	mu    sync.Mutex
	lines []proxyLine
}

const sessionOpened = "tunnel session opened"

// proxyLine is a line of the log.
type proxyLine struct {
	Level, Message, Stream, Remote, Proxy, Kind string
	Requests                                    int
}

// serveBehindProxies starts a gateway that trusts the reverse proxies. Who comes through a proxy is not local and needs the key.
func serveBehindProxies(t *testing.T, more ...string) *behindProxies {
	t.Helper()
	s := &behindProxies{server: serveListen(t, ", trusted_proxies: ["+trustedFrom+"]",
		append(more, `apps: {"*": {publish: {keys: [`+publishKey+`]}}}`)...)}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	before := s.out.onLine
	s.out.onLine = func(line string) {
		before(line)
		var l proxyLine
		if json.Unmarshal([]byte(line), &l) != nil || l.Stream == "" && l.Proxy == "" && l.Message != sessionOpened {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lines = append(s.lines, l)
	}
	return s
}

// requireRemote waits for the lines about the publisher and the players of a stream and checks the clients' addresses on all of them.
func (s *behindProxies) requireRemote(t *testing.T, stream string, ok func(remote string) bool) {
	t.Helper()
	of := func(l proxyLine) bool { return l.Stream == stream }
	eventually(t, "the lines about "+stream, func() bool { return len(s.matching(of)) >= 3 })
	for _, l := range s.matching(of) {
		if !ok(l.Remote) {
			t.Errorf("not the client's address: %+v", l)
		}
	}
}

// matching returns the lines so far.
func (s *behindProxies) matching(ok func(proxyLine) bool) (lines []proxyLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if ok(l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// requireSessionFrom opens a session from an address of this machine and checks that the gateway knows it by that, or by another one.
func (s *behindProxies) requireSessionFrom(t *testing.T, d tunnel.Dialer, url, from, want string) {
	t.Helper()
	local := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	d.DialConn = local.DialContext
	c, err := d.Dial(background(t), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{3}); err != nil { // a request of the session, on whatever connection the proxy has
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a session from "+want, func() bool {
		return len(s.matching(func(l proxyLine) bool {
			host, _, err := net.SplitHostPort(l.Remote)
			return l.Message == sessionOpened && err == nil && host == want
		})) > 0
	})
}

// requireFindings checks what was found out about a proxy.
func (s *behindProxies) requireFindings(t *testing.T, proxy string, kinds ...string) {
	t.Helper()
	eventually(t, "what the log says of "+proxy, func() bool { return len(s.findings(proxy)) >= len(kinds) })
	got := s.findings(proxy)
	slices.Sort(got)
	slices.Sort(kinds)
	if !slices.Equal(got, kinds) {
		t.Errorf("of the proxy at %s the log says %q, want %q", proxy, got, kinds)
	}
}

func (s *behindProxies) findings(proxy string) (kinds []string) {
	for _, l := range s.matching(func(l proxyLine) bool { return l.Proxy == proxy }) {
		kinds = append(kinds, l.Kind)
	}
	return kinds
}

// deployed returns a file of configs/deploy with the machine's own in place of the example's: pairs of old and new. Each old must be there.
func deployed(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../configs/deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}

// startSquid starts squid as a plain HTTP proxy that keeps its connections.
func startSquid(t *testing.T) (addr string) {
	t.Helper()
	need(t, "squid")
	addr = reserve(t)
	path := filepath.Join(t.TempDir(), "squid.conf")
	write(t, path, `http_port `+addr+`
tcp_outgoing_address `+squidFrom+`
http_access allow all
cache deny all
access_log none
cache_log stdio:/dev/null
pid_filename none
coredump_dir /
netdb_filename none
shutdown_lifetime 0 seconds
pinger_enable off
`)
	// As its own user it cannot enter the folder, but can read the file that it is given.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	p := start(t, "squid", []string{"squid", "-N", "-f", "/dev/stdin"}, as(t, "proxy"), input(config))
	p.awaitListening(t, addr)
	return addr
}

// startTinyproxy starts tinyproxy, which closes its connections after each request.
func startTinyproxy(t *testing.T) (addr string) {
	t.Helper()
	need(t, "tinyproxy")
	addr = reserve(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tinyproxy.conf")
	write(t, path, "Listen "+host+"\nPort "+port+"\nBind "+tinyproxyFrom+"\nTimeout 60\nMaxClients 100\nLogLevel Warning\nLogFile \"/dev/null\"\n")
	startListening(t, []string{"tinyproxy", "-d", "-c", path}, addr)
	return addr
}
