package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// errHandoff says that the connection belongs to Config.Fallback now.
var errHandoff = errors.New("tunnel: connection handed over")

// httpConn serves one HTTP/1.x connection. One goroutine reads requests; the
// answer of a send or idle is written by whoever has it. While a request waits
// for its answer the reader already waits for the next one, whose first bytes
// end the wait. A connection whose requests arrive in one piece is parked: it has
// no goroutine while nothing happens on it.
type httpConn struct {
	srv     *Server
	nc      net.Conn
	meta    ConnInfo
	trusted bool       // meta.RemoteAddr is a proxy that names its clients
	lazy    lazyReader // nil if nc has not the ability
	exit    *exit
	ended   func(error)
	sender
	parkable

	// owned by whoever serves
	buf      *[]byte
	r, w     int // (*buf)[r:w] was received and not used
	q        request
	x        exchange
	pace     bodyPace // of its body
	session  *session // of x
	from     origin   // who sent x; of a trusted proxy's requests only where it matters
	deadline time.Time
	reported uint16 // findings, a bit each
	lastID   uint64 // session of the last request through a proxy
	gathered bool   // the sender may hold answers
}

// ServeConn serves an HTTP/1.x connection: requests of the tunnel by itself,
// and from the first other request on through Config.Fallback. It returns when
// it is done with the connection, which it has then closed or handed over. The
// error says why it ended; it is nil if the client closed it or it was handed
// over.
//
// The connection is used best if it has the abilities TryWritev and
// WaitWritable, LazyRead and SetQuickAck, and TryRead, Park and Wake; none is
// needed.
func (s *Server) ServeConn(nc net.Conn, meta ConnInfo) error {
	done := make(chan error, 1)
	s.StartConn(nc, meta, func(err error) { done <- err })
	return <-done
}

// StartConn is a ServeConn that returns as soon as the connection can wait without
// a goroutine. What would be its result is given to ended, once.
func (s *Server) StartConn(nc net.Conn, meta ConnInfo, ended func(error)) {
	if meta.RemoteAddr == nil {
		meta.RemoteAddr = nc.RemoteAddr()
	}
	c := &httpConn{srv: s, nc: nc, meta: meta, ended: ended}
	c.trusted = len(s.cfg.Forwarding.Trusted) > 0 && s.cfg.Forwarding.Trusts(addrPortOf(meta.RemoteAddr).Addr())
	if c.trusted {
		c.q.field = strings.ToLower(s.cfg.Forwarding.field())
	} else {
		c.from = s.cfg.Forwarding.origin(meta, false, nil)
	}
	c.lazy, _ = nc.(lazyReader)
	c.parker, _ = nc.(parker)
	c.born = s.clock()
	c.x.body.meter = &s.received
	c.sender.init(nc, s.cfg.MaxUnread, c.overflowed)
	c.exit = s.enter(func() { _ = nc.Close() }, c) // the reader reports the end
	if c.exit == nil {
		_ = nc.Close() // nothing was done with it
		ended(closedError{})
		return
	}
	s.counters.connections.Add(1)
	c.serve()
}

// overflowed is called when the client leaves too many answers unread, with the
// sender's mutex held, and maybe a session's.
func (c *httpConn) overflowed() {
	c.srv.reject(RejectUnread, c.meta.RemoteAddr, errUnread)
	_ = c.nc.SetReadDeadline(longAgo) // wakes the reader; closing could wait
	if c.parker != nil {
		c.parker.Wake()
	}
}

