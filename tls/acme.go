package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/rs/zerolog"
)

// ACMEClient is the library that speaks ACME. What clients and operators see is the same with both.
type ACMEClient string

// The ACME clients.
const (
	// Certmagic knows all challenges, several authorities, renewal information (RFC 9773) and storages with locks.
	Certmagic ACMEClient = "certmagic"
	// Autocert is the small one: HTTP-01 and TLS-ALPN-01, one authority, P-256 keys.
	Autocert ACMEClient = "autocert"
)

// KeyType is the kind of key in certificates.
type KeyType string

// The key types.
const (
	P256    KeyType = "p256" // ECDSA, what everybody of today takes, and the cheapest for the server
	P384    KeyType = "p384"
	RSA2048 KeyType = "rsa2048" // for devices that know no ECDSA
	RSA4096 KeyType = "rsa4096"
)

// ACME says how certificates are obtained from public authorities.
type ACME struct {
	Client ACMEClient // empty means Certmagic
	// Email is where the authority may write to; it may be empty.
	Email string
	// Authorities are tried in this order until one issues; Autocert takes the first only. None means Let's Encrypt.
	Authorities []Authority
	// Without these two challenges only DNS-01 is used, for every name.
	HTTP01, TLSALPN01 bool
	// DNS is needed for wildcard names; nil is none.
	DNS *DNS
	// KeyType is P256 when it is empty.
	KeyType KeyType
	// Retry is the pause after a failed order; it doubles with each failure up to [maxRetry]. 0 means one minute. It is kept across starts, cut to
	// [restartPause], unless the authority named the time or these settings have changed.
	Retry time.Duration
	// OnDemand allows names that are not configured; nil does not.
	OnDemand *OnDemand
	// Store is where certificates, accounts and locks are kept when it is not the directory Config.Storage: gateways that share one answer each other's
	// challenges and order once for all.
	Store certmagic.Storage
}

// Authority is a certificate authority that speaks ACME.
type Authority struct {
	Directory string         // URL of its directory
	Roots     *x509.CertPool // that its own HTTPS server is verified with; nil means those of the system
	// KeyID and MACKey are the external account binding (RFC 8555 §7.3.4), MACKey in base64url; both empty without.
	KeyID, MACKey string
}

// LetsEncrypt is the directory of the authority that is used when none is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

const (
	firstRetry   = time.Minute
	maxRetry     = 6 * time.Hour
	orderTimeout = 10 * time.Minute
	demandWait   = 30 * time.Second // of a handshake for the first order of its name
	// suggestionTimeout bounds one question for renewal information, suggestionEvery is how often it is asked.
	suggestionTimeout = 30 * time.Second
	suggestionEvery   = 6 * time.Hour
)

// engine is a library that speaks ACME. Its methods may run concurrently.
type engine interface {
	// listen says which ports are open, before the first order.
	listen(at Listeners)
	// load reads what was obtained for a name. The error is fs.ErrNotExist when there is nothing.
	load(ctx context.Context, name string) (*tls.Certificate, error)
	// order obtains a new certificate, also when there is one; held is the one that is served. A certificate and an error mean that it was obtained and
	// could not be stored.
	order(ctx context.Context, name string, held *x509.Certificate) (*tls.Certificate, error)
	// suggestion asks the authority when to renew; at is zero when it does not say.
	suggestion(ctx context.Context, cert *tls.Certificate) (at time.Time, err error)
	// challengeCertificate answers TLS-ALPN-01.
	challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// challengeHTTP answers HTTP-01; false means that the request is none of its own.
	challengeHTTP(w http.ResponseWriter, r *http.Request) bool
	// close ends what the library has running. It may be called again.
	close()
}

// managed serves certificates from ACME, and those of the internal authority as long as there are none.
type managed struct {
	// set at construction
	engine   engine
	store    certmagic.Storage
	settings string // fingerprint
	fallback *internal
	log      zerolog.Logger
	retry    time.Duration
	demand   *demand // nil: only configured names
	def      string  // the name served to clients that ask for none of ours

	succeeded, failed atomic.Uint64

	mu sync.RWMutex
	// guarded by mu
	keepers map[string]*keeper
	running context.Context // ends with Run; nil before and after it
	work    sync.WaitGroup  // keepers that run; waited by run
}

