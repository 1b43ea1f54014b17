package tunnel

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Errors that a Conn returns besides io.EOF, net.ErrClosed and
// os.ErrDeadlineExceeded.
var (
	// ErrSessionExpired ends a session whose client has not sent a request for
	// the idle time.
	ErrSessionExpired = errors.New("tunnel: session expired")
	// ErrSessionEnded is returned by writes to a session that the peer has
	// ended.
	ErrSessionEnded = errors.New("tunnel: session ended by the peer")
	// ErrRequestLost ends a session of which a request never arrived although
	// later ones did.
	ErrRequestLost = errors.New("tunnel: a request of the session was lost")
	// ErrStalled ends a session whose reader does not take what the client
	// sent.
	ErrStalled = errors.New("tunnel: received bytes are not read")
	// ErrServerClosed ends every session, and Accept, when the server closes.
	ErrServerClosed = errors.New("tunnel: server closed")
)

// engine is what moves the bytes of a Conn: a server's session or a dialled
// client. All its methods but finish run with the Conn's mutex held.
type engine interface {
	starving()       // a reader is about to wait on an empty input
	consumed()       // a reader took bytes
	queued()         // bytes were added to the output
	publishing(bool) // SetPublishing
	closing()        // Close was called for the first time
	finish() error   // after closing, without the mutex
}

// Conn is one tunnelled byte stream, a full net.Conn. On the server its bytes
// come from the bodies of send requests and leave in answers; on the client it
// is the other way round.
//
// All methods may be called concurrently. A Write, or one TryWritev call, is
// one message group: it is kept in one HTTP body where it fits.
type Conn struct {
	// set at construction
	local, remote net.Addr
	engine        engine
	transport     string
	proxied       bool
	host          string
	quiet         bool
	parkable      bool

	writing sync.Mutex // held by one Write at a time, before mu

	mu       sync.Mutex
	readable sync.Cond
	writable sync.Cond
	in       chain
	out      outbox
	readErr  error // after in is used up
	writeErr error
	closed   bool
	readers  int // goroutines that wait on readable
	writers  int // goroutines that wait on writable
	want     int // size of the last group that was refused
	readEnd  deadline
	writeEnd deadline
	parking
}

func (c *Conn) init(e engine, local, remote net.Addr, transport string, limit, cut int) {
	c.engine, c.local, c.remote, c.transport = e, local, remote, transport
	c.readable.L, c.writable.L = &c.mu, &c.mu
	c.out.limit, c.out.cut = limit, cut
}

// Read reads bytes that the peer sent. It returns io.EOF after the peer has
// closed the session and everything it sent was read.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.awaitInput(); err != nil {
		return 0, err
	}
	n := c.in.read(b)
	c.engine.consumed()
	return n, nil
}

// LazyRead waits until bytes can be read, and only then takes a buffer from
// pool, reads once into it and returns it with the count. The caller puts the
// buffer back. On error the buffer is nil. Not for use at the same time as
// Read.
func (c *Conn) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitInput(); err != nil {
		return nil, 0, err
	}
	buf, n = c.takeInput(pool)
	return buf, n, nil
}

// TryRead is a LazyRead that does not wait: when nothing is there the error is
// syscall.EAGAIN.
func (c *Conn) TryRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ready, err := c.inputState(); err != nil {
		return nil, 0, err
	} else if !ready {
		return nil, 0, errAgain
	}
	buf, n = c.takeInput(pool)
	return buf, n, nil
}

// TryReadTo is a Read that does not wait: when nothing is there the error is
// syscall.EAGAIN.
func (c *Conn) TryReadTo(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ready, err := c.inputState(); err != nil {
		return 0, err
	} else if !ready {
		return 0, errAgain
	}
	n := c.in.read(b)
	c.engine.consumed()
	return n, nil
}

func (c *Conn) takeInput(pool *sync.Pool) (buf *[]byte, n int) {
	buf = pool.Get().(*[]byte)
	n = c.in.read(*buf)
	c.engine.consumed()
	return buf, n
}

// inputState says whether there is something to read, or why there will not be.
func (c *Conn) inputState() (ready bool, err error) {
	switch {
	case c.closed:
		return false, net.ErrClosed
	case c.readEnd.expired:
		return false, os.ErrDeadlineExceeded
	case c.in.n > 0:
		return true, nil
	}
	return false, c.readErr
}

// awaitInput returns nil when c.in holds bytes.
func (c *Conn) awaitInput() error {
	for {
		if ready, err := c.inputState(); ready || err != nil {
			return err
		}
		c.readers++
		c.engine.starving()
		if c.in.n == 0 && c.readErr == nil {
			c.readable.Wait()
		}
		c.readers--
	}
}

// Write queues b for the peer. It waits while the queue is full.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeState(); err != nil {
			return n, err
		}
		if c.writeEnd.expired {
			return n, os.ErrDeadlineExceeded
		}
		rest := b[n:]
		if len(rest) == 0 {
			return n, nil
		}
		if m := c.put([][]byte{rest}, len(rest)); m > 0 {
			n += m
			continue
		}
		c.writers++
		c.engine.queued()
		if !c.roomy() && c.writeState() == nil {
			c.writable.Wait()
		}
		c.writers--
	}
}

