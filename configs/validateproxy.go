package configs

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Bounds of what a section proxy may say.
const (
	maxBackends = 256
	maxRoutes   = 1000
	maxWeight   = 1000
	maxRetries  = 10
	maxReady    = 64
	maxChecks   = 100
	maxText     = 1024
)

// templatePlace is what a text with places may have in braces.
var templatePlace = regexp.MustCompile(`^(host|app|instance|stream|query)(\.[1-9])?$`)

func (v *checker) routes(routes []Route) {
	if len(routes) > maxRoutes {
		v.add("routes", "has more than %d entries", maxRoutes)
	}
	for i, r := range routes {
		key := fmt.Sprintf("routes[%d]", i)
		oneOf(v, key+".mode", r.Mode, RouteRouted, RouteTransparent)
		oneOf(v, key+".for", r.For, ForAll, ForPublish, ForPlay)
		oneOf(v, key+".listener", r.Listener, "", "rtmp", "http", "https")
		for _, p := range []struct{ name, text string }{
			{"host", r.Host}, {"app", r.App}, {"instance", r.Instance}, {"stream", r.Stream}, {"query", r.Query},
		} {
			v.pattern(key+"."+p.name, p.text)
			if r.Mode == RouteTransparent && p.name != "host" && p.text != "" {
				v.add(key+"."+p.name, "cannot be known in transparent mode: only listener, host and clients can")
			}
		}
		if r.Mode == RouteTransparent && r.For != ForAll {
			v.add(key+".for", "cannot be known in transparent mode: only listener, host and clients can")
		}
		v.prefixes(key+".clients", r.Clients)
		if len(r.Proxy.To) == 0 {
			v.add(key+".proxy.to", "names no server: add one, such as rtmp://10.0.0.1")
		}
		v.proxy(key+".proxy", r.Proxy, r.Mode == RouteTransparent)
	}
}

// text checks what clients send in addresses, and reports whether it may stand there.
func (v *checker) text(key, text string) bool {
	switch {
	case len(text) > maxText:
		v.add(key, "has more than %d bytes", maxText)
	case strings.ContainsFunc(text, unicode.IsControl):
		v.add(key, "has control characters")
	default:
		return true
	}
	return false
}

// pattern checks a name with * in it, or a regular expression behind ~.
func (v *checker) pattern(key, text string) {
	if !v.text(key, text) {
		return
	}
	if expr, ok := strings.CutPrefix(text, "~"); ok {
		if _, err := regexp.Compile(expr); err != nil {
			v.add(key, "is no regular expression: %w", err)
		}
	}
}

// template checks a text with places.
func (v *checker) template(key, text string) {
	if !v.text(key, text) {
		return
	}
	for rest := text; ; {
		_, inside, found := strings.Cut(rest, "{")
		if !found {
			return
		}
		place, after, closed := strings.Cut(inside, "}")
		if !closed {
			v.add(key, "a { has no }")
			return
		}
		if !templatePlace.MatchString(place) {
			v.add(key, "{%s} is none of {host}, {app}, {instance}, {stream}, {query}, or one of them with the number of a capture, such as {app.1}", place)
		}
		rest = after
	}
}

func (v *checker) proxy(key string, p Proxy, transparent bool) {
	if len(p.To) > maxBackends {
		v.add(key+".to", "has more than %d entries", maxBackends)
	}
	seen := map[string]int{}
	for i, b := range p.To {
		at := fmt.Sprintf("%s.to[%d]", key, i)
		if addr, err := b.Parse(); err != nil {
			v.add(at, "%w", err)
		} else {
			v.template(at, addr.App)
			server := addr.Scheme + "://" + addr.Host + ":" + addr.Port
			if j, twice := seen[server]; twice {
				v.add(at, "is the server of %s.to[%d]: give one of them more weight instead", key, j)
			}
			seen[server] = i
		}
		between(v, at+".weight", b.Weight, 1, maxWeight)
	}
	oneOf(v, key+".balance", p.Balance, BalanceRoundRobin, BalanceLeast, BalanceHash, BalanceSticky)
	for _, t := range []struct{ name, text string }{{"app", p.App}, {"stream", p.Stream}, {"query", p.Query}, {"tc_url", p.TCURL}} {
		v.template(key+"."+t.name, t.text)
		if transparent && t.text != "" {
			v.add(key+"."+t.name, "cannot be changed in transparent mode")
		}
	}
	if transparent && p.ClientProperty != "" {
		v.add(key+".client_property", "cannot be added in transparent mode: use proxy_protocol")
	}
	between(v, key+".retries", p.Retries, 0, maxRetries)
	v.timeout(key+".connect_timeout", p.ConnectTimeout)
	between(v, key+".reconnect", p.Reconnect, 0, Duration(maxTimeout))
	between(v, key+".idle_timeout", p.IdleTimeout, 0, Duration(maxIdle))
	between(v, key+".max_time", p.MaxTime, 0, Duration(30*maxIdle))
	between(v, key+".ready", p.Ready, 0, maxReady)
	if transparent && p.Ready > 0 {
		v.add(key+".ready", "cannot be had in transparent mode: the handshake is the client's")
	}
	if p.Ready > 0 && p.ProxyProtocol != ProxyProtocolOff {
		v.add(key+".ready", "cannot be had with proxy_protocol, which must name the client first")
	}
	between(v, key+".slow_start", p.SlowStart, 0, Duration(maxTimeout))
	oneOf(v, key+".proxy_protocol", p.ProxyProtocol, ProxyProtocolOff, ProxyProtocolV1, ProxyProtocolV2)
	v.text(key+".client_property", p.ClientProperty)
	v.text(key+".check.app", p.Check.App)
	v.text(key+".check.stream", p.Check.Stream)
	v.host(key+".tls.name", p.TLS.Name)
	oneOf(v, key+".check.type", p.Check.Type, CheckOff, CheckTCP, CheckHandshake, CheckConnect, CheckPlay)
	v.timeout(key+".check.interval", p.Check.Interval)
	v.timeout(key+".check.timeout", p.Check.Timeout)
	between(v, key+".check.rise", p.Check.Rise, 1, maxChecks)
	between(v, key+".check.fall", p.Check.Fall, 1, maxChecks)
	between(v, key+".eject.failures", p.Eject.Failures, 0, maxCount)
	v.timeout(key+".eject.time", p.Eject.Time)
	v.authorities(key+".tls.ca", p.TLS.CA)
}
