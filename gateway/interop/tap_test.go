//go:build interop

package interop_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// tap is a relay in front of a listener that keeps what passes, so that a test can wait for a word on the wire.
type tap struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	sent  [2]bytes.Buffer // by clients, by the gateway; all connections one after the other
	ended bool            // the gateway has ended a connection
}

const (
	c2s = 0
	s2c = 1
)

// newTap returns a tap and the URL that leads through it.
func newTap(t *testing.T, url string) (*tap, string) {
	t.Helper()
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{listener: listener, target: host}
	tp.running.Add(1)
	go tp.accept() // stopped by closing the listener; waited by close
	t.Cleanup(tp.close)
	return tp, scheme + "://" + listener.Addr().String() + "/" + path
}

func (tp *tap) close() {
	tp.listener.Close()
	tp.mu.Lock()
	conns := tp.conns
	tp.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	tp.running.Wait()
}

func (tp *tap) accept() {
	defer tp.running.Done()
	for {
		client, err := tp.listener.Accept()
		if err != nil {
			return
		}
		gateway, err := net.Dial("tcp", tp.target)
		if err != nil {
			client.Close()
			continue
		}
		tp.mu.Lock()
		tp.conns = append(tp.conns, client, gateway)
		tp.mu.Unlock()
		tp.running.Add(2)
		go tp.copy(gateway, client, c2s) // both stopped by close or by either end; waited by close
		go tp.copy(client, gateway, s2c)
	}
}

func (tp *tap) copy(to, from net.Conn, direction int) {
	defer tp.running.Done()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		tp.mu.Lock()
		tp.sent[direction].Write(buf[:n])
		tp.ended = tp.ended || err != nil && direction == s2c
		tp.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			// What one side has ended is ended for the other side too.
			to.Close()
			from.Close()
			return
		}
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
