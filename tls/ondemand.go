package tlsconf

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// OnDemand allows certificates for names that clients ask for in their handshake. The first handshake waits for the order. A name that is not allowed
// gets the default certificate.
type OnDemand struct {
	// Allow lists names, and wildcards as *.example.com.
	Allow []string
	// Ask is a URL that is asked with ?domain=NAME about names that Allow does not list; 200 allows. Empty: nobody is asked.
	Ask string
	// Limit is the most names at a time; 0 means 100.
	Limit int
}

const (
	askTimeout = 5 * time.Second
	askLimit   = 8                // questions at a time: whoever sends many names must not become a flood for the one who is asked
	askMemory  = 30 * time.Second // how long an answer counts
	maxAnswers = 1000
)

// demand decides about names that are not configured.
type demand struct {
	// set at construction
	allow  map[string]bool
	ask    string
	limit  int
	client *http.Client
	slots  chan struct{}

	refused atomic.Uint64
	count   int // names taken; guarded by managed.mu

	mu sync.Mutex
	// guarded by mu
	answers map[string]answer
}

type answer struct {
	allowed bool
	until   time.Time
}

func newDemand(cfg OnDemand) *demand {
	d := &demand{
		allow: make(map[string]bool), ask: cfg.Ask, limit: cfg.Limit,
		client:  &http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}},
		slots:   make(chan struct{}, askLimit),
		answers: make(map[string]answer),
	}
	if d.limit <= 0 {
		d.limit = 100
	}
	for _, n := range cfg.Allow {
		d.allow[canonicalName(n)] = true
	}
	return d
}

// allowed decides about a canonical name.
func (d *demand) allowed(ctx context.Context, name string) bool {
	if d.allow[name] {
		return true
	}
	for i := range len(name) {
		if name[i] == '.' {
			if d.allow["*"+name[i:]] {
				return true
			}
			break
		}
	}
	if d.ask == "" {
		return false
	}
	now := time.Now()
	d.mu.Lock()
	known, ok := d.answers[name]
	d.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allowed
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		return false // busy: the client may come again
	}
	yes := d.askFor(ctx, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) >= maxAnswers {
		clear(d.answers)
	}
	d.answers[name] = answer{yes, now.Add(askMemory)}
	return yes
}

func (d *demand) askFor(ctx context.Context, name string) bool {
	u, err := url.Parse(d.ask)
	if err != nil {
		return false
	}
	q := u.Query()
	q.Set("domain", name)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status counts
	return resp.StatusCode == http.StatusOK
}
