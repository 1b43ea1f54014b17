package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	tlsconf "culvert/tls"
)

func between(from, to time.Time) *tls.Certificate {
	return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: from, NotAfter: to}}
}

// TestPause: pauses after failures double up to six hours, and never sleep through the end of what is served.
func TestPause(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360} {
		if got := tlsconf.Pause(time.Minute, i+1, nil, now); got != want*time.Minute {
			t.Errorf("after failure %d: %v, want %v", i+1, got, want*time.Minute)
		}
	}
	for _, failures := range []int{100, 1 << 40} {
		if got := tlsconf.Pause(time.Minute, failures, nil, now); got != 6*time.Hour {
			t.Errorf("after failure %d: %v", failures, got)
		}
	}
	for left, want := range map[time.Duration]time.Duration{
		48 * time.Hour: 6 * time.Hour, 8 * time.Hour: 2 * time.Hour, time.Hour: 15 * time.Minute, time.Minute: time.Minute, -time.Hour: time.Minute,
	} {
		if got := tlsconf.Pause(time.Minute, 20, between(now.Add(-time.Hour), now.Add(left)), now); got != want {
			t.Errorf("with %v left: %v, want %v", left, got, want)
		}
	}
}

// TestRenewAt: at the time that the authority suggests, unless that is late; else with a third of the life left.
func TestRenewAt(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	from := time.Now()
	cert := between(from, from.Add(90*day))
	for name, tt := range map[string]struct{ suggested, want time.Time }{
		"nothing":    {time.Time{}, from.Add(60 * day)},
		"early":      {from.Add(day), from.Add(day)},
		"late":       {from.Add(81*day - 1), from.Add(81*day - 1)},
		"too late":   {from.Add(81 * day), from.Add(60 * day)},
		"at the end": {from.Add(91 * day), from.Add(60 * day)},
	} {
		if got := tlsconf.RenewAt(cert, tt.suggested); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
