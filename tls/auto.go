package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// auto is the engine over autocert. Autocert renews by timers of its own and keeps quiet about failures, so each order gets a Manager of its own,
// which sees no certificate in its cache and therefore orders one; the [keeper] does the rest.
type auto struct {
	// set at construction
	acme   ACME
	store  certmagic.Storage
	log    zerolog.Logger
	prefix string // of all keys in store

	transport *http.Transport
	ordering  sync.Mutex // held during an order: the first one makes the account for all

	mu sync.Mutex
	// guarded by mu
	tlsALPN bool
	http01  bool
	active  map[string]*autocert.Manager // by name, while it orders
}

func newAuto(a ACME, store certmagic.Storage, log zerolog.Logger) (*auto, error) {
	switch {
	case a.KeyType != P256:
		return nil, fmt.Errorf("autocert makes %s keys only: set tls.acme.key_type to it, or tls.acme.client to %s", P256, Certmagic)
	case a.DNS != nil:
		return nil, fmt.Errorf("autocert knows no DNS-01 challenge: set tls.acme.client to %s", Certmagic)
	case len(a.Authorities) > 1:
		return nil, fmt.Errorf("autocert knows one authority: set tls.acme.client to %s to have a second", Certmagic)
	case !a.HTTP01 && !a.TLSALPN01:
		return nil, errors.New("no ACME challenge is allowed: set tls.acme.challenges")
	}
	prefix := "default"
	if u, err := url.Parse(a.Authorities[0].Directory); err == nil {
		prefix = certmagic.StorageKeys.Safe(u.Host + strings.ReplaceAll(u.Path, "/", "-"))
	}
	e := &auto{acme: a, store: store, log: log, prefix: path.Join("autocert", prefix), active: make(map[string]*autocert.Manager)}
	e.transport = http.DefaultTransport.(*http.Transport).Clone()
	e.transport.TLSClientConfig = &tls.Config{RootCAs: a.Authorities[0].Roots, MinVersion: tls.VersionTLS12}
	return e, nil
}

func (e *auto) listen(at Listeners) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tlsALPN, e.http01 = e.acme.TLSALPN01 && at.HTTPS != nil, e.acme.HTTP01 && at.HTTP != nil
}

func (e *auto) load(ctx context.Context, name string) (*tls.Certificate, error) {
	where := path.Join(e.prefix, certmagic.StorageKeys.Safe(name))
	data, err := e.store.Load(ctx, where)
	if err != nil {
		return nil, err
	}
	return parsePair(data, data, name, where)
}

// order runs a Manager's first handshake for the name.
func (e *auto) order(ctx context.Context, name string, _ *x509.Certificate) (*tls.Certificate, error) {
	e.ordering.Lock()
	defer e.ordering.Unlock()
	if err := e.room(ctx); err != nil {
		return nil, err
	}
	e.repairAccount(ctx)
	cache := &autoCache{engine: e, hidden: name}
	e.mu.Lock()
	wire := &ending{ctx: ctx, next: e.transport, usable: map[string]bool{"tls-alpn-01": e.tlsALPN, "http-01": e.http01}}
	e.mu.Unlock()
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  cache,
		Email:  e.acme.Email,
		// Its own renewal is left to the keeper. A minute before the end is long after the keeper's time, and then it finds the newer one stored.
		RenewBefore: time.Minute,
		HostPolicy:  autocert.HostWhitelist(name),
		Client: &acme.Client{
			DirectoryURL: e.acme.Authorities[0].Directory,
			HTTPClient:   &http.Client{Transport: wire, Timeout: suggestionTimeout},
			UserAgent:    "culvert",
			RetryBackoff: func(n int, _ *http.Request, resp *http.Response) time.Duration {
				if n > 2 || resp != nil && resp.StatusCode == http.StatusTooManyRequests {
					return -1 // the keeper waits, and says so
				}
				return 250 * time.Millisecond
			},
		},
	}
	if a := e.acme.Authorities[0]; a.KeyID != "" {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.MACKey, "="))
		if err != nil {
			return nil, fmt.Errorf("external account binding: the key is not base64url: %w", err)
		}
		m.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.KeyID, Key: key}
	}
	e.mu.Lock()
	if e.http01 {
		m.HTTPHandler(nil) // says that HTTP-01 may be used
	}
	e.active[name] = m
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.active, name)
		e.mu.Unlock()
	}()
	cert, err := m.GetCertificate(&tls.ClientHelloInfo{
		ServerName:       name,
		CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:  []tls.CurveID{tls.CurveP256},
	})
	if err != nil {
		if stored := cache.failure(); stored != nil {
			return nil, stored
		}
		if reason := wire.reason(); reason != nil && !errors.As(err, new(*acme.Error)) {
			return nil, fmt.Errorf("%w: %w", err, reason)
		}
		return nil, err
	}
	return cert, cache.failure()
}

// room makes sure that what is ordered can be stored: what cannot would be ordered again after each start, until the authority has enough.
func (e *auto) room(ctx context.Context) error {
	key := path.Join(e.prefix, "room")
	if err := e.store.Store(ctx, key, make([]byte, 16<<10)); err != nil { // more than an account, a key and a chain
		return err
	}
	return e.store.Delete(ctx, key)
}

