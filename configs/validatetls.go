package configs

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	minRetry  = time.Second
	maxHSTS   = 2 * 365 * 24 * time.Hour
	maxNames  = 100_000
	minLimit  = 1
	chainText = "the certificate and its intermediates in PEM form (fullchain.pem)"
	keyText   = "the private key in PEM form (privkey.pem)"
)

// acmeWarnings tells of names that no authority can prove, because nobody listens for its challenges.
func (c Config) acmeWarnings() []string {
	a := c.TLS.ACME
	if c.TLS.Mode != TLSACME || a.DNS.Provider != DNSOff {
		return nil
	}
	byHTTP := c.Listen.HTTP != "" && slices.Contains(a.Challenges, HTTP01)
	byTLS := c.Listen.HTTPS != "" && slices.Contains(a.Challenges, TLSALPN01)
	if byHTTP || byTLS {
		return nil
	}
	return []string{"tls.acme.challenges: nobody can answer them: http-01 needs listen.http, tls-alpn-01 needs listen.https"}
}

func (v *checker) tls(t TLS) {
	oneOf(v, "tls.mode", t.Mode, TLSInternal, TLSFiles, TLSACME, TLSOff)
	oneOf(v, "tls.min_version", t.MinVersion, TLS10, TLS12, TLS13)
	if t.Mode == TLSFiles {
		v.file("tls.cert", t.Cert, chainText)
		v.file("tls.key", t.Key, keyText)
	}
	v.names("tls.domains", t.Domains)
	for i, h := range t.Hosts {
		v.tlsHost(fmt.Sprintf("tls.hosts[%d]", i), h)
	}
	for _, ca := range []struct{ key, path string }{
		{"tls.client_ca.rtmp", t.ClientCA.RTMP}, {"tls.client_ca.http", t.ClientCA.HTTP}, {"tls.client_ca.https", t.ClientCA.HTTPS},
	} {
		v.authorities(ca.key, ca.path)
	}
	between(v, "tls.hsts", t.HSTS, 0, Duration(maxHSTS))
	if info, err := os.Stat(t.Storage); t.Storage != "" && err == nil && !info.IsDir() {
		v.add("tls.storage", "%s is a file: name a directory", t.Storage)
	}
	v.acme(t)
}

func (v *checker) names(key string, names []string) {
	for i, name := range names {
		if !validAddress(name) && !validHost(strings.TrimPrefix(name, "*.")) {
			v.add(fmt.Sprintf("%s[%d]", key, i), "%q is neither a host name nor an IP address", name)
		}
	}
}

// authorities checks a file of certificate authorities; there may be none.
func (v *checker) authorities(key, path string) {
	if path != "" {
		v.file(key, path, "certificate authorities in PEM form")
	}
}

// host checks a host name; there may be none.
func (v *checker) host(key, name string) {
	if name != "" && !validHost(name) {
		v.add(key, "%q is no host name", name)
	}
}

func (v *checker) tlsHost(key string, h TLSHost) {
	if len(h.Names) == 0 {
		v.add(key+".names", "is empty: list the names that this certificate is for")
	}
	v.names(key+".names", h.Names)
	oneOf(v, key+".mode", h.Mode, TLSFiles, TLSInternal)
	if h.Mode == TLSFiles {
		v.file(key+".cert", h.Cert, chainText)
		v.file(key+".key", h.Key, keyText)
	}
}

func (v *checker) acme(t TLS) {
	a := t.ACME
	if t.Mode == TLSACME && len(t.Domains) == 0 && !a.OnDemand.Enabled() {
		v.add("tls.domains", "is empty: mode acme needs the public names of this gateway, such as [live.example.com]")
	}
	oneOf(v, "tls.acme.client", a.Client, ACMECertmagic, ACMEAutocert)
	oneOf(v, "tls.acme.key_type", a.KeyType, KeyP256, KeyP384, KeyRSA2048, KeyRSA4096)
	if strings.ContainsAny(a.Email, " \t<>") || a.Email != "" && !strings.Contains(a.Email, "@") {
		v.add("tls.acme.email", "%q is no e-mail address", a.Email)
	}
	v.acmeAuthority("tls.acme", Authority{Directory: a.Directory, Roots: a.Roots, EAB: a.EAB})
	v.acmeAuthority("tls.acme.fallback", a.Fallback)
	between(v, "tls.acme.retry", a.Retry, Duration(minRetry), Duration(maxIdle))
	between(v, "tls.acme.on_demand.limit", a.OnDemand.Limit, minLimit, maxNames)
	v.names("tls.acme.on_demand.allow", a.OnDemand.Allow)
	v.url("tls.acme.on_demand.ask", a.OnDemand.Ask)
	v.challenges(t)
	if a.Client == ACMEAutocert {
		v.autocert(a)
	}
}

