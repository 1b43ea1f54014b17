package send

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"culvert/rtmpcore/chunk"
)

// Writer is the sending side of one connection. All methods may be called by
// any goroutine, and none of them waits for the peer except Flush and Close.
type Writer struct {
	// set at construction, or by SetConn before the first use
	conn   net.Conn
	try    tryWriter
	limits Limits
	drains sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	chunkSize int
	queue     *queue        // nil: direct
	drained   chan struct{} // closed when the queue is empty; nil when nobody waits
	err       error         // why nothing more is written
	hangUp    bool          // the conn is to be closed for err
	written   uint64
}

// NewWriter returns a Writer for conn. When conn has the methods TryWritev and
// WaitWritable (see package comment), they are used; any other conn is written
// by a goroutine while there is something to write.
func NewWriter(conn net.Conn, limits Limits) *Writer {
	w := &Writer{limits: limits.withDefaults(), chunkSize: defaultChunkSize}
	w.SetConn(conn)
	return w
}

// SetConn replaces the connection by one that wraps it. Nothing must have been sent
// yet.
func (w *Writer) SetConn(conn net.Conn) {
	try, ok := conn.(tryWriter)
	if !ok {
		try = &blockingConn{conn: conn}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn, w.try = conn, try
}

// defaultChunkSize is a connection's chunk size until Set Chunk Size.
const defaultChunkSize = 128

// chunkStreamID returns the chunk stream that messages of a type go to. The
// numbers are those of Adobe's server; all are below 32, which nginx-rtmp
// demands.
func chunkStreamID(typeID uint8) uint8 {
	switch typeID {
	case 1, 2, 3, 4, 5, 6: // protocol control, user control
		return 2
	case 8: // audio
		return 4
	case 15, 18: // data
		return 5
	case 9, 22: // video, aggregate
		return 6
	default: // commands, shared objects
		return 3
	}
}

// scratch is memory for putting a group of messages together.
type scratch struct {
	iov  [][]byte
	msgs []*chunk.Message
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) free() {
	clear(s.iov)
	s.iov, s.msgs = s.iov[:0], s.msgs[:0]
	scratches.Put(s)
}

// Send writes messages as one group, in their order, and takes over the
// caller's references. A Set Chunk Size among them counts from the next one on,
// and is put before the first message that is longer than the connection's
// initial chunk size; its value is [chunk.SegmentSize] or [chunk.MaxChunkSize].
// The error is the one that ended the connection.
func (w *Writer) Send(msgs ...*chunk.Message) error {
	sc := scratches.Get().(*scratch)
	w.mu.Lock()
	size := 0
	for _, m := range msgs {
		if m.Len() > w.chunkSize && w.chunkSize < chunk.SegmentSize {
			size += w.encode(sc, setChunkSize(chunk.SegmentSize))
		}
		size += w.encode(sc, m)
	}
	w.put(sc.iov, sc.msgs, size, nil)
	err := w.unlock()
	sc.msgs = chunk.ReleaseAll(sc.msgs)
	sc.free()
	return err
}

// encode chunks a message for this connection and adds it to sc.
func (w *Writer) encode(sc *scratch, m *chunk.Message) (size int) {
	m.Encode(chunkStreamID(m.TypeID), w.chunkSize)
	sc.msgs = append(sc.msgs, m)
	sc.iov = m.AppendWire(sc.iov)
	if m.TypeID == typeSetChunkSize {
		w.chunkSize = int(binary.BigEndian.Uint32(m.Head()))
	}
	return m.WireLen()
}

// RaiseChunkSize announces a chunk size unless it, or a larger one, is in force
// already: before messages that must not be cut, see [chunk.Message.Encode].
func (w *Writer) RaiseChunkSize(size int) {
	w.mu.Lock()
	raised := w.chunkSize < size
	w.mu.Unlock()
	if raised {
		_ = w.Send(setChunkSize(size)) // its session sees the closed conn
	}
}

func setChunkSize(size int) *chunk.Message {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(size))
	m := chunk.NewMessage(typeSetChunkSize, 0, 0, b[:])
	m.Class = chunk.ClassOrdered // between the chunks of a message it would cut the rest of them elsewhere
	return m
}

// Message type IDs that this package must tell apart.
const (
	typeSetChunkSize = 1
	typeDataAMF3     = 15
	typeDataAMF0     = 18
)

// BytesWritten returns the number of bytes that the connection took.
func (w *Writer) BytesWritten() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// Queued returns the number of bytes that the connection has not taken yet.
func (w *Writer) Queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue == nil {
		return 0
	}
	return w.queue.bytes
}

