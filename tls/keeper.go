package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// maxSleep is the longest wait in one piece: a machine that was asleep notices within it.
const maxSleep = time.Hour

// keeper keeps the certificate of one name. Handshakes only read current, so a renewal is one store of a pointer and no connection notices it.
type keeper struct {
	// set at construction
	m     *managed
	name  string
	tried chan struct{} // closed after the first order, or when there was no need for one, or it has to wait

	current atomic.Pointer[tls.Certificate] // nil: none

	mu sync.Mutex
	// guarded by mu
	failures    int
	lastError   string
	lastErrorAt time.Time
	nextTry     time.Time // after a failure
	suggested   time.Time // when the authority wants the certificate to be renewed; zero when it does not say
	askAt       time.Time // when to ask it again
}

// newKeeper reads what was obtained before.
func newKeeper(m *managed, name string) *keeper {
	k := &keeper{m: m, name: name, tried: make(chan struct{})}
	cert, err := m.engine.load(context.Background(), name)
	switch {
	case err == nil:
		k.current.Store(cert)
		m.log.Info().Str("name", name).Str("issuer", cert.Leaf.Issuer.CommonName).Time("not_after", cert.Leaf.NotAfter).Msg("certificate loaded")
	case !errors.Is(err, fs.ErrNotExist):
		k.lastError, k.lastErrorAt = "what is stored cannot be used and is ordered anew: "+err.Error(), time.Now()
		m.log.Warn().Str("name", name).Err(err).Msg("stored certificate cannot be used, it is ordered anew")
	}
	k.resume(time.Now())
	return k
}

// resume goes on where an earlier run of the gateway stopped trying.
func (k *keeper) resume(now time.Time) {
	last, ok := k.m.lastTry(context.Background(), k.name)
	if !ok || endOf(k.current.Load()).After(last.Held) { // replaced meanwhile
		return
	}
	k.failures, k.nextTry = last.Failures, last.due(now)
	k.lastError, k.lastErrorAt = last.Reason, last.At
	if k.nextTry.After(now) {
		k.m.log.Warn().Str("name", k.name).Str("reason", last.Reason).Int("failures", last.Failures).Time("next_try", k.nextTry).
			Msg("certificate is not ordered yet: the last try, before this start, failed")
	}
}

// run orders and renews until ctx ends.
func (k *keeper) run(ctx context.Context) {
	if k.current.Load() == nil && !time.Now().Before(k.plan()) {
		k.step(ctx)
	}
	close(k.tried)
	for sleepUntil(ctx, k.plan) {
		k.step(ctx)
	}
}

// sleepUntil waits for the time that when returns. False means that ctx ended first.
func sleepUntil(ctx context.Context, when func() time.Time) bool {
	for {
		left := time.Until(when())
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, maxSleep))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// plan returns when something is to be done next.
func (k *keeper) plan() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	cert := k.current.Load()
	switch {
	case k.failures > 0, cert == nil:
		return k.nextTry
	case k.askAt.Before(k.renewAt(cert)):
		return k.askAt
	}
	return k.renewAt(cert)
}

// renewAt returns when to renew: when the authority suggests it, else when a third of the life is left. The caller holds mu.
func (k *keeper) renewAt(cert *tls.Certificate) time.Time {
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	latest := cert.Leaf.NotAfter.Add(-life / 10) // whatever the authority says
	if !k.suggested.IsZero() && k.suggested.Before(latest) {
		return k.suggested
	}
	return cert.Leaf.NotAfter.Add(-life / 3)
}

// step does what is due.
func (k *keeper) step(ctx context.Context) {
	now := time.Now()
	cert := k.current.Load()
	k.mu.Lock()
	ask := cert != nil && k.failures == 0 && now.Before(k.renewAt(cert))
	k.mu.Unlock()
	if ask {
		k.ask(ctx, cert)
		return
	}
	k.order(ctx)
}

