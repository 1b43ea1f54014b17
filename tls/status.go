package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// State is the state of a certificate in one word.
type State string

// The states of a certificate.
const (
	Valid    State = "valid"    // served, nothing to do
	Failing  State = "failing"  // served and valid, but the last try to replace it failed
	Expired  State = "expired"  // served although it has ended, because nothing replaced it
	Pending  State = "pending"  // there is none yet, the first order is under way
	Fallback State = "fallback" // there is none, and the last order failed: clients get the internal certificate
)

// Status is what an operator wants to know about one certificate.
type Status struct {
	// Name is the name the certificate is for: the one asked for with ACME, else the first it stands for.
	Name string
	// Source is where it comes from: acme, files, internal.
	Source Mode
	State  State
	// Issuer signed the certificate. It and the three below are empty while there is none.
	Issuer              string
	Names               []string // DNS names and IP addresses
	NotBefore, NotAfter time.Time
	// LastError is in words why the last try failed, empty after a success; LastErrorAt is when, Failures how many in a row.
	LastError   string
	LastErrorAt time.Time
	Failures    int
	// NextTry is when it is ordered, renewed or looked at the next time. Zero: when its files change.
	NextTry time.Time
}

// describe fills in what the certificate itself says.
func (s *Status) describe(leaf *x509.Certificate) {
	s.Issuer = name(leaf.Issuer.CommonName, leaf.Issuer.String())
	s.Names = append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		s.Names = append(s.Names, ip.String())
	}
	s.NotBefore, s.NotAfter = leaf.NotBefore, leaf.NotAfter
}

// stateOf tells the state of what is served.
func stateOf(cert *tls.Certificate, failures int, now time.Time) State {
	switch {
	case cert == nil && failures > 0:
		return Fallback
	case cert == nil:
		return Pending
	case now.After(cert.Leaf.NotAfter):
		return Expired
	case failures > 0:
		return Failing
	}
	return Valid
}

// Orders counts orders with ACME since the start.
type Orders struct {
	Succeeded, Failed uint64
	// Refused counts names that were asked for in a handshake and not allowed (OnDemand).
	Refused uint64
}