// finish ends what serve has done with the connection.
func (c *httpConn) finish(err error) {
	s := c.srv
	if errors.Is(err, errHandoff) {
		front := rewind(c.nc, (*c.buf)[c.r:c.w], c.meta)
		c.release()
		s.counters.handoffs.Add(1)
		s.counters.connections.Add(-1)
		s.leave(c.exit)
		s.cfg.Fallback(front)
		c.ended(nil)
		return
	}
	c.release()
	c.sender.stop()
	s.counters.connections.Add(-1)
	s.leave(c.exit)
	select {
	case <-s.done:
		err = closedError{}
	default:
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	c.ended(err)
}

// run serves requests until the connection ends or may be parked: then the error
// is errPark.
func (c *httpConn) run() error {
	for {
		if c.mayPark() {
			return errPark
		}
		err := c.fill(c.srv.cfg.KeepAlive, true)
		busy, full := c.state()
		if full != nil {
			err = full
		}
		if busy {
			switch {
			case err == nil, errors.Is(err, io.EOF) && c.x.op == opIdle:
				c.gather(c.r < c.w)
				c.session.nudge(&c.x) // a held idle is answered before there is data to lose with the connection
			case !errors.Is(err, io.EOF):
				c.session.detach(&c.x)
				return err
			}
			c.settle()
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return err
			}
			return errors.Join(c.flush(), err)
		}
		c.split = false
		if err := c.serveRequest(); err != nil {
			return err
		}
		if c.calm++; c.split {
			c.calm = 0
		}
	}
}

// fill makes sure that there are unused bytes. While it waits for the first
// byte of a request it holds no buffer if it can.
func (c *httpConn) fill(d time.Duration, fresh bool) error {
	if c.r < c.w {
		return nil
	}
	if err := c.pending; err != nil {
		return err
	}
	c.r, c.w = 0, 0
	c.sendHeld()
	c.arm(d, fresh)
	if fresh && c.lazy != nil {
		c.release()
		buf, n, err := c.lazy.LazyRead(&inputPool)
		if buf != nil {
			lend(1)
		}
		c.buf, c.w = buf, n
		return err
	}
	if c.buf == nil {
		c.buf = inputPool.Get().(*[]byte)
		lend(1)
	}
	return c.read()
}

