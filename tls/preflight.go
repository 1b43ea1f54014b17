package tlsconf

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Finding is the result of one check of a pre-flight.
type Finding struct {
	OK   bool
	What string // what was looked at
	Note string // what was found, and what to do about it
}

// Preflight checks what ACME needs before anything is ordered: nothing of it counts against a limit of the authority.
type Preflight struct {
	Names   []string // configured; those that no public authority can vouch for are passed over
	ACME    ACME
	Storage string // directory
	// HTTPAddr and HTTPSAddr are the gateway's listeners, host:port as configured. When the gateway does not run, the check answers there itself.
	HTTPAddr, HTTPSAddr string
	// HTTPPort and HTTPSPort are where the names are reached from outside; 0 means 80 and 443.
	HTTPPort, HTTPSPort int
	// Resolver is the name server to ask, host:port; empty means the system's.
	Resolver string
}

const (
	checkTimeout = 10 * time.Second
	clockLimit   = 10 * time.Minute // a clock that is further off makes certificates invalid for this machine, and orders fail
)

// Run checks everything and returns what it found, in the order of the checks.
func (p Preflight) Run(ctx context.Context) []Finding {
	names, private := splitNames(p.Names)
	var out []Finding
	for _, n := range private {
		out = append(out, Finding{true, n, "no public authority can vouch for it: it gets the internal certificate"})
	}
	out = append(out, p.storage()...)
	identities := make(map[string][]string) // for CAA, by authority
	authorities := p.ACME.Authorities
	if len(authorities) == 0 {
		authorities = []Authority{{Directory: LetsEncrypt}}
	}
	for _, a := range authorities {
		found, ids := p.authority(ctx, a)
		out = append(out, found...)
		identities[a.Directory] = ids
	}
	stop, found := p.answer(ctx)
	defer stop()
	out = append(out, found...)
	for _, n := range names {
		out = append(out, p.name(ctx, n)...)
		out = append(out, p.caa(ctx, n, identities)...)
	}
	return out
}

// authority reads the directory: it is there, its certificate is trusted, the clocks agree, and it wants nothing that is not configured.
func (p Preflight) authority(ctx context.Context, a Authority) (out []Finding, identities []string) {
	what := "authority " + a.Directory
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: a.Roots, MinVersion: tls.VersionTLS12}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Directory, nil)
	if err != nil {
		return []Finding{{false, what, err.Error()}}, nil
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return []Finding{{false, what, explain(err, "")}}, nil
	}
	defer resp.Body.Close()
	var directory struct {
		NewOrder string
		Meta     struct {
			CAAIdentities           []string
			ExternalAccountRequired bool
		}
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&directory)
	switch {
	case resp.StatusCode != http.StatusOK:
		return []Finding{{false, what, "answers " + resp.Status}}, nil
	case err != nil || directory.NewOrder == "":
		return []Finding{{false, what, "is no ACME directory: check tls.acme.directory"}}, nil
	case directory.Meta.ExternalAccountRequired && a.KeyID == "":
		out = append(out, Finding{false, what, "wants an external account binding: set tls.acme.eab"})
	default:
		out = append(out, Finding{true, what, "answers"})
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		off := time.Since(at).Round(time.Second)
		if off.Abs() > clockLimit {
			out = append(out, Finding{false, "clock", fmt.Sprintf("is %s away from the authority's: set it, or run a time service", off)})
		} else {
			out = append(out, Finding{true, "clock", "agrees with the authority's"})
		}
	}
	return out, directory.Meta.CAAIdentities
}