// repairAccount removes an account key that cannot be read, so that a new one is made.
func (e *auto) repairAccount(ctx context.Context) {
	key := path.Join(e.prefix, accountKey)
	data, err := e.store.Load(ctx, key)
	if err != nil {
		return // none yet
	}
	if block, _ := pem.Decode(data); block != nil {
		if _, err := parseKey(block.Bytes); err == nil {
			return
		}
	}
	e.log.Warn().Str("file", key).Msg("stored ACME account is damaged, a new one is made")
	_ = e.store.Delete(ctx, key) // the order says what is wrong if this did not work
}

// suggestion: autocert does not ask for renewal information.
func (*auto) suggestion(context.Context, *tls.Certificate) (time.Time, error) {
	return time.Time{}, nil
}

func (e *auto) manager(name string) *autocert.Manager {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active[canonicalName(name)]
}

var errNoChallenge = errors.New("no such challenge")

func (e *auto) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	e.mu.Lock()
	allowed := e.tlsALPN
	e.mu.Unlock()
	if !allowed {
		return nil, errNoChallenge
	}
	if m := e.manager(hello.ServerName); m != nil {
		return m.GetCertificate(hello)
	}
	// Another gateway with the same storage may have begun it.
	data, err := e.store.Load(hello.Context(), path.Join(e.prefix, certmagic.StorageKeys.Safe(canonicalName(hello.ServerName)+"+token")))
	if err != nil {
		return nil, errNoChallenge
	}
	cert, err := tls.X509KeyPair(data, data)
	return &cert, err
}

func (e *auto) challengeHTTP(w http.ResponseWriter, r *http.Request) bool {
	e.mu.Lock()
	allowed := e.http01
	e.mu.Unlock()
	host, _, _ := strings.Cut(r.Host, ":")
	if m := e.manager(host); m != nil && allowed && !isProbe(path.Base(r.URL.Path)) {
		plain := r.Clone(r.Context())
		plain.Host = host // the policy of the Manager knows no port
		m.HTTPHandler(nil).ServeHTTP(w, plain)
		return true
	}
	if !allowed {
		return false
	}
	data, err := e.store.Load(r.Context(), path.Join(e.prefix, certmagic.StorageKeys.Safe(path.Base(r.URL.Path)+"+http-01")))
	if err != nil {
		return false
	}
	_, _ = w.Write(data) // the client may have gone
	return true
}

func (e *auto) close() { e.transport.CloseIdleConnections() }

// accountKey is the name under which autocert keeps the key of its account.
const accountKey = "acme_account_plus_key"

// autoCache is autocert's view of the storage during one order.
type autoCache struct {
	engine *auto
	hidden string // the certificate that is to be replaced

	mu  sync.Mutex
	err error // first failure of a Put, which autocert does not report
}

func (c *autoCache) key(name string) string {
	return path.Join(c.engine.prefix, certmagic.StorageKeys.Safe(name))
}

// Get implements [autocert.Cache].
func (c *autoCache) Get(ctx context.Context, name string) ([]byte, error) {
	if name == c.hidden {
		return nil, autocert.ErrCacheMiss
	}
	data, err := c.engine.store.Load(ctx, c.key(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, autocert.ErrCacheMiss
	}
	return data, err
}

// Put implements [autocert.Cache].
func (c *autoCache) Put(ctx context.Context, name string, data []byte) error {
	err := c.engine.store.Store(ctx, c.key(name), bytes.Clone(data))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		c.err = err
	}
	return err
}

// Delete implements [autocert.Cache].
func (c *autoCache) Delete(ctx context.Context, name string) error {
	err := c.engine.store.Delete(ctx, c.key(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (c *autoCache) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ending ends the requests of a Manager, which has no context of its own, with an order. It also hides the challenges that cannot be used here: the Manager
// would try TLS-ALPN-01 always, and each failure counts against the authority's limit. And it remembers why a challenge failed: the Manager only says that
// there are no more.
type ending struct {
	ctx    context.Context
	next   http.RoundTripper
	usable map[string]bool // challenges by type

	mu     sync.Mutex
	failed *acme.Error // the last reason that the authority gave
}

// maxAnswer is the largest answer of an authority that is looked into.
const maxAnswer = 1 << 20

// RoundTrip implements [http.RoundTripper].
func (t *ending) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil { // a timer of the Manager, which outlives its order, must not reach the authority
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close() // all that matters was read
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		body = t.look(body)
		resp.ContentLength = int64(len(body))
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// look finds the error of an authorization (RFC 8555 §7.1.4) or of a challenge (§8), and returns what the Manager may see of it.
func (t *ending) look(body []byte) []byte {
	type failure struct {
		Type, Detail string
		Status       int
	}
	type challenge struct {
		Type  string
		Error *failure
	}
	var answer struct {
		Error      *failure
		Challenges []json.RawMessage
	}
	if json.Unmarshal(body, &answer) != nil {
		return body // not for us to judge
	}
	found := answer.Error
	var usable []json.RawMessage
	for _, text := range answer.Challenges {
		var c challenge
		if json.Unmarshal(text, &c) != nil {
			return body
		}
		if c.Error != nil {
			found = c.Error
		}
		if t.usable[c.Type] {
			usable = append(usable, text)
		}
	}
	if found != nil {
		t.mu.Lock()
		t.failed = &acme.Error{StatusCode: found.Status, ProblemType: found.Type, Detail: found.Detail}
		t.mu.Unlock()
	}
	if len(usable) == len(answer.Challenges) {
		return body
	}
	var whole map[string]any
	if json.Unmarshal(body, &whole) != nil {
		return body
	}
	whole["challenges"] = usable
	shown, err := json.Marshal(whole)
	if err != nil {
		return body
	}
	return shown
}

func (t *ending) reason() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		return nil
	}
	return t.failed
}
