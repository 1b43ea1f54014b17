//go:build interop

package interop_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
)

// logbook keeps what the gateway logs of the end of each connection, by the client's address.
type logbook struct {
	mu     sync.Mutex
	ends   map[string][]string // reasons, one for each line
	claims map[string]bool     // addresses whose page belongs to a connection
}

// ends are the messages of the one line that says how a connection ended: RTMP, refused before it was any protocol, HTTP.
var ends = map[string]bool{"closed": true, "connection refused": true, "http connection ended": true}

// keepLog begins to read the log of a running gateway.
func keepLog(s *server) *logbook {
	b := &logbook{ends: map[string][]string{}, claims: map[string]bool{}}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	before := s.out.onLine
	s.out.onLine = func(line string) {
		before(line)
		b.line(line)
	}
	return b
}

func (b *logbook) line(line string) {
	var entry struct{ Message, Remote, Transport, Reason, Error string }
	if json.Unmarshal([]byte(line), &entry) != nil || !ends[entry.Message] {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.HasPrefix(entry.Transport, "rtmpt") {
		return // the end of a session, which is not that of the connection it was opened on
	}
	b.ends[entry.Remote] = append(b.ends[entry.Remote], strings.TrimSpace(entry.Reason+" "+entry.Error))
}

// claim gives a connection the page of its address. It fails when an earlier one has it: the kernel uses ports again.
func (b *logbook) claim(remote string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.claims[remote]
	b.claims[remote] = true
	return !taken
}

func (b *logbook) reasons(remote string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ends[remote]
}

// requireEnd waits for the line that says how a connection ended: there is one, and it has one of the words.
func (b *logbook) requireEnd(t *testing.T, remote string, words ...string) {
	t.Helper()
	eventually(t, "a log line on the end of "+remote, func() bool { return len(b.reasons(remote)) > 0 })
	got := b.reasons(remote)
	if len(got) > 1 {
		t.Errorf("%d log lines on the end of one connection: %q", len(got), got)
	}
	for _, w := range words {
		if strings.Contains(got[0], w) {
			return
		}
	}
	t.Errorf("the log says %q, want one of %q", got[0], words)
}
