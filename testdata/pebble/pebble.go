// Package pebble runs Let's Encrypt's ACME test server, and the DNS it asks, inside a test: real orders, real challenges over loopback, random ports.
package pebble

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Leaks are the functions of goroutines that Pebble and certmagic's rate limiter never end, for goleak.
var Leaks = []string{
	"github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks",
	"github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop",
}

// Config says how the authority behaves.
type Config struct {
	Life time.Duration     // of certificates; 0 means 90 days
	EAB  map[string]string // external account keys (base64url) by key ID; not empty: accounts need one
	Log  io.Writer         // nil: none
}

// CA is a running authority.
type CA struct {
	Directory string // URL
	// Domain is of this authority's tests alone, and Host a name in it. Certmagic keeps the challenges of a process by name: tests that run side by side and
	// prove the same one answer each other's.
	Domain, Host string
	// ServerRoots is what its HTTPS server is verified with, Roots what its certificates are verified with; both in PEM form.
	ServerRoots []byte
	Names       *challtestsrv.ChallSrv // what the authority looks up; 127.0.0.1 for every name
	Resolver    string                 // host:port of the server that answers with them

	server   *httptest.Server
	roots    *ca.CAImpl
	site     atomic.Pointer[site] // where names are served
	serve    func(httpPort, tlsPort int) http.Handler
	fault    atomic.Pointer[http.HandlerFunc]
	Requests atomic.Uint64 // answered, faults included
	Orders   atomic.Uint64 // those of them that ask for a certificate
}

// site is one run of the server whose names the authority proves.
type site struct {
	once    sync.Once
	ready   chan struct{}
	handler http.Handler // set before ready is closed; nil: the test is over
}

func (s *site) open(h http.Handler) {
	s.once.Do(func() {
		s.handler = h
		close(s.ready)
	})
}

var (
	environment sync.Once
	domains     atomic.Uint64 // given out
)

// New starts an authority that ends with the test. Requests wait until it knows where names are served: [CA.Serve].
func New(tb testing.TB, cfg Config) *CA {
	tb.Helper()
	environment.Do(func() { // read by Pebble's constructors
		for k, v := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
			_ = os.Setenv(k, v) //nolint:usetesting // for all tests of the process, which may be parallel; these names are fine
		}
	})
	out := cfg.Log
	if out == nil {
		out = io.Discard
	}
	logger := log.New(out, "pebble ", log.Ltime|log.Lmicroseconds)
	names, answers := records(tb, logger)
	address := serveDNS(tb, answers, nil)

	store := db.NewMemoryStore()
	for id, key := range cfg.EAB {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			tb.Fatal(err)
		}
	}
	profile := ca.Profile{Description: "test", ValidityPeriod: uint64(cfg.Life / time.Second)}
	domain := fmt.Sprintf("t%d.example.com", domains.Add(1))
	c := &CA{Domain: domain, Host: "live." + domain, Names: names, Resolver: address, roots: ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": profile})}
	c.serve = func(httpPort, tlsPort int) http.Handler {
		w := wfe.New(logger, store, va.New(logger, httpPort, tlsPort, true, address, store), c.roots, []string{"pebble.test"}, true, len(cfg.EAB) > 0, 0, 0)
		return w.Handler()
	}
	c.site.Store(&site{ready: make(chan struct{})})
	c.server = httptest.NewUnstartedServer(c)
	c.server.Config.ErrorLog = logger
	c.server.StartTLS()
	tb.Cleanup(func() {
		c.site.Load().open(nil) // lets go of requests that wait
		c.server.Close()
	})
	c.Directory = c.server.URL + wfe.DirectoryPath
	c.ServerRoots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})
	return c
}

// Serve says on which ports of 127.0.0.1 all names are served.
func (c *CA) Serve(httpPort, tlsPort int) {
	c.site.Load().open(c.serve(httpPort, tlsPort))
}

// Again forgets where names are served, for a second run of the server on other ports. The accounts stay.
func (c *CA) Again() {
	c.site.Load().open(nil)
	c.site.Store(&site{ready: make(chan struct{})})
}

// newOrder is Pebble's path for an order.
const newOrder = "/order-plz"

// ServeHTTP implements [http.Handler].
func (c *CA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == newOrder {
		c.Orders.Add(1)
	}
	if f := c.fault.Load(); f != nil {
		c.Requests.Add(1)
		(*f)(w, r)
		return
	}
	c.Requests.Add(1)
	c.pass(w, r)
}

// pass lets Pebble answer.
func (c *CA) pass(w http.ResponseWriter, r *http.Request) {
	s := c.site.Load()
	select {
	case <-s.ready:
	case <-r.Context().Done():
		return
	}
	if s.handler == nil {
		http.Error(w, "the test is over", http.StatusServiceUnavailable)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// Fault lets f answer everything; nil ends it.
func (c *CA) Fault(f http.HandlerFunc) {
	if f == nil {
		c.fault.Store(nil)
		return
	}
	c.fault.Store(&f)
}

// Clock puts the authority's clock off in what it says of the time; the certificates stay as they are.
func (c *CA) Clock(off time.Duration) {
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		c.pass(w, r)
	})
}