// Err returns what ended the connection's sending side, or nil.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Flush waits until all that was given to the Writer is with the connection.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	if w.queue == nil || w.err != nil {
		defer w.mu.Unlock()
		return w.err
	}
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	drained := w.drained
	w.mu.Unlock()
	select {
	case <-drained:
		return w.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the sending side and waits for its drain goroutine. The
// connection must be closed before, or be closed by the peer.
func (w *Writer) Close() {
	w.mu.Lock()
	w.fail(net.ErrClosed)
	w.mu.Unlock()
	w.drains.Wait()
}

// put writes a group or queues it. iov are the messages' bytes, size of them in
// all; the messages stay the caller's. Callers hold mu and unlock with unlock.
func (w *Writer) put(iov [][]byte, msgs []*chunk.Message, size int, sub *Subscriber) {
	if w.err != nil || size == 0 {
		return
	}
	if w.queue != nil {
		now := time.Now()
		for _, m := range msgs {
			w.queue.push(m, sub, now)
		}
		w.bound(sub, now)
		return
	}
	n, err := w.try.TryWritev(iov)
	w.written += uint64(n)
	switch {
	case err == nil:
		return
	case !errors.Is(err, syscall.EAGAIN):
		w.fail(err)
		return
	}
	w.queue = new(queue)
	now := time.Now()
	for _, m := range msgs {
		switch {
		case n >= m.WireLen():
			n -= m.WireLen()
		case n > 0:
			w.queue.pushRest(m, n)
			n = 0
		default:
			w.queue.push(m, sub, now)
		}
	}
	w.drains.Add(1)
	go w.drain() // stopped by an empty queue or a closed conn; waited by Close
}

// bound keeps the queue within its limits after sub's messages were added.
func (w *Writer) bound(sub *Subscriber, now time.Time) {
	q := w.queue
	age := q.oldest(now)
	if q.bytes > w.limits.QueueClose+q.allow || q.answers > maxAnswers || age > patience*w.limits.QueueTime {
		w.fail(fmt.Errorf("%w: %d bytes queued, the oldest for %v", ErrTooSlow, q.bytes, age.Round(time.Millisecond)))
		return
	}
	if sub == nil || q.bytes <= w.limits.Queue+q.allow && age <= w.limits.QueueTime {
		return
	}
	dropped, all := q.shed(sub, false), false
	if dropped == 0 || q.bytes > w.limits.Queue+q.allow {
		rest := q.shed(sub, true)
		dropped, all = dropped+rest, rest > 0
	}
	if dropped > 0 {
		sub.fellBehind(dropped, all)
	}
}

// fail stops all sending. The conn is closed by unlock, or was closed before.
func (w *Writer) fail(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	w.hangUp = !errors.Is(err, net.ErrClosed)
	if w.queue != nil {
		w.queue.release()
	}
	w.signal()
}

func (w *Writer) signal() {
	if w.drained != nil {
		close(w.drained)
		w.drained = nil
	}
}

// unlock gives up mu. When the Writer failed, it closes the conn, which wakes
// the connection's reader to clean up.
func (w *Writer) unlock() error {
	err, hangUp := w.err, w.hangUp
	w.hangUp = false
	w.mu.Unlock()
	if hangUp {
		w.conn.Close()
	}
	return err
}

// drain writes the queue until it is empty.
func (w *Writer) drain() {
	defer w.drains.Done()
	for {
		err := w.conn.SetWriteDeadline(time.Now().Add(w.limits.WriteTimeout))
		if err == nil {
			err = w.try.WaitWritable()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w for %v: %w", ErrStalled, w.limits.WriteTimeout, err)
		}
		w.mu.Lock()
		if err != nil {
			w.fail(err)
		}
		done := w.writeQueue()
		if w.unlock() != nil || done {
			return
		}
	}
}

// writeQueue writes what the connection takes and reports whether that was all.
func (w *Writer) writeQueue() (done bool) {
	for w.err == nil {
		q := w.queue
		q.fill()
		if len(q.batch) == 0 {
			w.queue = nil
			if err := w.conn.SetWriteDeadline(time.Time{}); err != nil {
				w.fail(err)
			}
			w.signal()
			return true
		}
		n, err := w.try.TryWritev(q.batch)
		w.written += uint64(n)
		q.advance(n)
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		if err != nil {
			w.fail(err)
		}
	}
	return true
}