// read appends to the buffer what can be read.
func (c *httpConn) read() error {
	c.sendHeld()
	n, err := c.nc.Read((*c.buf)[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (c *httpConn) release() {
	if c.buf != nil {
		inputPool.Put(c.buf)
		lend(-1)
		c.buf = nil
	}
	c.r, c.w = 0, 0
}

// gather has small answers wait for those of the requests that are at hand, if there
// are such.
func (c *httpConn) gather(more bool) {
	if more || c.gathered {
		c.gathered = true
		c.sender.gather(more)
	}
}

// sendHeld writes the answers that were gathered. It comes before everything that may
// wait.
func (c *httpConn) sendHeld() {
	if c.gathered {
		c.gathered = false
		c.sender.sendHeld()
	}
}

// arm sets the read deadline. The one between requests is moved only when it
// has come near, so that it is at least d and at most 5/4 d away.
func (c *httpConn) arm(d time.Duration, between bool) {
	now := time.Now()
	if between {
		if left := c.deadline.Sub(now); left >= d && left <= d+d/4 {
			return
		}
		d += d / 4
	}
	c.deadline = now.Add(d)
	_ = c.nc.SetReadDeadline(c.deadline) // a failing connection fails the read
}

// quickAck has what has arrived acknowledged at once, because the client may wait for
// that before it sends the rest.
func (c *httpConn) quickAck() {
	if qa, ok := c.nc.(quickAcker); ok {
		_ = qa.SetQuickAck() // only makes it faster
	}
}

// serveRequest reads one request, of which at least a byte is there, and sees
// to its answer.
func (c *httpConn) serveRequest() error {
	more, err := c.readHead()
	if err != nil || more {
		return err
	}
	srv := c.srv
	q := &c.q
	if q.length > int64(srv.cfg.MaxRequest) {
		return c.tooLarge(q.length)
	}
	r := q.route
	post := string(q.method) == http.MethodPost
	c.x.op, c.x.seq, c.x.hasSeq, c.x.last, c.x.to = r.op, uint32(r.seq), r.hasSeq, q.last, c
	c.session = nil
	if post && (r.op == opSend || r.op == opIdle || r.op == opClose) && r.id != 0 && !r.bad {
		c.session = srv.lookup(r.id)
	}
	if c.trusted && c.session == nil { // now: the body may take the place of the head
		c.from = srv.cfg.Forwarding.origin(c.meta, true, q.forwardedText())
	}
	c.watchRequest(post)
	var keep *chain
	if r.op == opSend && c.session != nil {
		keep = &c.x.body
	}
	if err := c.readBody(keep); err != nil {
		c.x.body.drop()
		return err
	}
	c.gather(c.r < c.w)
	if q.last { // the answer must be out before the connection is closed
		c.dispatch(r, post)
		c.settle()
		if err := c.flush(); err != nil {
			return err
		}
		return io.EOF
	}
	c.dispatch(r, post)
	return nil
}

// dispatch sees to the answer of a complete request.
func (c *httpConn) dispatch(r route, post bool) {
	srv := c.srv
	switch {
	case r.op == opIdent:
		c.say(textAnswer(http.StatusOK, "text/xml", []byte(identDocument), c.x.last), http.StatusOK)
	case !post && r.op != opOther:
		srv.refused(RejectMethod, c.from.addr)
		c.sayFixed(http.StatusMethodNotAllowed)
	case r.op == opIdent2 && srv.cfg.Ident2 != "":
		c.say(textAnswer(http.StatusOK, "text/plain", []byte(srv.cfg.Ident2), c.x.last), http.StatusOK)
	case r.op == opOpen:
		meta := c.meta
		meta.RemoteAddr, meta.Proxied = c.from.addr, c.from.proxied || c.q.proxied
		meta.Host = string(c.q.host)
		s := srv.open(meta, c.nc.LocalAddr(), c.from.key, c.newWatch(meta.Proxied))
		if s == nil {
			c.sayFixed(http.StatusServiceUnavailable)
			return
		}
		c.say(textAnswer(http.StatusOK, contentType, s.idLine(), c.x.last), http.StatusOK)
	case c.session != nil:
		c.take()
		c.session.request(&c.x)
	case r.op == opClose:
		c.say(pollAnswers[0][b2i(c.x.last)], http.StatusOK)
	default:
		if r.op == opSend || r.op == opIdle {
			srv.unknown(c.from.key, c.from.addr)
		}
		c.sayFixed(http.StatusNotFound)
	}
}

func (c *httpConn) sayFixed(status int) { c.say(fixedAnswers[status][b2i(c.x.last)], status) }

func (c *httpConn) say(b []byte, status int) {
	c.srv.counters.answered(c.x.op, status)
	c.send(b, true)
}

// deliver is called by the session when it has the answer.
func (c *httpConn) deliver(x *exchange, a answer) {
	w := writtenAnswers.Get().(*writtenAnswer)
	c.sendv(w.write(a, x.last), true)
	w.release()
}

// reject answers a request that is not read to its end, and ends the
// connection such that the client can see the answer. It returns why.
func (c *httpConn) reject(reason, status int, why error) error {
	c.srv.reject(reason, c.meta.RemoteAddr, why)
	c.srv.counters.answered(c.q.route.op, status)
	c.send(fixedAnswers[status][1], true)
	if err := c.flush(); err != nil {
		return why
	}
	if hc, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = hc.CloseWrite() // the connection is closed soon anyway
	}
	c.arm(lingerTime, false)
	for discarded := 0; discarded < 1<<20; {
		c.r, c.w = 0, 0
		if err := c.read(); err != nil {
			break
		}
		discarded += c.w
	}
	return why
}

// malformed rejects a request that has no single meaning.
func (c *httpConn) malformed() error {
	return c.reject(RejectMalformed, http.StatusBadRequest, errMalformed)
}

// headTooLarge rejects a request whose head is over the limit.
func (c *httpConn) headTooLarge() error {
	return c.reject(RejectHead, http.StatusBadRequest, fmt.Errorf("%w: more than %d bytes", errHead, c.srv.cfg.MaxHead))
}

// tooLarge rejects a request whose body has n bytes or more.
func (c *httpConn) tooLarge(n int64) error {
	why := fmt.Errorf("%w: %d bytes, the limit is %d", errTooLarge, n, c.srv.cfg.MaxRequest)
	return c.reject(RejectTooLarge, http.StatusRequestEntityTooLarge, why)
}
