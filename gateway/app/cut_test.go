package app_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/app"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/send"
	"culvert/testdata"
)

// What clients say is cut and delayed at every byte: what the server makes of it does
// not depend on how it arrives, and it ends cleanly wherever it ends.

// handshakeSize is the length of C0 C1 C2, and of S0 S1 S2.
const handshakeSize = 1 + 2*1536

// takingConn is a connection that takes all that is written, at once.
type takingConn struct {
	net.Conn

	mu    sync.Mutex
	taken []byte
}

func (c *takingConn) Write(b []byte) (int, error) { return c.TryWritev([][]byte{b}) }

func (c *takingConn) TryWritev(bufs [][]byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range bufs {
		c.taken = append(c.taken, b...)
		n += len(b)
	}
	return n, nil
}

func (*takingConn) WaitWritable() error { return nil }

func (c *takingConn) bytes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.taken)
}

// parkingConn is a takingConn that can be parked.
type parkingConn struct {
	*takingConn

	mu      sync.Mutex
	changed sync.Cond
	data    []byte
	err     error // comes after data
	woken   bool
	step    func() bool
	left    func()
	parked  int // times
}

func newParkingConn(c *takingConn) *parkingConn {
	p := &parkingConn{takingConn: c}
	p.changed.L = &p.mu
	go p.receive() // both end with the connection
	go p.serve()
	return p
}

func (p *parkingConn) receive() {
	buf := make([]byte, 4096)
	for {
		n, err := p.Conn.Read(buf)
		p.mu.Lock()
		p.data, p.err = append(p.data, buf[:n]...), err
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// serve calls the steps of the parked connection.
func (p *parkingConn) serve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for p.step == nil || len(p.data) == 0 && p.err == nil && !p.woken {
			if p.step == nil && p.err != nil {
				return
			}
			p.changed.Wait()
		}
		p.woken = false
		step, left := p.step, p.left
		p.mu.Unlock()
		stay := step()
		p.mu.Lock()
		if !stay {
			p.step, p.left = nil, nil
			p.mu.Unlock()
			left()
			p.mu.Lock()
		}
	}
}

func (p *parkingConn) Park(step func() bool, left func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.left = step, left
	p.parked++
	p.changed.Broadcast()
	return true
}

func (p *parkingConn) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken = true
	p.changed.Broadcast()
}

