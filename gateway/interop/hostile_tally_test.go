//go:build interop

package interop_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// tally says how often something was refused, by the reason labels of culvert_rejected_total.
type tally map[string]int

// ledger compares what the gateway counts with what it had reason to.
type ledger struct {
	s    *server
	want tally // since the start
}

func newLedger(t *testing.T, s *server) *ledger {
	t.Helper()
	l := &ledger{s: s}
	l.want = l.read(t)
	return l
}

func (l *ledger) read(t *testing.T) tally {
	t.Helper()
	got := tally{}
	for line := range strings.Lines(l.s.get(t, "/metrics")) {
		rest, ok := strings.CutPrefix(line, `culvert_rejected_total{reason="`)
		if !ok {
			continue
		}
		reason, value, _ := strings.Cut(rest, `"} `)
		if reason == "tunnel_open_timeout" || reason == "tunnel_idle_timeout" {
			continue // sessions that an attacker leaves behind end later, while something else is tried
		}
		n := 0
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[reason] = n
	}
	return got
}

// require waits until the counters have risen by what is expected, and fails if any other one has, or one too far. A connection is
// counted a moment before or after its line is in the log.
func (l *ledger) require(t *testing.T, expected ...tally) {
	t.Helper()
	want := maps.Clone(l.want)
	for _, e := range expected {
		for reason, n := range e {
			if _, known := want[reason]; !known {
				t.Errorf("there is no reason %q in the metrics", reason)
			}
			want[reason] += n
		}
	}
	before := l.want
	for end := time.Now().Add(patience); ; {
		l.want = l.read(t)
		rise, missing, beyond := tally{}, false, false
		for reason, n := range l.want {
			missing, beyond = missing || n < want[reason], beyond || n > want[reason]
			if n != before[reason] {
				rise[reason] = n - before[reason]
			}
		}
		if !missing && !beyond {
			return
		}
		if beyond || time.Now().After(end) {
			t.Errorf("the counters rose by %v, want %v", rise, expected)
			return
		}
	}
}
