package tlsconf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"
	"golang.org/x/crypto/acme"
)

// problem is what an authority says is wrong, whichever library reports it.
type problem struct {
	kind   string // after urn:ietf:params:acme:error:, empty when it is none of ACME's
	status int    // of HTTP
	detail string
	after  time.Duration // Retry-After; 0 when it is not said
}

// problemOf returns the innermost problem of an authority behind err.
func problemOf(err error) (problem, bool) {
	var p acmez.Problem
	if errors.As(err, &p) {
		out := problem{kind: p.Type, status: p.Status, detail: p.Detail}
		for _, s := range p.Subproblems {
			out.detail = strings.TrimSpace(out.detail + " " + s.Detail)
		}
		out.kind = strings.TrimPrefix(out.kind, acmez.ProblemTypeNamespace)
		return out, true
	}
	var failed *acme.AuthorizationError
	if errors.As(err, &failed) {
		for _, e := range failed.Errors {
			if p, ok := problemOf(e); ok {
				return p, true
			}
		}
	}
	var e *acme.Error
	if errors.As(err, &e) {
		out := problem{kind: strings.TrimPrefix(e.ProblemType, acmez.ProblemTypeNamespace), status: e.StatusCode, detail: strings.TrimSpace(e.Detail)}
		if s, convErr := strconv.Atoi(e.Header.Get("Retry-After")); convErr == nil {
			out.after = time.Duration(s) * time.Second
		}
		return out, true
	}
	return problem{}, false
}

// cause is the kind, corrected by the detail: authorities file some failures under another kind than others do.
func (p problem) cause() string {
	if p.kind != "unauthorized" && p.kind != "malformed" && p.kind != "connection" {
		return p.kind
	}
	detail := strings.ToLower(p.detail)
	for _, c := range []struct{ part, kind string }{
		{"txt record", "txt"},
		{"could not resolve", "dns"},
		{"no valid ip", "dns"},
		{"nxdomain", "dns"},
		{"failed to connect", "connection"},
		{"connection refused", "connection"},
		{"timeout", "connection"},
	} {
		if strings.Contains(detail, c.part) {
			return c.kind
		}
	}
	return p.kind
}

// remedies say what a problem of an authority means for a name, and what to do.
var remedies = map[string]string{
	"dns":                     "the authority cannot look up %s: give it an A or AAAA record that names this machine",
	"txt":                     "the authority does not find the TXT record that proves %s: check tls.acme.dns, and give tls.acme.dns.propagation more time",
	"connection":              "the authority cannot connect to %s: let ports 80 and 443 through to this gateway, from everywhere",
	"tls":                     "the authority's TLS handshake with %s failed: another server may answer on port 443",
	"unauthorized":            "the authority reached another server under %s, or this gateway's answer was changed on the way: check where its A and AAAA records point",
	"incorrectResponse":       "the authority got another answer from %s than this gateway gives: check where its A and AAAA records point",
	"caa":                     "a CAA record forbids this authority to issue for %s: add it, or choose another authority",
	"rateLimited":             "the authority's rate limit for %s is reached",
	"rejectedIdentifier":      "the authority issues no certificate for %s",
	"unsupportedIdentifier":   "the authority issues no certificate for %s",
	"externalAccountRequired": "the authority wants an external account binding for %s: set tls.acme.eab",
	"invalidContact":          "the authority does not take the address in tls.acme.email (for %s)",
	"unsupportedContact":      "the authority does not take the address in tls.acme.email (for %s)",
	"serverInternal":          "the authority has a fault of its own (for %s)",
	"userActionRequired":      "the authority wants its new terms to be agreed to (for %s)",
}

// explain says in words what went wrong with an order for a name.
func explain(err error, name string) string {
	if several := byAuthority(err); several != nil {
		words := make([]string, 0, len(several))
		for _, e := range several {
			words = append(words, explain(e, name))
		}
		return strings.Join(words, "; then ")
	}
	var by *authorityError
	if errors.As(err, &by) {
		return by.label + ": " + explain(by.err, name)
	}
	if p, ok := problemOf(err); ok {
		if remedy, ok := remedies[p.cause()]; ok {
			return fmt.Sprintf(remedy, name) + " (" + p.detail + ")"
		}
		if p.kind == "" {
			return fmt.Sprintf("the authority answers HTTP %d: %s", p.status, p.detail)
		}
		return fmt.Sprintf("the authority refuses %s: %s (%s)", name, p.detail, p.kind)
	}
	text := err.Error()
	var (
		lookup  *net.DNSError
		op      *net.OpError
		unknown x509.UnknownAuthorityError
		request *url.Error
	)
	switch {
	case errors.Is(err, syscall.ENOSPC), strings.Contains(text, syscall.ENOSPC.Error()):
		return "the disk with tls.storage is full: " + text
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR), strings.Contains(text, "storage check"):
		return "tls.storage cannot be written: " + text
	case errors.As(err, &unknown):
		return "the certificate of the authority's own server is not trusted here: name its root with tls.acme.roots (" + text + ")"
	case errors.As(err, &lookup):
		return fmt.Sprintf("the authority cannot be found: this machine cannot look up %s: check its DNS (%s)", lookup.Name, lookup.Err)
	case errors.As(err, &op) && op.Op == "dial":
		return "the authority cannot be reached: check that this machine may connect out to it, and that it is up (" + op.Error() + ")"
	case brokenAuthority.MatchString(text):
		return "the authority answers " + brokenAuthority.FindString(text) + ", which is a fault of its own (" + text + ")"
	case errors.As(err, &request), errors.Is(err, context.DeadlineExceeded):
		return "the authority does not answer: " + text
	}
	return text
}

// brokenAuthority is how certmagic's client says that an authority answered with no problem (RFC 8555 §6.7), but like a server that is out of order.
var brokenAuthority = regexp.MustCompile(`\bHTTP 5\d\d\b`)

// byAuthority returns the errors of several authorities that err joins, nil when it is none of those.
func byAuthority(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	several := joined.Unwrap()
	if len(several) < 2 {
		return nil
	}
	for _, e := range several {
		if !errors.As(e, new(*authorityError)) {
			return nil
		}
	}
	return several
}

// authorityError says which of several authorities failed.
type authorityError struct {
	label string
	err   error
}

func (e *authorityError) Error() string { return e.label + ": " + e.err.Error() }
func (e *authorityError) Unwrap() error { return e.err }

// retryAfter is how Let's Encrypt says in its detail when to come back.
var retryAfter = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)`)

// notBefore returns when an authority that has enough wants the next order, zero when it does not say. Of several authorities the one that may be asked
// first counts.
func notBefore(err error) time.Time {
	if several := byAuthority(err); several != nil {
		first := notBefore(several[0])
		for _, e := range several[1:] {
			if at := notBefore(e); at.Before(first) { // zero is before all others
				first = at
			}
		}
		return first
	}
	p, ok := problemOf(err)
	if !ok || p.kind != "rateLimited" {
		return time.Time{}
	}
	if p.after > 0 {
		return time.Now().Add(min(p.after, maxFirm))
	}
	m := retryAfter.FindStringSubmatch(p.detail)
	if m == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.DateTime, strings.Replace(m[1], "T", " ", 1))
	if err != nil || time.Until(at) > maxFirm {
		return time.Time{}
	}
	return at
}
