package rtmpe_test

import (
	"bytes"
	"crypto/rc4" //nolint:gosec // what is tested uses it
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"culvert/rtmpcore/rtmpe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var keyA, keyB = [16]byte([]byte("abcdefghijklmnop")), [16]byte([]byte("ABCDEFGHIJKLMNOP"))

// stream is the tests' own reading of one direction.
func stream(tb testing.TB, key [16]byte) *rc4.Cipher {
	tb.Helper()
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		tb.Fatal(err)
	}
	c.XORKeyStream(make([]byte, 1536), make([]byte, 1536))
	return c
}

func wrap(tb testing.TB, conn net.Conn, in, out [16]byte) net.Conn {
	tb.Helper()
	c, err := rtmpe.New(conn, in, out)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := net.Pipe()
		c1, c2 = wrap(t, a, keyA, keyB), wrap(t, b, keyB, keyA)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// TestBytes: what is written leaves encrypted from byte 1536 of the key stream on, and
// the caller's bytes are not changed.
func TestBytes(t *testing.T) {
	u := &under{take: everything}
	c := wrap(t, u, keyA, keyB)
	text := []byte("one and the same message, one and the same message")
	kept := bytes.Clone(text)
	for range 2 {
		if n, err := c.Write(text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.(writer).TryWritev([][]byte{text[:7], nil, text[7:]}); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	want := bytes.Repeat(kept, 4)
	stream(t, keyB).XORKeyStream(want, want)
	if !bytes.Equal(u.taken, want) {
		t.Error("other bytes than the key stream makes")
	}
	if !bytes.Equal(text, kept) {
		t.Error("the caller's bytes were changed")
	}
	if len(u.calls) != 4 || u.calls[1] != 1 {
		t.Errorf("vectors offered: %v", u.calls)
	}
}

// TestRead: all ways to read give the same.
func TestRead(t *testing.T) {
	plain := make([]byte, 40_000)
	for i := range plain {
		plain[i] = byte(i)
	}
	sent := bytes.Clone(plain)
	stream(t, keyA).XORKeyStream(sent, sent)
	pool := &sync.Pool{New: func() any { b := make([]byte, 999); return &b }}
	c := wrap(t, parked{&under{input: sent}}, keyA, keyB)
	var got []byte
	for i := 0; len(got) < len(plain); i++ {
		var (
			buf = new([]byte)
			n   int
			err error
		)
		switch i % 3 {
		case 0:
			*buf = make([]byte, 777)
			n, err = c.Read(*buf)
		case 1:
			buf, n, err = c.(lazyReader).LazyRead(pool)
		case 2:
			buf, n, err = c.(parker).TryRead(pool)
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, (*buf)[:n]...)
	}
	if !bytes.Equal(got, plain) {
		t.Error("other bytes were read than sent")
	}
	if buf, n, err := c.(lazyReader).LazyRead(pool); buf != nil || n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v %d %v", buf, n, err)
	}
	if buf, n, err := c.(parker).TryRead(pool); buf != nil || n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v %d %v", buf, n, err)
	}
}

// TestRefused: whatever the connection refuses and whatever is sent in its place, the
// peer reads exactly what was taken.
func TestRefused(t *testing.T) {
	for name, write := range map[string]func(c net.Conn, b []byte) (int, error){
		"TryWritev": func(c net.Conn, b []byte) (int, error) {
			third := len(b) / 3
			return c.(writer).TryWritev([][]byte{b[:third], b[third:]})
		},
		"Write": func(c net.Conn, b []byte) (int, error) { return c.Write(b) },
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			u := &under{take: func(n int) int {
				switch random.IntN(3) {
				case 0:
					return 0
				case 1:
					return random.IntN(n + 1)
				}
				return n
			}}
			c := wrap(t, u, keyA, keyB)
			var sent []byte
			for range 100 {
				b := make([]byte, 1+random.IntN(1<<uint(random.IntN(20))))
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				n, err := write(c, b)
				if n < len(b) && !errors.Is(err, syscall.EAGAIN) {
					t.Fatalf("%d of %d: %v", n, len(b), err)
				}
				sent = append(sent, b[:n]...)
			}
			got := bytes.Clone(u.taken)
			stream(t, keyB).XORKeyStream(got, got)
			if len(sent) < 1<<19 || !bytes.Equal(got, sent) {
				t.Errorf("the peer reads other bytes than the %d that were taken", len(sent))
			}
		})
	}
}

// short takes less than it is offered and does not say why.
type short struct{ *under }

func (s short) TryWritev(bufs [][]byte) (int, error) {
	n, _ := s.under.TryWritev(bufs)
	return n, nil
}

// TestShortWrite: whoever writes is never left without a reason for what was not taken.
func TestShortWrite(t *testing.T) {
	u := &under{take: func(n int) int { return n - 1 }}
	c := wrap(t, short{u}, keyA, keyB)
	if n, err := c.(writer).TryWritev([][]byte{[]byte("abc")}); n != 2 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%d, %v", n, err)
	}
}