// name looks a name up and connects to it.
func (p Preflight) name(ctx context.Context, name string) []Finding {
	if strings.HasPrefix(name, "*.") || !p.ACME.HTTP01 && !p.ACME.TLSALPN01 {
		if p.ACME.DNS == nil {
			return []Finding{{false, name, "can be proved by dns-01 only, and no provider is set: set tls.acme.dns.provider"}}
		}
		return []Finding{p.dns(ctx, name)}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	addrs, err := p.resolver().LookupNetIP(ctx, "ip", name)
	if err != nil || len(addrs) == 0 {
		return []Finding{{false, name + " in the DNS", "has no address: give it an A or AAAA record that names this machine (" + lookupError(err) + ")"}}
	}
	out := []Finding{{true, name + " in the DNS", "has " + joinAddrs(addrs)}}
	if p.ACME.HTTP01 && p.HTTPAddr != "" {
		for _, addr := range addrs {
			out = append(out, p.probeHTTP(ctx, name, addr))
		}
	}
	if p.HTTPSAddr != "" {
		for _, addr := range addrs {
			out = append(out, p.probeTLS(ctx, name, addr))
		}
	}
	return out
}

func lookupError(err error) string {
	var d *net.DNSError
	if errors.As(err, &d) {
		return d.Err
	}
	return "no answer"
}

func joinAddrs(addrs []netip.Addr) string {
	text := make([]string, len(addrs))
	for i, a := range addrs {
		text[i] = a.Unmap().String()
	}
	return strings.Join(text, ", ")
}

func (p Preflight) resolver() *net.Resolver {
	if p.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.Resolver)
	}}
}

// dns sets a record beside the one of the challenge and removes it again.
func (p Preflight) dns(ctx context.Context, name string) Finding {
	what := name + " by dns-01"
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	if err := p.ACME.DNS.try(ctx, strings.TrimPrefix(name, "*.")); err != nil {
		return Finding{false, what, "a record cannot be set: " + err.Error()}
	}
	return Finding{true, what, "records can be set and removed"}
}

// caa looks for the records that say which authorities may issue (RFC 8659): those of the name, else of the nearest parent that has any.
func (p Preflight) caa(ctx context.Context, name string, identities map[string][]string) []Finding {
	server := p.Resolver
	if server == "" {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(conf.Servers) == 0 {
			return nil // a system that keeps its resolvers elsewhere
		}
		server = net.JoinHostPort(conf.Servers[0], conf.Port)
	}
	what := name + ", CAA"
	wild := strings.HasPrefix(name, "*.")
	for at := strings.TrimPrefix(name, "*."); strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		records, err := askCAA(ctx, server, at)
		if err != nil {
			return []Finding{{false, what, "the records of " + at + " cannot be read, and authorities then refuse: " + err.Error()}}
		}
		if len(records) == 0 {
			continue
		}
		var out []Finding
		for directory, ids := range identities {
			if len(ids) > 0 && !caaAllows(records, ids, wild) {
				out = append(out, Finding{false, what, fmt.Sprintf("%s forbids %s to issue: add CAA 0 issue %q, or choose another authority", at, directory, ids[0])})
			}
		}
		if out == nil {
			out = []Finding{{true, what, at + " allows the authority"}}
		}
		return out
	}
	return []Finding{{true, what, "none: every authority may issue"}}
}

func askCAA(ctx context.Context, server, name string) ([]*dns.CAA, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeCAA)
	answer, _, err := new(dns.Client).ExchangeContext(ctx, m, server)
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[answer.Rcode])
	}
	var out []*dns.CAA
	for _, rr := range answer.Answer {
		if c, ok := rr.(*dns.CAA); ok {
			out = append(out, c)
		}
	}
	return out, nil
}

// caaAllows tells whether records let one of ids issue. issuewild counts for wildcards only, and then instead of issue.
func caaAllows(records []*dns.CAA, ids []string, wild bool) bool {
	tag := "issue"
	if wild && slices.ContainsFunc(records, func(c *dns.CAA) bool { return strings.EqualFold(c.Tag, "issuewild") }) {
		tag = "issuewild"
	}
	restricted := false
	for _, c := range records {
		if !strings.EqualFold(c.Tag, tag) {
			continue
		}
		restricted = true
		value, _, _ := strings.Cut(c.Value, ";")
		if slices.Contains(ids, strings.TrimSpace(value)) {
			return true
		}
	}
	return !restricted
}