// TryWritev queues a message group without waiting and returns how many of its
// bytes were taken. A group is taken whole or not at all, unless it is larger
// than the queue. If not all were taken the error is syscall.EAGAIN: offer the
// rest after WaitWritable has returned nil. Any other error is final. bufs is
// neither changed nor kept.
func (c *Conn) TryWritev(bufs [][]byte) (int, error) {
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writeState(); err != nil {
		return 0, err
	}
	if n := c.put(bufs, total); n < total {
		return n, syscall.EAGAIN
	}
	return total, nil
}

// WaitWritable waits until TryWritev may take bytes again. It returns
// os.ErrDeadlineExceeded when the write deadline passes and net.ErrClosed when
// the Conn is closed.
func (c *Conn) WaitWritable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeState(); err != nil {
			return err
		}
		switch {
		case c.writeEnd.expired:
			return os.ErrDeadlineExceeded
		case c.roomy():
			return nil
		}
		c.writers++
		c.engine.queued()
		if !c.roomy() && c.writeState() == nil {
			c.writable.Wait()
		}
		c.writers--
	}
}

func (c *Conn) writeState() error {
	if c.closed {
		return net.ErrClosed
	}
	return c.writeErr
}

// put queues what fits of a group and remembers what the rest waits for.
func (c *Conn) put(bufs [][]byte, total int) int {
	n := c.out.fits(total)
	if n > 0 {
		c.out.add(bufs, n)
		c.engine.queued()
	}
	if n < total {
		c.want = min(total-n, max(c.out.limit/2, 1))
		if n == 0 {
			c.want = min(total, c.out.limit)
		}
	}
	return n
}

// roomy says that the group that was refused last would be taken now, or some
// of it.
func (c *Conn) roomy() bool { return c.out.n == 0 || c.out.n+c.want <= c.out.limit }

// drained is called by the engine when it took bytes out of the queue.
func (c *Conn) drained() {
	if c.writers > 0 && c.roomy() {
		c.writable.Broadcast()
	}
}

// fail sets what reads (after the input is used up) and writes return from now
// on, and wakes who waits. The first call counts.
func (c *Conn) fail(read, write error) {
	if c.readErr == nil {
		c.readErr = read
	}
	if c.writeErr == nil {
		c.writeErr = write
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
	c.rouse()
}

// Close ends the stream. Pending and later reads and writes return
// net.ErrClosed; what was written is still delivered.
//
// On the server Close does not wait: the queue goes out in answers to the
// client's next requests, for at most the idle time, and after that the client
// is answered 404. On the client Close waits until the queue was sent and the
// server was told, for at most Dialer.CloseTimeout.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.in.drop()
	c.readEnd.stop()
	c.writeEnd.stop()
	c.readable.Broadcast()
	c.writable.Broadcast()
	c.rouse()
	c.engine.closing()
	c.mu.Unlock()
	return c.engine.finish()
}

// LocalAddr is the local address of the connection that opened the session.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is, on the server, the address of the client that opened the
// session: ConnInfo.RemoteAddr, or whom a trusted proxy named, then with port 0
// if it named none; on the client the address that was dialled.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Transport is, on the server, the ConnInfo.Transport of the connection that
// opened the session; on the client it is rtmpt, or rtmpts if Dial spoke TLS.
func (c *Conn) Transport() string { return c.transport }

// Proxied reports, on the server, that the session was opened through a proxy:
// ConnInfo.Proxied was set, the peer is one of Config.Forwarding, or the request
// that opened it was HTTP/1.0 or had a Via, Forwarded, X-Forwarded-For or
// X-Real-IP field. A loopback address then does not mean a local client.
func (c *Conn) Proxied() bool { return c.proxied }

// Host is, on the server, what the request that opened the session was sent to: its
// Host field, with the port if that has one. On the client it is "".
func (c *Conn) Host() string { return c.host }

// SetDeadline sets both deadlines. A zero time clears them.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the time from which reads return
// os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(&c.readEnd, &c.readable, t)
}

// SetWriteDeadline sets the time from which Write and WaitWritable return
// os.ErrDeadlineExceeded. TryWritev never waits and ignores it.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(&c.writeEnd, &c.writable, t)
}

func (c *Conn) setDeadline(d *deadline, cond *sync.Cond, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.set(t, cond)
	return nil
}

// Quiet reports that a publisher at the other end must be sent nothing
// unsolicited: true on the server.
func (c *Conn) Quiet() bool { return c.quiet }

// SetPublishing tells the tunnel that the client publishes now (or no longer):
// its idle requests are then never held and its sends are answered at once.
func (c *Conn) SetPublishing(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine.publishing(on)
}

var _ net.Conn = (*Conn)(nil)