// TestAllTakenAndFull: a connection that keeps what the socket refuses, as TLS does,
// reports both, and so does this one.
func TestAllTakenAndFull(t *testing.T) {
	u := &under{take: everything, full: true}
	c := wrap(t, u, keyA, keyB)
	if n, err := c.(writer).TryWritev([][]byte{[]byte("abc")}); n != 3 || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.(writer).WaitWritable(); err != nil || u.waits != 1 {
		t.Errorf("%v, %d waits", err, u.waits)
	}
}

// TestGroup: a group of messages is offered in one piece up to 256 KiB.
func TestGroup(t *testing.T) {
	u := &under{take: everything}
	c := wrap(t, u, keyA, keyB)
	b := make([]byte, 64<<10)
	if _, err := c.(writer).TryWritev([][]byte{b, b, b, b}); err != nil {
		t.Fatal(err)
	}
	if len(u.calls) != 1 {
		t.Errorf("256 KiB in %d pieces", len(u.calls))
	}
}

// TestAbilities: the wrapper has those of what it wraps and no others.
func TestAbilities(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for name, tt := range map[string]struct {
		conn          net.Conn
		async, parker bool
		closeWrite    error
	}{
		"plain":        {a, false, false, errors.ErrUnsupported},
		"asynchronous": {&under{}, true, false, nil},
		"parked":       {parked{&under{}}, true, true, nil},
	} {
		c := wrap(t, tt.conn, keyA, keyB)
		if _, ok := c.(writer); ok != tt.async {
			t.Errorf("%s: TryWritev: %v", name, ok)
		}
		if _, ok := c.(lazyReader); ok != tt.async {
			t.Errorf("%s: LazyRead: %v", name, ok)
		}
		p, ok := c.(parker)
		if ok != tt.parker {
			t.Errorf("%s: Park: %v", name, ok)
		}
		if ok && !p.Park(nil, nil) {
			t.Errorf("%s: Park does not reach the connection", name)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, tt.closeWrite) {
			t.Errorf("%s: CloseWrite: %v", name, err)
		}
		if got := c.(interface{ NetConn() net.Conn }).NetConn(); got != tt.conn {
			t.Errorf("%s: NetConn is %v", name, got)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops what it is given under the race detector")
	}
	u := &under{take: everything, forget: true}
	c := wrap(t, u, keyA, keyB).(writer)
	bufs := [][]byte{make([]byte, 300), make([]byte, 20_000)}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := c.TryWritev(bufs); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a group of messages", n)
	}
}

// BenchmarkTryWritev is what encryption adds to a write of one video frame.
func BenchmarkTryWritev(b *testing.B) {
	c := wrap(b, &under{take: everything, forget: true}, keyA, keyB).(writer)
	bufs := [][]byte{make([]byte, 300), make([]byte, 20_000)}
	b.SetBytes(20_300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.TryWritev(bufs); err != nil {
			b.Fatal(err)
		}
	}
}

type writer interface {
	TryWritev(bufs [][]byte) (n int, err error)
	WaitWritable() error
}

type lazyReader interface {
	LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
}

type parker interface {
	TryRead(pool *sync.Pool) (buf *[]byte, n int, err error)
	Park(step func() (stay bool), left func()) bool
	Wake()
}

// under is a connection of which tests decide what it takes.
type under struct {
	input  []byte
	take   func(offered int) int
	full   bool // it says so although it took all
	forget bool

	taken []byte
	calls []int // number of buffers
	waits int
}

func everything(n int) int { return n }

func (u *under) TryWritev(bufs [][]byte) (int, error) {
	if u.forget {
		n := 0
		for _, b := range bufs {
			n += len(b)
		}
		return n, nil
	}
	u.calls = append(u.calls, len(bufs))
	all := bytes.Join(bufs, nil)
	n := u.take(len(all))
	u.taken = append(u.taken, all[:n]...)
	if n < len(all) || u.full {
		return n, syscall.EAGAIN
	}
	return n, nil
}

func (u *under) Write(b []byte) (int, error) { return u.TryWritev([][]byte{b}) }

func (u *under) WaitWritable() error {
	u.waits++
	return nil
}

func (u *under) Read(b []byte) (int, error) {
	if len(u.input) == 0 {
		return 0, io.EOF
	}
	n := copy(b, u.input)
	u.input = u.input[n:]
	return n, nil
}

func (u *under) LazyRead(pool *sync.Pool) (*[]byte, int, error) {
	buf := pool.Get().(*[]byte)
	n, err := u.Read(*buf)
	if err != nil {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil
}

func (*under) CloseWrite() error                { return nil }
func (*under) Close() error                     { return nil }
func (*under) LocalAddr() net.Addr              { return nil }
func (*under) RemoteAddr() net.Addr             { return nil }
func (*under) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (*under) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (*under) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// parked is one that can wait without a goroutine.
type parked struct{ *under }

func (p parked) TryRead(pool *sync.Pool) (*[]byte, int, error) { return p.LazyRead(pool) }
func (parked) Park(func() bool, func()) bool                   { return true }
func (parked) Wake()                                           {}
