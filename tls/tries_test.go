package tlsconf_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/testdata/pebble"
	tlsconf "culvert/tls"
)

// TestPauseAfterStart: a start shortens a pause to 15 minutes after the last try, but not one that the authority asked for; no clock makes it wait for ever.
func TestPauseAfterStart(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		at, next time.Duration // from now
		firm     bool
		want     time.Duration
	}{
		"short":                    {-time.Minute, time.Minute, false, time.Minute},
		"long":                     {-time.Minute, 6 * time.Hour, false, 14 * time.Minute},
		"long, and long ago":       {-time.Hour, 5 * time.Hour, false, -45 * time.Minute},
		"over":                     {-time.Hour, -time.Minute, false, -45 * time.Minute},
		"the authority's":          {-time.Minute, 6 * time.Hour, true, 6 * time.Hour},
		"the authority's, too far": {-time.Minute, 30 * 24 * time.Hour, true, 7 * 24 * time.Hour},
		"clock was set back":       {24 * time.Hour, 30 * time.Hour, false, 15 * time.Minute},
	} {
		if got := tlsconf.Due(now.Add(tt.at), now.Add(tt.next), tt.firm, now).Sub(now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// restarts returns a source over dir with pauses of a minute, and what changes its settings.
func restarts(t *testing.T, authority *pebble.CA, client tlsconf.ACMEClient, dir, email string) *tlsconf.Source {
	t.Helper()
	src, err := tlsconf.New(tlsconf.Config{
		Mode: tlsconf.ACMEMode, Names: []string{authority.Host}, Storage: dir, Log: zerolog.New(zerolog.NewTestWriter(t)),
		ACME: tlsconf.ACME{
			Client: client, Email: email, Authorities: []tlsconf.Authority{{Directory: authority.Directory, Roots: authority.ServerPool()}},
			HTTP01: true, TLSALPN01: true,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestACMEStartsDoNotOrder starts a gateway again and again in the pause after a failed order, and after one that it did not survive: the authority is left in
// peace, the status says why, and other settings are tried at once.
func TestACMEStartsDoNotOrder(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		for _, tt := range []struct {
			name   string
			fail   func(*pebble.CA)
			ended  func(*pebble.CA) func(tlsconf.Status) bool // when the first run is ended
			words  string
			pause  time.Duration // at least
			before time.Duration
		}{
			{
				"order failed", (*pebble.CA).RateLimit, func(*pebble.CA) func(tlsconf.Status) bool { return inState(tlsconf.Fallback) },
				"rate limit", 50 * time.Minute, 61 * time.Minute,
			},
			{
				"wrong DNS", func(ca *pebble.CA) { ca.Names.AddDNSARecord(ca.Host, []string{"127.0.0.2"}) },
				func(*pebble.CA) func(tlsconf.Status) bool { return inState(tlsconf.Fallback) },
				"cannot connect to live.", 30 * time.Second, 61 * time.Second,
			},
			{
				"ended in the middle", (*pebble.CA).Hang, func(ca *pebble.CA) func(tlsconf.Status) bool {
					return func(tlsconf.Status) bool { return ca.Requests.Load() > 0 }
				},
				"in the middle of an order", 30 * time.Second, 61 * time.Second,
			},
		} {
			t.Run(string(client)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				authority := pebble.New(t, pebble.Config{})
				tt.fail(authority)
				dir := t.TempDir()
				src := restarts(t, authority, client, dir, "")
				_, stop := runSource(t, src, authority)
				await(t, src, tlsconf.ACMEMode, tt.ended(authority))
				stop()
				asked := authority.Requests.Load()
				for range 3 {
					src = restarts(t, authority, client, dir, "")
					ctx, cancel := context.WithCancel(t.Context())
					cancel() // whatever is due at once is begun, and seen by the authority or kept as a further failure
					if err := src.Run(ctx, tlsconf.Listeners{}); err != nil {
						t.Error(err)
					}
					s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Fallback))
					if left := time.Until(s.NextTry); s.Failures != 1 || !strings.Contains(s.LastError, tt.words) || left < tt.pause || left > tt.before {
						t.Errorf("status after a start: next try in %v, %+v", left, s)
					}
				}
				if n := authority.Requests.Load(); n != asked {
					t.Errorf("%d requests by starts alone", n-asked)
				}
				authority.Again()
				authority.Fault(nil)
				authority.Names.DeleteDNSARecord(authority.Host)
				src = restarts(t, authority, client, dir, "operator@example.org")
				runSource(t, src, authority)
				if s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid)); s.LastError != "" {
					t.Errorf("status %+v", s)
				}
				if left, err := filepath.Glob(filepath.Join(dir, "acme", "tries", "*")); err != nil || len(left) != 0 {
					t.Errorf("a success keeps %v, %v", left, err)
				}
			})
		}
	}
}

// TestACMERenewalSurvivesStart keeps the pause of a failed renewal, too, although the certificate is still valid.
func TestACMERenewalSurvivesStart(t *testing.T) {
	t.Parallel()
	authority := pebble.New(t, pebble.Config{})
	dir := t.TempDir()
	src := restarts(t, authority, tlsconf.Certmagic, dir, "")
	_, stop := runSource(t, src, authority)
	await(t, src, tlsconf.ACMEMode, inState(tlsconf.Valid))
	stop()
	authority.Again()
	authority.RefuseRenewals()
	src = restarts(t, authority, tlsconf.Certmagic, dir, "")
	_, stop = runSource(t, src, authority)
	await(t, src, tlsconf.ACMEMode, inState(tlsconf.Failing))
	stop()
	src = restarts(t, authority, tlsconf.Certmagic, dir, "")
	defer src.Close()
	s := await(t, src, tlsconf.ACMEMode, inState(tlsconf.Failing))
	if s.Failures != 1 || time.Until(s.NextTry) < 50*time.Minute {
		t.Errorf("status %+v", s)
	}
	// Garbage is no reason to wait.
	if err := os.WriteFile(filepath.Join(dir, "acme", "tries", authority.Host+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := restarts(t, authority, tlsconf.Certmagic, dir, "")
	defer again.Close()
	await(t, again, tlsconf.ACMEMode, inState(tlsconf.Valid))
}