// Hang answers nothing until who asks goes away.
func (c *CA) Hang() {
	c.Fault(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// Refuse answers orders with a problem (RFC 8555 §6.7), and the rest as ever.
func (c *CA) Refuse(problem string) {
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != newOrder {
			c.pass(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","status":403,"detail":"no, never"}`, problem)
	})
}

// RateLimit answers orders as Let's Encrypt does when there were too many, and the rest as ever.
func (c *CA) RateLimit() {
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		if !limit(w, r) {
			c.pass(w, r)
		}
	})
}

// limit answers an order.
func limit(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != newOrder {
		return false
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "3600")
	w.WriteHeader(http.StatusTooManyRequests)
	fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:rateLimited","status":429,"detail":"too many certificates (5) already issued for this exact set of identifiers, retry after %s UTC"}`,
		time.Now().UTC().Add(time.Hour).Format(time.DateTime))
	return true
}

// RenewNow says, when it is asked for renewal information (RFC 9773), that the first certificate is overdue; for others Pebble answers.
func (c *CA) RenewNow() {
	var first atomic.Pointer[string] // path of the first certificate's information
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "renewalInfo") || !first.CompareAndSwap(nil, &r.URL.Path) && *first.Load() != r.URL.Path {
			c.pass(w, r)
			return
		}
		overdue(w)
	})
}

// overdue answers a question for renewal information.
func overdue(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "21600")
	now := time.Now().UTC()
	fmt.Fprintf(w, `{"suggestedWindow":{"start":%q,"end":%q}}`, now.Add(-2*time.Hour).Format(time.RFC3339), now.Add(-time.Hour).Format(time.RFC3339))
}

// RefuseRenewals says that every certificate is overdue, and answers orders as RateLimit does, except for the first order of all.
func (c *CA) RefuseRenewals() {
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "renewalInfo"):
			overdue(w)
		case c.Orders.Load() > 1 && limit(w, r):
		default:
			c.pass(w, r)
		}
	})
}

// RenewIn says, when it is asked for renewal information, that certificates are to be renewed after d, give or take a second.
func (c *CA) RenewIn(d time.Duration) {
	c.Fault(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "renewalInfo") {
			c.pass(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "21600")
		at := time.Now().UTC().Add(d)
		fmt.Fprintf(w, `{"suggestedWindow":{"start":%q,"end":%q}}`, at.Add(-time.Second).Format(time.RFC3339), at.Add(time.Second).Format(time.RFC3339))
	})
}

// Stop closes the authority's port: it cannot be reached any more.
func (c *CA) Stop() { c.server.Close() }

// Roots returns the root of the certificates in PEM form.
func (c *CA) Roots() []byte { return c.roots.GetRootCert(0).PEM() }

// Pool returns the root of the certificates.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.Roots())
	return pool
}

// ServerPool returns what the authority's server is verified with.
func (c *CA) ServerPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.ServerRoots)
	return pool
}

// ServerRootsFile writes ServerRoots to a file of the test.
func (c *CA) ServerRootsFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "acme-server.pem")
	if err := os.WriteFile(path, c.ServerRoots, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

var muxes sync.Mutex // guards dns.DefaultServeMux

// records makes a challtestsrv without servers of its own: those of several in one process would all answer with the records of the last one.
func records(tb testing.TB, logger *log.Logger) (*challtestsrv.ChallSrv, dns.Handler) {
	tb.Helper()
	muxes.Lock()
	defer muxes.Unlock()
	before := dns.DefaultServeMux
	dns.DefaultServeMux = dns.NewServeMux() // where it registers its handler
	defer func() { dns.DefaultServeMux = before }()
	names, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{"127.0.0.1:0"}, Log: logger})
	if err != nil {
		tb.Fatal(err)
	}
	names.SetDefaultDNSIPv4("127.0.0.1")
	names.SetDefaultDNSIPv6("")
	return names, dns.DefaultServeMux
}

// serveDNS serves a handler over UDP and TCP until the test ends, and returns where.
func serveDNS(tb testing.TB, handler dns.Handler, tsig map[string]string) string {
	tb.Helper()
	for {
		pc, err := new(net.ListenConfig).ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", pc.LocalAddr().String())
		if err != nil { // taken for TCP: another one
			pc.Close()
			continue
		}
		for _, srv := range []*dns.Server{{PacketConn: pc}, {Listener: ln}} {
			srv.Handler, srv.TsigSecret = handler, tsig
			srv.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
			started, ended := make(chan struct{}), make(chan struct{})
			srv.NotifyStartedFunc = func() { close(started) }
			go func() { defer close(ended); _ = srv.ActivateAndServe() }() // stopped and waited for by the cleanup
			<-started
			tb.Cleanup(func() { _ = srv.Shutdown(); <-ended })
		}
		return pc.LocalAddr().String()
	}
}

// addTXT and removeTXT change one of several values of a name.
func (c *CA) addTXT(name, value string) { c.Names.AddDNSTXTRecord(name, value) }

func (c *CA) removeTXT(name, value string) {
	left := slices.DeleteFunc(slices.Clone(c.Names.GetDNSTXTRecords(name)), func(v string) bool { return v == value })
	c.Names.DeleteDNSTXTRecord(name)
	for _, v := range left {
		c.Names.AddDNSTXTRecord(name, v)
	}
}