func (v *checker) acmeAuthority(key string, a Authority) {
	v.url(key+".directory", a.Directory)
	v.authorities(key+".roots", a.Roots)
	mac := a.EAB.HMAC.Reveal()
	switch _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(mac, "=")); {
	case a.EAB.KID != "" && mac == "":
		v.add(key+".eab.kid", "is set without hmac: they belong together")
	case err != nil:
		v.add(key+".eab.hmac", "is not base64url")
	case a.EAB.KID == "" && mac != "":
		v.add(key+".eab.hmac", "is set without kid: they belong together")
	}
}

// url checks an address that may be empty.
func (v *checker) url(key, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		v.add(key, "%q is no URL: write https://HOST/PATH", text)
	}
}

// challenges checks that each name can be proved somehow.
func (v *checker) challenges(t TLS) {
	a := t.ACME
	dns := false
	for i, c := range a.Challenges {
		oneOf(v, fmt.Sprintf("tls.acme.challenges[%d]", i), c, HTTP01, TLSALPN01, DNS01)
		dns = dns || c == DNS01
	}
	if len(a.Challenges) == 0 {
		v.add("tls.acme.challenges", "is empty: list http-01, tls-alpn-01 or dns-01")
	}
	for i, name := range t.Domains {
		if t.Mode == TLSACME && strings.HasPrefix(name, "*.") && a.DNS.Provider == DNSOff {
			v.add(fmt.Sprintf("tls.domains[%d]", i), "%s is a wildcard, which only dns-01 can prove: set tls.acme.dns.provider", name)
		}
	}
	v.dns(a.DNS)
	if dns && a.DNS.Provider == DNSOff {
		v.add("tls.acme.challenges", "has dns-01, and tls.acme.dns.provider is off: choose rfc2136, webhook or exec")
	}
}

func (v *checker) dns(d DNS) {
	oneOf(v, "tls.acme.dns.provider", d.Provider, DNSOff, DNSRFC2136, DNSWebhook, DNSExec)
	between(v, "tls.acme.dns.propagation", d.Propagation, 0, Duration(time.Hour))
	for i, r := range d.Resolvers {
		if _, _, err := net.SplitHostPort(r); err != nil {
			v.add(fmt.Sprintf("tls.acme.dns.resolvers[%d]", i), "%q is no address: write host:port, such as 192.0.2.53:53", r)
		}
	}
	v.host("tls.acme.dns.delegate", d.Delegate)
	v.rfc2136(d.RFC2136)
	v.url("tls.acme.dns.webhook.url", d.Webhook.URL)
	if !printable(d.Webhook.Token.Reveal()) {
		v.add("tls.acme.dns.webhook.token", "has characters that no header can carry")
	}
	for i, word := range d.Exec {
		if !printable(word) {
			v.add(fmt.Sprintf("tls.acme.dns.exec[%d]", i), "has control characters")
		}
	}
	switch d.Provider {
	case DNSRFC2136:
		if d.RFC2136.Server == "" {
			v.add("tls.acme.dns.rfc2136.server", "is needed with provider rfc2136: name the zone's primary server")
		}
	case DNSWebhook:
		if d.Webhook.URL == "" {
			v.add("tls.acme.dns.webhook.url", "is needed with provider webhook")
		}
	case DNSExec:
		if len(d.Exec) == 0 {
			v.add("tls.acme.dns.exec", "is needed with provider exec: name a program")
		}
	case DNSOff:
	}
}

func (v *checker) rfc2136(r RFC2136) {
	const key = "tls.acme.dns.rfc2136"
	host, _, err := net.SplitHostPort(r.Server)
	if err != nil {
		host = strings.Trim(r.Server, "[]")
	}
	if r.Server != "" && !validAddress(host) {
		v.add(key+".server", "%q is neither host nor host:port", r.Server)
	}
	if r.Key != "" && r.Secret.Reveal() == "" {
		v.add(key+".key", "is set without secret: they belong together")
	}
	switch _, err := base64.StdEncoding.DecodeString(r.Secret.Reveal()); {
	case err != nil:
		v.add(key+".secret", "is not base64")
	case r.Key == "" && r.Secret.Reveal() != "":
		v.add(key+".secret", "is set without key: they belong together")
	}
	oneOf(v, key+".algorithm", r.Algorithm, "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F })
}

// autocert checks that the small client is not asked for what it cannot do.
func (v *checker) autocert(a ACME) {
	const way = ": autocert cannot do that, set tls.acme.client to certmagic"
	if a.KeyType != KeyP256 {
		v.add("tls.acme.key_type", "is %s%s", a.KeyType, way)
	}
	if a.Fallback.Directory != "" {
		v.add("tls.acme.fallback", "is set%s", way)
	}
	if a.DNS.Provider != DNSOff {
		v.add("tls.acme.dns.provider", "is %s%s", a.DNS.Provider, way)
	}
}
