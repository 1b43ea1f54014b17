//go:build interop

package interop_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What a gateway says of itself: its pages, its metrics, its log.

// ask asks a listener over HTTP, on a connection of its own, checks the status and returns the body.
func (s *server) ask(t *testing.T, listener, method, path string, status int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(background(t), method, "http://"+s.addr(t, listener)+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s %s is answered %s, want %d:\n%s", method, path, response.Status, status, body)
	}
	return string(body)
}

// get asks the admin listener.
func (s *server) get(t *testing.T, path string) string {
	t.Helper()
	return s.ask(t, "admin", http.MethodGet, path, http.StatusOK)
}

// metric returns the value of a series, or the sum of all series of a name; zero when there is none.
func (s *server) metric(t *testing.T, series string) float64 {
	t.Helper()
	return sumOf(t, s.get(t, "/metrics"), series)
}

func sumOf(t *testing.T, metrics, series string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(metrics) {
		rest, ok := strings.CutPrefix(line, series)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	return sum
}

// wantsLog waits for a line of the gateway's log with all of some words.
func (s *server) wantsLog(t *testing.T, words ...string) {
	t.Helper()
	s.wantsLogs(t, 1, words...)
}

// wantsLogs waits for n such lines.
func (s *server) wantsLogs(t *testing.T, n int, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d log lines with %q", n, words), func() bool { return len(linesWith(s.out.String(), words...)) >= n })
}

// linesWith returns the lines of a text that have all of some words.
func linesWith(text string, words ...string) (lines []string) {
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			lines = append(lines, line)
		}
	}
	return lines
}
