package tunnel

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Optional abilities of the connections given to ServeConn.
type (
	tryWriter interface {
		TryWritev(bufs [][]byte) (int, error)
		WaitWritable() error
	}
	lazyReader interface {
		LazyRead(pool *sync.Pool) (*[]byte, int, error)
	}
	quickAcker interface {
		SetQuickAck() error
	}
)

var errUnread = errors.New("tunnel: the client does not read its answers")

// sender writes answers to one connection and never waits. It is direct, that
// is, whoever has an answer writes it itself, until the connection refuses
// bytes. From then on it is draining: answers are appended to a bounded queue,
// and one goroutine, which lives until the queue is empty, writes them.
//
// A connection without TryWritev is always draining while it has answers.
//
// While it gathers, because further requests are at hand, small answers are held for
// the next one: a client that pipelines gets them in one segment.
type sender struct {
	// set at construction
	nc    net.Conn
	tw    tryWriter // nil if nc has not the ability
	limit int
	full  func() // called when the queue overflows, with mu held

	mu       sync.Mutex
	changed  sync.Cond
	taken    bool // a request is in hand: it was taken and not answered yet
	queue    chain
	writing  int // bytes that drain has taken out and is writing
	draining bool
	broken   error
	iov      [1][]byte
	gathers  bool
	held     *heldAnswers // nil: none
}

// heldSize is room for a few answers without data, or one with commands.
const heldSize = 1 << 10

// heldAnswers are answers that are written together with the next one.
type heldAnswers struct {
	n   int
	buf [heldSize]byte
	iov [2 + maxPieces][]byte
}

var heldPool = sync.Pool{New: func() any { return new(heldAnswers) }}

// hold keeps a copy of bufs if it is small.
func (w *sender) hold(bufs [][]byte, size int) bool {
	if w.tw == nil || w.draining || size > heldSize || w.held != nil && size > heldSize-w.held.n {
		return false
	}
	if w.held == nil {
		w.held = heldPool.Get().(*heldAnswers)
	}
	for _, b := range bufs {
		w.held.n += copy(w.held.buf[w.held.n:], b)
	}
	return true
}

// forgetHeld gives the memory of what is held back.
func (w *sender) forgetHeld() {
	if h := w.held; h != nil {
		clear(h.iov[:])
		h.n, w.held = 0, nil
		heldPool.Put(h)
	}
}

// gather says whether answers are held for the next one from now on.
func (w *sender) gather(on bool) {
	w.mu.Lock()
	w.gathers = on
	w.mu.Unlock()
}

// sendHeld writes what is held, and ends the gathering.
func (w *sender) sendHeld() {
	w.mu.Lock()
	w.writeHeld()
	w.mu.Unlock()
}

func (w *sender) writeHeld() {
	w.gathers = false
	if w.held != nil {
		w.write(nil, 0)
	}
}

func (w *sender) init(nc net.Conn, limit int, full func()) {
	w.nc, w.limit, w.full = nc, limit, full
	w.tw, _ = nc.(tryWriter)
	w.changed.L = &w.mu
}

// send writes b, or keeps a copy of what cannot be written now. answered says
// that b answers the request in hand.
func (w *sender) send(b []byte, answered bool) {
	w.sendv([][]byte{b}, answered)
}

// sendv is send for an answer in several pieces.
func (w *sender) sendv(bufs [][]byte, answered bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answered {
		w.taken = false
		w.changed.Broadcast()
	}
	if w.broken != nil {
		return
	}
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	if !w.gathers || !w.hold(bufs, size) {
		w.write(bufs, size)
	}
}

// write writes what is held and bufs, or keeps a copy of what cannot be written now.
func (w *sender) write(bufs [][]byte, size int) {
	if h := w.held; h != nil {
		defer w.forgetHeld()
		size += h.n
		bufs = append(append(h.iov[:0], h.buf[:h.n]), bufs...)
	}
	written := 0
	if !w.draining && w.tw != nil {
		n, err := w.tw.TryWritev(bufs)
		switch {
		case err == nil:
			return
		case !errors.Is(err, syscall.EAGAIN):
			w.giveUp(err)
			return
		}
		written = n
	}
	if w.writing+w.queue.n+size-written > w.limit {
		w.giveUp(errUnread)
		w.full()
		return
	}
	for _, b := range bufs {
		skip := min(written, len(b))
		written -= skip
		w.queue.write(b[skip:])
	}
	if !w.draining {
		w.draining = true
		go w.drain() // ends when the queue is empty or nc is closed; waited for by flush and stop
	}
}

// giveUp ends all writing. Reading goes on: a client may have sent its last
// requests and closed the connection without waiting for answers.
func (w *sender) giveUp(err error) {
	w.broken = err
	w.queue.drop()
	w.forgetHeld()
}

// drain writes the queue until it is empty.
func (w *sender) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.tw != nil {
		err = w.drainTrying()
	} else {
		err = w.drainBlocking()
	}
	if err != nil && w.broken == nil {
		w.giveUp(err)
	}
	w.draining = false
	w.changed.Broadcast()
}

// drainTrying waits until the connection takes bytes and then writes without
// waiting. It also runs with an empty queue, for what the connection itself
// has buffered. Called with mu held, which it releases while it waits.
func (w *sender) drainTrying() error {
	for {
		w.mu.Unlock()
		err := w.tw.WaitWritable()
		w.mu.Lock()
		for err == nil && w.broken == nil {
			if w.queue.n == 0 {
				return nil
			}
			var n int
			w.iov[0] = w.queue.head.b[w.queue.head.r:w.queue.head.w]
			n, err = w.tw.TryWritev(w.iov[:])
			w.iov[0] = nil
			w.queue.skip(n)
		}
		if w.broken != nil || !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
}

// drainBlocking writes in the ordinary way. Called with mu held, which it
// releases while it writes.
func (w *sender) drainBlocking() error {
	for w.broken == nil && w.queue.n > 0 {
		k := w.queue.shift()
		w.writing = k.len()
		w.mu.Unlock()
		_, err := w.nc.Write(k.b[k.r:k.w])
		w.mu.Lock()
		w.writing = 0
		k.free()
		if err != nil {
			return err
		}
	}
	return nil
}

// take notes that a request is in hand.
func (w *sender) take() {
	w.mu.Lock()
	w.taken = true
	w.mu.Unlock()
}

// state says whether a request is in hand, and returns errUnread after the
// queue has overflowed.
func (w *sender) state() (busy bool, full error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.broken, errUnread) {
		full = w.broken
	}
	return w.taken, full
}

// busy says whether a request is in hand.
func (w *sender) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}

// settle waits until the request in hand is answered.
func (w *sender) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.taken {
		w.writeHeld()
		w.changed.Wait()
	}
}

// flush waits until all answers are written, but not for long.
func (w *sender) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeld()
	if !w.draining {
		return w.broken
	}
	_ = w.nc.SetWriteDeadline(time.Now().Add(lastWriteWait)) // a failing connection ends the wait as well
	for w.draining {
		w.changed.Wait()
	}
	_ = w.nc.SetWriteDeadline(noDeadline)
	return w.broken
}

// stop closes the connection and waits for the goroutine that drains it.
func (w *sender) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.giveUp(net.ErrClosed)
	}
	_ = w.nc.Close() // nothing is lost with it any more
	for w.draining {
		w.changed.Wait()
	}
}

// noDeadline clears a deadline, longAgo has passed.
var noDeadline, longAgo = time.Time{}, time.Unix(1, 0)

// slow reports whether an error is a passed deadline.
func slow(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
