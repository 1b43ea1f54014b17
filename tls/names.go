package tlsconf

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// canonicalName is how names are compared: in lower case, without the dot of the root.
func canonicalName(name string) string {
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			name = strings.ToLower(name)
			break
		}
	}
	return strings.TrimSuffix(name, ".")
}

// splitNames tells names that a public authority can vouch for from the rest: IP addresses, localhost, names without a dot, and the domains that
// stand for a private network (.internal, .local, .home.arpa and the like).
func splitNames(names []string) (public, private []string) {
	for _, n := range names {
		if _, err := netip.ParseAddr(n); err != nil && IsPublicName(n) {
			public = append(public, canonicalName(n))
		} else {
			private = append(private, n)
		}
	}
	return public, private
}

// IsPublicName tells whether a public authority can vouch for a DNS name, by its form alone.
func IsPublicName(name string) bool {
	name = canonicalName(name)
	base := strings.TrimPrefix(name, "*.")
	return validName(base) && strings.Contains(base, ".") && !strings.HasSuffix(base, ".lan") && certmagic.SubjectQualifiesForPublicCert(name)
}

// usable tells whether a verifying client that trusts the issuer accepts cert for host now.
func usable(cert *tls.Certificate, host string) bool {
	now := time.Now()
	return now.After(cert.Leaf.NotBefore) && now.Before(cert.Leaf.NotAfter) && cert.Leaf.VerifyHostname(host) == nil
}
