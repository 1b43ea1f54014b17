package tunnel_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// memConn is one end of a connection in memory that has all the abilities the
// tunnel asks for. Bytes that the other end has not read are bounded, as a
// socket's are.
type memConn struct {
	in, out   *memHalf
	addr      net.Addr
	mu        sync.Mutex
	reading   memDeadline
	writing   memDeadline
	quickAcks int
	writes    atomic.Int32 // calls of TryWritev
}

// memHalf is one direction.
type memHalf struct {
	mu      sync.Mutex
	cond    sync.Cond
	buf     []byte
	limit   int
	eof     bool // writer closed
	gone    bool // reader closed
	expired bool // read deadline
	late    bool // write deadline
}

func newMemHalf(limit int) *memHalf {
	h := &memHalf{limit: limit}
	h.cond.L = &h.mu
	return h
}

// memPipe returns the two ends of a connection.
func memPipe(limit int) (client, server *memConn) {
	up, down := newMemHalf(limit), newMemHalf(limit)
	client = &memConn{in: down, out: up, addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1935}}
	server = &memConn{in: up, out: down, addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}}
	return client, server
}

func (c *memConn) Read(b []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.gone:
			return 0, net.ErrClosed
		case h.expired:
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(b, h.buf)
			h.buf = h.buf[:copy(h.buf, h.buf[n:])]
			h.cond.Broadcast()
			return n, nil
		case h.eof:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (c *memConn) LazyRead(pool *sync.Pool) (*[]byte, int, error) {
	h := c.in
	h.mu.Lock()
	for len(h.buf) == 0 && !h.eof && !h.gone && !h.expired {
		h.cond.Wait()
	}
	h.mu.Unlock()
	buf := pool.Get().(*[]byte)
	n, err := c.Read(*buf)
	if err != nil {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil
}

func (c *memConn) Write(b []byte) (n int, err error) {
	for {
		m, err := c.TryWritev([][]byte{b[n:]})
		if n += m; !errors.Is(err, syscall.EAGAIN) {
			return n, err
		}
		if err := c.WaitWritable(); err != nil {
			return n, err
		}
	}
}

func (c *memConn) TryWritev(bufs [][]byte) (n int, err error) {
	c.writes.Add(1)
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.eof || h.gone {
		return 0, net.ErrClosed
	}
	for _, b := range bufs {
		m := min(len(b), h.limit-len(h.buf))
		h.buf = append(h.buf, b[:m]...)
		if n += m; m < len(b) {
			err = syscall.EAGAIN
			break
		}
	}
	h.cond.Broadcast()
	return n, err
}

func (c *memConn) WaitWritable() error {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) >= h.limit && !h.eof && !h.gone && !h.late {
		h.cond.Wait()
	}
	switch {
	case h.eof || h.gone:
		return net.ErrClosed
	case h.late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *memConn) SetQuickAck() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quickAcks++
	return nil
}

func (c *memConn) Close() error {
	c.mu.Lock()
	c.reading.stop()
	c.writing.stop()
	c.mu.Unlock()
	for h, f := range map[*memHalf]*bool{c.in: &c.in.gone, c.out: &c.out.eof} {
		h.mu.Lock()
		*f = true
		h.cond.Broadcast()
		h.mu.Unlock()
	}
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading.set(c, t, c.in, &c.in.expired)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing.set(c, t, c.out, &c.out.late)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// memDeadline is guarded by its memConn's mu.
type memDeadline struct {
	at    time.Time
	timer *time.Timer
}

// set makes passed, which is guarded by the mutex of h, true from t on.
func (d *memDeadline) set(c *memConn, t time.Time, h *memHalf, passed *bool) {
	d.at = t
	d.stop()
	tell := func(is bool) {
		h.mu.Lock()
		*passed = is
		h.cond.Broadcast()
		h.mu.Unlock()
	}
	tell(false)
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() { // stopped by Close
			c.mu.Lock()
			defer c.mu.Unlock()
			if d.at.Equal(t) {
				tell(true)
			}
		})
	}
}

func (d *memDeadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (c *memConn) LocalAddr() net.Addr  { return c.addr }
func (c *memConn) RemoteAddr() net.Addr { return c.addr }
