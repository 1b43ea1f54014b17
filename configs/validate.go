package configs

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requestSlack is what the body of a tunnel request may hold beside one message of the largest size: chunk headers, and small messages around it.
const requestSlack = 64 * KiB

// Bounds of values that only have to be sane. The protocol's own: a message length has 24 bits (RTMP 1.0 §5.3.1.2.1), a chunk stream ID goes
// from 2 to 65599 (§5.3.1.1).
const (
	maxMessage      = 0xFFFFFF
	maxChunkStreams = 65598
	maxMemory       = 1 * GiB
	maxCount        = 10_000_000
	maxHandshakes   = 4096 // each waits for those before it
	minTimeout      = 10 * time.Millisecond
	maxTimeout      = 10 * time.Minute
	maxIdle         = 24 * time.Hour
	maxAMFDepth     = 256
	maxAMFValues    = 1 << 20
	maxHead         = 16 * KiB
	maxHold         = 15 * time.Second // NATs forget a silent flow after 15 s
	maxEarly        = 8                // the tunnel takes no number further ahead
	maxCoalesce     = 100 * time.Millisecond
	minWindow       = time.Millisecond
	maxWindow       = 2 * time.Second
)

// checker collects problems by key path.
type checker struct{ problems []*Problem }

func (c *checker) add(key, format string, args ...any) {
	c.problems = append(c.problems, &Problem{Key: key, Err: fmt.Errorf(format, args...)})
}

// Validate reports everything that is wrong with c, as [Problem] values joined by errors.Join, or nil. It looks at files that c names and changes
// nothing. [Load] calls it.
func (c Config) Validate() error { return join(c.validate()) }

func (c Config) validate() []*Problem {
	var v checker
	oneOf(&v, "log.level", c.Log.Level, LogTrace, LogDebug, LogInfo, LogWarn, LogError)
	oneOf(&v, "log.format", c.Log.Format, LogAuto, LogConsole, LogJSON)
	v.listen(c.Listen)
	v.tls(c.TLS)
	v.apps(c.Apps)
	v.routes(c.Routes)
	v.limits(c.Limits)
	between(&v, "shutdown.drain", c.Shutdown.Drain, 0, Duration(maxTimeout))
	return v.problems
}

// Warnings returns what is allowed and probably not meant, one sentence each, starting with the key path.
func (c Config) Warnings() []string {
	var out []string
	if host, _, err := net.SplitHostPort(c.Listen.Admin); err == nil && !loopback(host) {
		out = append(out, fmt.Sprintf("listen.admin: %s can be reached from other machines, and the admin listener asks nobody who they are: "+
			"use 127.0.0.1, or make sure that a firewall keeps strangers out", c.Listen.Admin))
	}
	if c.TLS.Mode == TLSOff && c.Listen.HTTPS != "" {
		out = append(out, "listen.https: tls.mode is off, so nobody can speak TLS there: set it to \"\", or choose another tls.mode")
	}
	if c.TLS.Mode != TLSFiles && c.TLS.Mode != TLSOff && (c.TLS.Cert != "" || c.TLS.Key != "") {
		out = append(out, fmt.Sprintf("tls.cert, tls.key: not used with tls.mode %s: set tls.mode to files, or name them in tls.hosts", c.TLS.Mode))
	}
	out = append(out, c.acmeWarnings()...)
	for _, p := range c.Listen.TrustedProxies {
		if p.Bits() == 0 {
			out = append(out, fmt.Sprintf("listen.trusted_proxies: %s trusts everyone: any client can claim any address", p))
		}
	}
	return out
}

// loopback tells whether only this machine can reach a listener on host.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

func (v *checker) listen(l Listen) {
	type listener struct{ key, host, port string }
	var seen []listener
	for _, a := range []struct{ key, address string }{
		{"listen.rtmp", l.RTMP}, {"listen.http", l.HTTP}, {"listen.https", l.HTTPS}, {"listen.admin", l.Admin},
	} {
		if a.address == "" {
			continue
		}
		host, port, err := splitAddress(a.address)
		if err != nil {
			v.add(a.key, "%w", err)
			continue
		}
		for _, s := range seen {
			if port == s.port && port != "0" && (host == s.host || wildcard(host) || wildcard(s.host)) {
				v.add(a.key, "%s is taken by %s: choose another port%s", a.address, s.key, shareHint(a.key))
				break
			}
		}
		seen = append(seen, listener{a.key, host, port})
	}
	if l.RTMP == "" && l.HTTP == "" && l.HTTPS == "" {
		v.add("listen", "rtmp, http and https are all switched off: give at least one an address, such as rtmp: \":1935\"")
	}
	oneOf(v, "listen.client_header", l.ClientHeader, ClientXForwardedFor, ClientForwarded, ClientXRealIP)
	v.prefixes("listen.trusted_proxies", l.TrustedProxies)
}

func (v *checker) prefixes(key string, list []Prefix) {
	for i, p := range list {
		if !p.IsValid() {
			v.add(fmt.Sprintf("%s[%d]", key, i), "is no address: write 192.0.2.7 or 10.0.0.0/8")
		}
	}
}

func shareHint(key string) string {
	if key == "listen.admin" {
		return ""
	}
	return ", or \"\" to switch one off (every listener takes all protocols)"
}

// splitAddress takes host:port apart; host may be empty, an IP address or a host name.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("%q is not an address: write host:port, such as 127.0.0.1:1935 or [::1]:1935, or :1935 for all interfaces", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", "", fmt.Errorf("%q has no port number from 0 to 65535", address)
	}
	if host != "" && !validAddress(host) {
		return "", "", fmt.Errorf("%q names no host: write an IP address or a host name before the colon", address)
	}
	return host, strconv.FormatUint(n, 10), nil
}