func (p *parkingConn) take(b []byte) (int, error) {
	if len(p.data) == 0 {
		if p.err == nil {
			return 0, syscall.EAGAIN
		}
		return 0, p.err
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func (p *parkingConn) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && p.err == nil {
		p.changed.Wait()
	}
	return p.take(b)
}

func (p *parkingConn) LazyRead(pool *sync.Pool) (*[]byte, int, error) {
	buf := pool.Get().(*[]byte)
	n, err := p.Read(*buf)
	if err != nil {
		return nil, 0, err
	}
	return buf, n, nil
}

func (p *parkingConn) TryReadTo(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(b)
}

func (p *parkingConn) TryRead(pool *sync.Pool) (*[]byte, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	buf := pool.Get().(*[]byte)
	n, err := p.take(*buf)
	if err != nil {
		return nil, 0, err
	}
	return buf, n, nil
}

// watcher counts what a player is told of the publisher.
type watcher struct{ came, left int }

func (w *watcher) Published()   { w.came++ }
func (w *watcher) Unpublished() { w.left++ }

// outcome is what a conversation leads to.
type outcome struct {
	answers string // what the client was sent after the handshake
	played  string // what a player of its stream was sent
	watcher watcher
}

// replay is a client whose bytes were captured, and a player of its stream.
type replay struct {
	*server
	conn    net.Conn
	ours    *takingConn
	parking *parkingConn // nil: it always has a goroutine
	player  *takingConn
	sub     *live.Subscription
	seen    *watcher
	done    chan struct{} // closed when the server's side has ended
	err     error         // why it ended
}

// replayed prepares one. A key without a name has no player. The server's conn is
// parked whenever it may be, if parking says so.
func replayed(t *testing.T, key live.Key, parking bool) *replay {
	t.Helper()
	ours, theirs := net.Pipe()
	r := &replay{server: newServer(t, public()), conn: theirs, ours: &takingConn{Conn: ours}, seen: &watcher{}, done: make(chan struct{})}
	if key.Name != "" {
		idle, other := net.Pipe()
		t.Cleanup(func() { other.Close() })
		r.player = &takingConn{Conn: idle}
		writer := send.NewWriter(r.player, send.Limits{})
		sub, err := r.hub.Subscribe(key, public().Live, live.Request{Player: r.seen, Writer: writer, StreamID: 1, Wait: true})
		if err != nil {
			t.Fatal(err)
		}
		sub.Start()
		r.sub = sub
	}
	var conn net.Conn = r.ours
	if parking {
		r.parking = newParkingConn(r.ours)
		conn = r.parking
	}
	go func() { // ends with the connection; waited by end
		defer close(r.done)
		nc := rtmpcore.NewConn(conn, rtmpcore.Config{})
		r.err = nc.Serve(t.Context(), &app.Client{Server: r.apps, Loopback: true})
	}()
	return r
}

// deliver sends the parts with a delay before each but the first.
func (r *replay) deliver(t *testing.T, delay time.Duration, parts ...[]byte) {
	t.Helper()
	for i, part := range parts {
		if i > 0 {
			time.Sleep(delay)
		}
		if _, err := r.conn.Write(part); err != nil {
			t.Fatalf("part %d of %d bytes: %v", i, len(part), err)
		}
	}
	synctest.Wait()
}

// end hangs up and returns what it all led to. The server must have noticed and
// let go of the stream.
func (r *replay) end(t *testing.T) outcome {
	t.Helper()
	r.conn.Close()
	synctest.Wait()
	select {
	case <-r.done:
	default:
		t.Fatal("Serve has not returned")
	}
	if !errors.Is(r.err, io.EOF) && !errors.Is(r.err, io.ErrUnexpectedEOF) {
		t.Errorf("the end is reported as %v", r.err)
	}
	for _, stream := range r.hub.Streams() {
		if stream.Live {
			t.Errorf("stream %s/%s is still published", stream.App, stream.Name)
		}
	}
	o := outcome{answers: r.ours.bytes(), watcher: *r.seen}
	o.answers = o.answers[min(handshakeSize, len(o.answers)):]
	if r.sub != nil {
		o.played = r.player.bytes()
		r.sub.Close()
		r.player.Close()
	}
	if n := len(r.hub.Streams()); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	return o
}

// published finds out what a conversation publishes.
func published(t *testing.T, b []byte) live.Key {
	t.Helper()
	r := replayed(t, live.Key{}, false)
	defer r.end(t)
	for i := range b {
		r.deliver(t, 0, b[i:i+1])
		for _, stream := range r.hub.Streams() {
			if stream.Live {
				return stream.Key
			}
		}
	}
	return live.Key{}
}

// conversation is what a client says.
type conversation struct {
	name  string
	bytes []byte
	made  bool // by ourselves, and short: it is cut at every byte
}

// conversations are those of real clients and, for what none of them speaks, one made
// here.
func conversations(t *testing.T) []conversation {
	t.Helper()
	captures, err := testdata.Captures()
	if err != nil {
		t.Fatal(err)
	}
	all := []conversation{{"made: scheme 1, AMF3, aggregates", madeConversation(t), true}}
	for _, c := range captures {
		all = append(all, conversation{c.Name(), c.ClientToServer, false})
	}
	return all
}

// positions are where a conversation is cut: everywhere in its first bytes, dense of
// them, and at every 37th of the media that follows. The random bytes of C1 and C2 are
// all alike.
func (c conversation) positions(dense int) []int {
	var all []int
	for i := range c.bytes {
		if c.made {
			all = append(all, i)
			continue
		}
		switch inside := (i - 1) % 1536; {
		case i < handshakeSize && i > 0 && inside > 32 && inside < 1536-32 && i%256 != 0:
		case i > dense && i%37 != 0:
		default:
			all = append(all, i)
		}
	}
	return all
}

func TestConversationsCutAnywhere(t *testing.T) {
	for _, c := range conversations(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := c.bytes
			bubble(t, func(t *testing.T) {
				key := published(t, b)
				r := replayed(t, key, false)
				r.deliver(t, 0, b)
				want := r.end(t)
				if want.answers == "" || key.Name != "" && (want.played == "" || want.watcher != watcher{1, 1}) {
					t.Fatalf("uncut: %d bytes of answers, a player got %d, %+v", len(want.answers), len(want.played), want.watcher)
				}
				for n, i := range c.positions(8 << 10) {
					r := replayed(t, key, n%2 > 0)
					r.deliver(t, 3*time.Second, b[:i], b[i:])
					if got := r.end(t); got != want {
						t.Fatalf("cut at %d: %d bytes of answers, a player got %d, %+v; uncut %d, %d, %+v", i,
							len(got.answers), len(got.played), got.watcher, len(want.answers), len(want.played), want.watcher)
					}
				}
				for _, size := range []int{1, 2, 3, 11, 127, 128, 129, 1460, 4096} {
					var parts [][]byte
					for rest := b; len(rest) > 0; rest = rest[min(size, len(rest)):] {
						parts = append(parts, rest[:min(size, len(rest))])
					}
					for _, parking := range []bool{false, true} {
						r := replayed(t, key, parking)
						r.deliver(t, time.Millisecond, parts...)
						if got := r.end(t); got != want {
							t.Errorf("in pieces of %d bytes, parking %v: the outcome differs", size, parking)
						}
						if parking && key.Name != "" && r.parking.parked == 0 {
							t.Errorf("in pieces of %d bytes the connection was never parked", size)
						}
					}
				}
			})
		})
	}
}

func TestConversationsEndAnywhere(t *testing.T) {
	for _, c := range conversations(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := c.bytes
			bubble(t, func(t *testing.T) {
				key := published(t, b)
				answered, played := 0, 0
				for n, i := range c.positions(4 << 10) {
					r := replayed(t, key, n%2 > 0)
					r.deliver(t, 0, b[:i])
					got := r.end(t)
					if got.watcher.came != got.watcher.left {
						t.Fatalf("ended at %d: the publisher came %d times and left %d times", i, got.watcher.came, got.watcher.left)
					}
					if len(got.answers) < answered || len(got.played) < played {
						t.Fatalf("ended at %d: less was said (%d bytes, %d to a player) than when it ended before (%d, %d)", i,
							len(got.answers), len(got.played), answered, played)
					}
					answered, played = len(got.answers), len(got.played)
				}
			})
		})
	}
}
