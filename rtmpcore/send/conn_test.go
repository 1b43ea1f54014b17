package send_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is a conn whose peer reads when the test lets it. It has the ability
// to write without waiting, as a TCP connection has.
type socket struct {
	net.Conn // nil: nothing else is used

	mu     sync.Mutex
	cond   *sync.Cond
	room   int // bytes it takes before it refuses
	got    bytes.Buffer
	writes int // calls that took something
	waits  int
	closed bool
}

const boundless = 1 << 50

func newSocket(room int) *socket {
	s := &socket{room: room}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *socket) TryWritev(bufs [][]byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	for _, b := range bufs {
		k := min(len(b), s.room)
		s.got.Write(b[:k])
		s.room -= k
		n += k
		if k < len(b) {
			err = syscall.EAGAIN
			break
		}
	}
	if n > 0 {
		s.writes++
	}
	return n, err
}

func (s *socket) WaitWritable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits++
	s.cond.Broadcast()
	for s.room == 0 && !s.closed {
		s.cond.Wait()
	}
	if s.closed {
		return net.ErrClosed
	}
	return nil
}

// allow lets the peer read n more bytes.
func (s *socket) allow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room += n
	s.cond.Broadcast()
}

// blocked waits until the drain goroutine waits for the n-th time.
func (s *socket) blocked(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waits < n {
		s.cond.Wait()
	}
}

func (s *socket) counts() (writes, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, s.got.Len()
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
	return nil
}

func (s *socket) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// sent is a message as the peer reads it.
type sent struct {
	typeID   uint8
	streamID uint32
	at       chunk.Timestamp
	payload  string
}

// messages parses what the peer got. A cut message at the end is an error.
func (s *socket) messages(t *testing.T) []sent {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return parse(t, s.got.Bytes())
}

func parse(t *testing.T, b []byte) []sent {
	t.Helper()
	r := chunk.NewReader(bytes.NewReader(b), chunk.Limits{Media: chunk.MaxChunkSize})
	defer r.Close()
	var list []sent
	for {
		m, err := r.ReadMessage()
		if err == io.EOF { //nolint:errorlint // a clean end is the bare io.EOF
			return list
		}
		if err != nil {
			t.Fatalf("the peer cannot read its bytes after %d messages: %v", len(list), err)
		}
		list = append(list, sent{m.TypeID, m.StreamID, m.Timestamp, string(m.Bytes())})
		m.Release()
	}
}

// frame makes a message of a class.
func frame(class chunk.Class, at chunk.Timestamp, payload []byte) *chunk.Message {
	typeID := message.TypeVideo
	switch class {
	case chunk.ClassAudio:
		typeID = message.TypeAudio
	case chunk.ClassOrdered:
		typeID = message.TypeDataAMF0
	case chunk.ClassUrgent:
		typeID = message.TypeUserControl
	default:
	}
	m := chunk.NewMessage(typeID, 1, at, payload)
	m.Class = class
	return m
}

// fill returns n bytes that differ from frame to frame.
func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i)
	}
	return b
}