// ask asks the authority when to renew. That it does not answer is no failure: there is a rule without it.
func (k *keeper) ask(ctx context.Context, cert *tls.Certificate) {
	k.mu.Lock()
	end := time.Now().Add(suggestionTimeout)
	if due := k.renewAt(cert); due.Before(end) { // an authority that does not answer must not delay a renewal
		end = due
	}
	k.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	at, err := k.m.engine.suggestion(ctx, cert)
	if err != nil {
		k.m.log.Debug().Str("name", k.name).Err(err).Msg("no renewal information from the authority")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.askAt = time.Now().Add(suggestionEvery)
	if err == nil {
		k.suggested = at
	}
}

// order obtains a new certificate and serves it.
func (k *keeper) order(ctx context.Context) {
	held := k.current.Load()
	if k.adopt(ctx, held) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	begin := time.Now()
	k.mu.Lock()
	under := try{Failures: k.failures + 1, At: begin, Next: begin.Add(k.pause(k.failures+1, held, begin)), Reason: unfinished, Held: endOf(held)}
	k.mu.Unlock()
	k.m.keepTry(ctx, k.name, under)
	cert, err := k.m.engine.order(ctx, k.name, leafOf(held))
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the gateway stops
	}
	if cert == nil {
		k.fail(ctx, err, held)
		return
	}
	k.m.succeeded.Add(1)
	k.serve(cert)
	if err == nil {
		k.m.forgetTry(ctx, k.name)
	}
	k.m.log.Info().Str("name", k.name).Str("issuer", cert.Leaf.Issuer.CommonName).Time("not_after", cert.Leaf.NotAfter).
		Float64("dur", time.Since(begin).Seconds()).Bool("renewal", held != nil).Msg("certificate obtained")
	if err != nil {
		words := explain(err, k.name)
		k.mu.Lock()
		k.lastError, k.lastErrorAt = "the certificate is served but could not be stored, after a restart it has to be ordered again: "+words, time.Now()
		k.mu.Unlock()
		under.Reason = "the certificate was obtained but could not be stored: " + words
		k.m.keepTry(ctx, k.name, under)
		k.m.log.Error().Str("name", k.name).Err(err).Msg("certificate could not be stored")
	}
}

// endOf returns when a certificate ends, zero without one.
func endOf(cert *tls.Certificate) time.Time {
	if cert == nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}

func leafOf(cert *tls.Certificate) *x509.Certificate {
	if cert == nil {
		return nil
	}
	return cert.Leaf
}

// adopt takes a newer certificate that another gateway with the same storage has obtained.
func (k *keeper) adopt(ctx context.Context, held *tls.Certificate) bool {
	stored, err := k.m.engine.load(ctx, k.name)
	if err != nil || time.Now().After(stored.Leaf.NotAfter) || held != nil && !stored.Leaf.NotAfter.After(held.Leaf.NotAfter) {
		return false
	}
	k.serve(stored)
	k.m.forgetTry(ctx, k.name)
	k.m.log.Info().Str("name", k.name).Str("issuer", stored.Leaf.Issuer.CommonName).Time("not_after", stored.Leaf.NotAfter).Msg("certificate loaded")
	return true
}

// serve makes cert the one that handshakes get.
func (k *keeper) serve(cert *tls.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current.Store(cert)
	k.failures, k.lastError, k.lastErrorAt, k.nextTry = 0, "", time.Time{}, time.Time{}
	k.suggested, k.askAt = time.Time{}, time.Now()
}

// pause returns how long to wait after a number of failures.
func (k *keeper) pause(failures int, held *tls.Certificate, now time.Time) time.Duration {
	pause := min(k.m.retry<<min(failures-1, 16), maxRetry)
	if held != nil { // never sleep through the end of what is served
		pause = min(pause, max(held.Leaf.NotAfter.Sub(now)/4, k.m.retry))
	}
	return pause
}

// fail plans the next try and says what is served meanwhile.
func (k *keeper) fail(ctx context.Context, err error, held *tls.Certificate) {
	now := time.Now()
	k.m.failed.Add(1)
	words := explain(err, k.name)
	k.mu.Lock()
	k.failures++
	k.nextTry = now.Add(k.pause(k.failures, held, now))
	firm := false
	if at := notBefore(err); at.After(k.nextTry) {
		k.nextTry, firm = at, true
	}
	k.lastError, k.lastErrorAt = words, now
	next, failures, state := k.nextTry, k.failures, stateOf(held, k.failures, now)
	k.mu.Unlock()
	k.m.keepTry(context.WithoutCancel(ctx), k.name, try{Failures: failures, At: now, Next: next, Firm: firm, Reason: words, Held: endOf(held)})
	level := zerolog.ErrorLevel
	if state == Failing {
		level = zerolog.WarnLevel
	}
	k.m.log.WithLevel(level).Str("name", k.name).Str("reason", words).Int("failures", failures).Time("next_try", next).
		Str("serving", serving(state)).Msg("certificate not obtained")
}

// serving says what clients get.
func serving(s State) string {
	switch s {
	case Expired:
		return "the old certificate, which has ended"
	case Fallback, Pending:
		return "the internal certificate"
	case Valid, Failing:
	}
	return "the old certificate, which is still valid"
}

func (k *keeper) status() Status {
	cert := k.current.Load()
	next := k.plan()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Name: k.name, Source: ACMEMode, LastError: k.lastError, LastErrorAt: k.lastErrorAt, Failures: k.failures, NextTry: next}
	s.State = stateOf(cert, k.failures, time.Now())
	if cert != nil {
		s.describe(cert.Leaf)
		if k.failures == 0 {
			s.NextTry = k.renewAt(cert)
		}
	}
	return s
}
