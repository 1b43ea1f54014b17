//go:build interop

package interop_test

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
)

// tap is a passage that keeps what passes, so that a test can wait for a word on the wire.
type tap struct {
	passage

	mu    sync.Mutex
	sent  [2]bytes.Buffer // by clients, by the gateway; all connections one after the other
	ended bool            // the gateway has ended a connection
}

// newTap returns a tap and the URL that leads through it.
func newTap(t *testing.T, url string) (*tap, string) {
	t.Helper()
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	tp := &tap{passage: passage{to: host}}
	tp.passes = tp.keep
	tp.open(t)
	return tp, scheme + "://" + tp.addr() + "/" + path
}

func (tp *tap) keep(direction int, b []byte, err error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.sent[direction].Write(b)
	if direction == s2c && err != nil && !errors.Is(err, net.ErrClosed) { // closed: because the client has ended it
		tp.ended = true
	}
}

// saw reports whether a word has passed.
func (tp *tap) saw(direction int, word string) bool {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return bytes.Contains(tp.sent[direction].Bytes(), []byte(word))
}

// await waits until a word has passed.
func (tp *tap) await(t *testing.T, direction int, word string) {
	t.Helper()
	eventually(t, "the word "+word+" on the wire", func() bool { return tp.saw(direction, word) })
}

// endedByGateway reports whether the gateway has ended a connection.
func (tp *tap) endedByGateway() bool {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.ended
}