func newManaged(cfg Config, names []string, fallback *internal) (*managed, error) {
	a := cfg.ACME
	if a.Retry <= 0 {
		a.Retry = firstRetry
	}
	if a.KeyType == "" {
		a.KeyType = P256
	}
	if len(a.Authorities) == 0 {
		a.Authorities = []Authority{{Directory: LetsEncrypt}}
	}
	m := &managed{fallback: fallback, log: cfg.Log, retry: a.Retry, keepers: make(map[string]*keeper)}
	for _, n := range names {
		if strings.HasPrefix(n, "*.") && a.DNS == nil {
			return nil, fmt.Errorf("%s needs the DNS-01 challenge: set tls.acme.dns", n)
		}
	}
	if a.OnDemand != nil {
		m.demand = newDemand(*a.OnDemand)
	} else if len(names) == 0 {
		return nil, fmt.Errorf("mode %s has no name that a public authority can vouch for: set tls.domains", ACMEMode)
	}
	m.settings, m.store = a.fingerprint(), a.Store
	if m.store == nil {
		m.store = newStore(cfg.Storage)
	}
	var err error
	switch a.Client {
	case Certmagic, "":
		m.engine, err = newMagic(a, m.store, cfg.Log)
	case Autocert:
		m.engine, err = newAuto(a, m.store, cfg.Log)
	default:
		err = fmt.Errorf("unknown ACME client %q: use %s or %s", a.Client, Certmagic, Autocert)
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if m.keepers[n] == nil {
			m.keepers[n] = newKeeper(m, n)
		}
		if m.def == "" {
			m.def = n
		}
	}
	return m, nil
}

// run keeps all names until ctx ends.
func (m *managed) run(ctx context.Context) error {
	m.mu.Lock()
	m.running = ctx
	for _, k := range m.keepers {
		m.start(k)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.running = nil // start starts nothing any more
	m.mu.Unlock()
	m.work.Wait()
	m.engine.close()
	return nil
}

// start runs a keeper. The caller holds mu.
func (m *managed) start(k *keeper) {
	ctx := m.running
	if ctx == nil {
		return
	}
	m.work.Go(func() { k.run(ctx) }) // stopped by ctx; waited by run
}

// find returns the keeper for a canonical name: its own, else that of the wildcard above it.
func (m *managed) find(name string) *keeper {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k := m.keepers[name]; k != nil {
		return k
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		return m.keepers["*."+parent]
	}
	return nil
}

func (m *managed) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonicalName(hello.ServerName)
	k := m.find(name)
	if k == nil && m.demand != nil && name != "" {
		k = m.onDemand(hello.Context(), name)
	}
	if k == nil {
		if k = m.find(m.def); k == nil { // on demand only
			return m.fallback.certificate(hello)
		}
	}
	if cert := k.current.Load(); cert != nil {
		return cert, nil
	}
	return m.fallback.certificate(hello)
}

// onDemand returns the keeper for a name that a client asks for, after its first order. It returns nil when the name is not allowed.
func (m *managed) onDemand(ctx context.Context, name string) *keeper {
	if !IsPublicName(name) || strings.HasPrefix(name, "*") || !m.demand.allowed(ctx, name) {
		m.demand.refused.Add(1)
		m.log.Debug().Str("name", name).Msg("certificate on demand refused")
		return nil
	}
	k := m.take(newKeeper(m, name)) // which reads the disk, so not under mu
	if k == nil {
		m.demand.refused.Add(1)
		m.log.Warn().Str("name", name).Int("limit", m.demand.limit).Msg("certificate on demand refused: too many names")
		return nil
	}
	if k.current.Load() != nil {
		return k
	}
	wait := time.NewTimer(demandWait)
	defer wait.Stop()
	select {
	case <-k.tried:
	case <-wait.C: // the order goes on in either case
	case <-ctx.Done():
	}
	return k
}

// take keeps a name that came up in a handshake, and returns its keeper: the one that another handshake brought, if there is one. It returns nil when there
// are too many names.
func (m *managed) take(k *keeper) *keeper {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.keepers[k.name]; other != nil {
		return other
	}
	if m.running == nil || m.demand.count >= m.demand.limit {
		return nil
	}
	m.demand.count++
	m.keepers[k.name] = k
	m.start(k)
	return k
}

func (m *managed) challengeHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const prefix = "/.well-known/acme-challenge/"
		token, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		m.log.Debug().Str("name", r.Host).Str("remote", r.RemoteAddr).Msg("an authority asks for a challenge over http")
		switch {
		case m.engine.challengeHTTP(w, r):
		case isProbe(token):
			answerProbe(w, token)
		default: // no page: an authority that is late must not be redirected
			http.Error(w, "no such challenge", http.StatusNotFound)
		}
	})
}

func (m *managed) status() []Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]Status, 0, len(m.keepers))
	for _, k := range m.keepers {
		out = append(out, k.status())
	}
	return out
}

func (m *managed) orders() Orders {
	o := Orders{Succeeded: m.succeeded.Load(), Failed: m.failed.Load()}
	if m.demand != nil {
		o.Refused = m.demand.refused.Load()
	}
	return o
}