// validAddress reports whether a text is an IP address or a host name.
func validAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || validHost(host)
}

func wildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// validHost tells whether name is a DNS host name: labels of letters, digits and inner hyphens. Underscores are let through, as Docker uses them.
func validHost(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !alphanumeric(r) && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// file checks that path names a file that can be opened.
func (v *checker) file(key, path, what string) {
	if path == "" {
		v.add(key, "is needed with mode files: name %s", what)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			v.add(key, "file not found: %s", path)
		} else {
			v.add(key, "%w", err)
		}
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		v.add(key, "%s is a directory: name %s", path, what)
	}
}

func (v *checker) limits(l Limits) {
	between(v, "limits.message", l.Message, 64*KiB, maxMessage)
	between(v, "limits.command", l.Command, 4*KiB, maxMessage)
	between(v, "limits.chunk_streams", l.ChunkStreams, 8, maxChunkStreams)
	between(v, "limits.partial", l.Partial, 64*KiB, maxMemory)
	between(v, "limits.amf_depth", l.AMFDepth, 4, maxAMFDepth)
	between(v, "limits.amf_values", l.AMFValues, 64, maxAMFValues)
	v.timeout("limits.handshake_timeout", l.HandshakeTimeout)
	v.timeout("limits.sniff_timeout", l.SniffTimeout)
	between(v, "limits.idle_timeout", l.IdleTimeout, Duration(minTimeout), Duration(maxIdle))
	v.timeout("limits.write_timeout", l.WriteTimeout)
	between(v, "limits.queue", l.Queue, 64*KiB, maxMemory)
	v.timeout("limits.queue_time", l.QueueTime)
	between(v, "limits.queue_close", l.QueueClose, 64*KiB, maxMemory)
	between(v, "limits.connections", l.Connections, 1, maxCount)
	between(v, "limits.connections_per_address", l.ConnectionsPerAddress, 1, maxCount)
	between(v, "limits.rtmpe_handshakes", l.RTMPEHandshakes, 1, maxHandshakes)
	v.timeout("limits.swf_timeout", l.SWFTimeout)
	atLeast(v, "limits.message", l.Message, "limits.command", l.Command, "a command is a message")
	atLeast(v, "limits.partial", l.Partial, "limits.message", l.Message, "one message may arrive in pieces")
	atLeast(v, "limits.queue_close", l.QueueClose, "limits.queue", l.Queue, "frames are dropped before the player is closed")

	t := l.Tunnel
	between(v, "limits.tunnel.sessions", t.Sessions, 1, maxCount)
	between(v, "limits.tunnel.sessions_per_address", t.SessionsPerAddress, 1, maxCount)
	v.timeout("limits.tunnel.open_timeout", t.OpenTimeout)
	v.timeout("limits.tunnel.idle_timeout", t.IdleTimeout)
	between(v, "limits.tunnel.head", t.Head, 1*KiB, maxHead)
	v.timeout("limits.tunnel.head_timeout", t.HeadTimeout)
	between(v, "limits.tunnel.request", t.Request, 128*KiB, maxMemory)
	v.timeout("limits.tunnel.body_timeout", t.BodyTimeout)
	between(v, "limits.tunnel.answer", t.Answer, 4*KiB, maxMessage)
	between(v, "limits.tunnel.unread", t.Unread, 4*KiB, maxMemory)
	between(v, "limits.tunnel.received", t.Received, 128*KiB, maxMemory)
	v.timeout("limits.tunnel.stall_timeout", t.StallTimeout)
	between(v, "limits.tunnel.early_requests", t.EarlyRequests, 1, maxEarly)
	between(v, "limits.tunnel.early_bytes", t.EarlyBytes, 4*KiB, maxMemory)
	v.timeout("limits.tunnel.early_timeout", t.EarlyTimeout)
	between(v, "limits.tunnel.guesses", t.Guesses, 1, maxCount)
	between(v, "limits.tunnel.guess_delay", t.GuessDelay, Duration(time.Millisecond), Duration(maxHold))
	v.timeout("limits.tunnel.keep_alive", t.KeepAlive)
	between(v, "limits.tunnel.coalesce", t.Coalesce, 0, Duration(maxCoalesce))
	atLeast(v, "limits.tunnel.received", t.Received, "limits.tunnel.request", t.Request, "one request may wait to be read")
	between(v, "limits.tunnel.hold", t.Hold, 0, Duration(maxHold))
	between(v, "limits.tunnel.hold_setup", t.HoldSetup, 0, Duration(maxHold))
	atLeast(v, "limits.tunnel.request", t.Request, "limits.message and 64KiB", l.Message+requestSlack, "a client sends a whole frame in one request")
	atLeast(v, "limits.tunnel.unread", t.Unread, "limits.tunnel.answer", t.Answer, "one answer may be unread")
	atLeast(v, "limits.tunnel.idle_timeout", t.IdleTimeout, "limits.tunnel.hold", t.Hold, "a session is not idle while its request is held")
}

func (v *checker) timeout(key string, d Duration) {
	between(v, key, d, Duration(minTimeout), Duration(maxTimeout))
}

// quantity is what has a size: it compares and prints with its unit.
type quantity interface {
	cmp.Ordered
	Size | Duration | int
}

func between[T quantity](v *checker, key string, value, low, high T) {
	if value < low || value > high {
		v.add(key, "%v is out of range: use %v to %v", value, low, high)
	}
}

// atLeast compares two keys with each other.
func atLeast[T quantity](v *checker, key string, value T, other string, low T, why string) {
	if value < low {
		v.add(key, "%v is less than %s (%v): %s", value, other, low, why)
	}
}

func oneOf[T ~string](v *checker, key string, value T, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	v.add(key, "%q is not one of %s", string(value), strings.Join(names, ", "))
}
