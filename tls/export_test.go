package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// NewStore is the storage of ACME below a directory, "" is memory. Explain says an error of an order in words.
var (
	NewStore = newStore
	Explain  = explain
)

// Due is when a try that is kept is due after a start.
func Due(at, next time.Time, firm bool, now time.Time) time.Time {
	return try{At: at, Next: next, Firm: firm}.due(now)
}

// CheckChain and CheckDates are the checks of Files with roots and a time of the test's choice.
func CheckChain(path string, certs []*x509.Certificate, roots *x509.CertPool) []string {
	return checkChain(path, certs, roots)
}

func CheckDates(path string, certs []*x509.Certificate, now time.Time) []string {
	return checkDates(path, certs, now)
}

// Pause is how long a keeper waits after a number of failures; held may be nil.
func Pause(retry time.Duration, failures int, held *tls.Certificate, now time.Time) time.Duration {
	return (&keeper{m: &managed{retry: retry}}).pause(failures, held, now)
}

// RenewAt is when a certificate is renewed that the authority wants to be renewed at suggested; zero: it does not say.
func RenewAt(cert *tls.Certificate, suggested time.Time) time.Time {
	return (&keeper{suggested: suggested}).renewAt(cert)
}
