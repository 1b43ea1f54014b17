package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client is the engine of a dialled Conn. Two goroutines serve it: run writes
// requests, and one per connection reads answers. There is one request
// outstanding at a time, so that any server sees them in order; only while an
// idle request is held a send may follow it on the same connection, which
// makes the server answer the idle. Over HTTP/2 there is no reader: each request has
// a goroutine of its own, see stream.
type client struct {
	Conn

	// set at construction
	d             Dialer
	network, addr string
	tls           *tls.Config // nil: none
	prefix        string      // of request targets
	fields        string      // header fields, without Content-Length
	host          string      // Host, for HTTP/2
	header        http.Header // for HTTP/2
	id            string
	ctx           context.Context // ends with the session
	cancel        context.CancelFunc
	done          chan struct{} // closed when run returns

	// guarded by Conn.mu
	work     sync.Cond // something for run
	room     sync.Cond // the input has room, or the session is over
	readerWG sync.WaitGroup
	link     *link
	seq      uint32
	calls    []*call // unanswered, in order
	over     bool
	told     bool // close was put into calls
	feeding  bool // an answer waits for room in the input
	settling bool // answers that came over HTTP/2 are being taken
	single   bool // connections are closed after each answer: no pipelining
	alone    bool // no send may overtake an idle: HTTP/2, and a server that may take it for the earlier one
	fails    int  // connections lost in a row
	nextIdle time.Time
	pause    *time.Timer
	kill     *time.Timer

	scratch []byte // owned by run
}

// redialPause is the pause before a lost connection is made again, times how
// often in a row that has failed already.
const redialPause = 100 * time.Millisecond

// An idle request that comes before something which is about to be written costs both
// sides a request, so there is time to write it first.
const (
	// openingTime is for what a client has to say after Dial, as in a handshake.
	openingTime = 20 * time.Millisecond
	// replyTime is for what it says to the answer of a send.
	replyTime = time.Millisecond
)

// call is a request that has no answer yet.
type call struct {
	op   op
	seq  uint32
	body []*block // of a send
	sent time.Time

	// over HTTP/2
	done   bool // the answer is here, and waits for those before it
	status int
	answer chain
}

// link is one connection to the server.
type link struct {
	nc      net.Conn
	written int // how many of client.calls were written to it

	h2     *http.ClientConn // nil: HTTP/1.1
	served bool             // it has brought an answer over HTTP/2
}

// setHeads prepares what is the same in all requests.
func (c *client) setHeads(host string) error {
	authorization := ""
	if c.d.Proxy != nil && c.tls == nil {
		c.prefix = "http://" + host
		authorization = proxyAuthorization(c.d.Proxy)
	}
	var b strings.Builder
	b.WriteString("Host: " + host + "\r\nAccept: */*\r\nUser-Agent: " + flashAgent + "\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\nContent-Type: application/x-fcs\r\n")
	for name, value := range c.d.Header {
		b.WriteString(name + ": " + value + "\r\n")
	}
	c.fields = b.String() + authorization
	c.host = host
	c.header = http.Header{
		"Accept": {"*/*"}, "User-Agent": {flashAgent}, "Cache-Control": {"no-cache"}, "Content-Type": {contentType},
	}
	for name, value := range c.d.Header {
		c.header.Set(name, value)
	}
	if strings.Count(b.String(), "\n") != 6+len(c.d.Header) || strings.ContainsAny(host, " /") {
		return errors.New("tunnel: host or header with a line end or blank")
	}
	return nil
}

// dial makes a connection.
func (c *client) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.d.AnswerTimeout)
	defer cancel()
	nc, err := c.dialServer(ctx)
	if err != nil {
		return nil, err
	}
	if c.tls == nil {
		return &link{nc: nc}, nil
	}
	tc := tls.Client(nc, c.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tunnel: dial: %w", err), nc.Close())
	}
	l, err := c.newLink(ctx, tc)
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(nc.Close()))
	}
	return l, nil
}

// start opens the session.
func (c *client) start(ctx context.Context) error {
	l, err := c.dial(ctx)
	if err != nil {
		return err
	}
	var rd *answerReader
	if l.h2 == nil {
		rd = newAnswerReader(l.nc, c.d.MaxAnswer)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.nc.Close() }) // ends the wait below
	id, keep, err := c.callOpen(ctx, l, rd)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return errors.Join(fmt.Errorf("tunnel: open: %w", err), ignoreClosed(l.nc.Close()))
	}
	c.id = id
	c.nextIdle = time.Now().Add(openingTime)
	transport := "rtmpt"
	if c.tls != nil {
		transport = "rtmpts"
	}
	c.Conn.init(c, l.nc.LocalAddr(), l.nc.RemoteAddr(), transport, c.d.QueueBytes, c.d.MaxSend)
	c.work.L, c.room.L = &c.mu, &c.mu
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.done = make(chan struct{})
	if keep {
		c.use(l, rd)
	} else {
		c.single = true
		_ = l.nc.Close() // it has served its purpose
	}
	go c.run() // ends when the session does; waited for by Close
	return nil
}

// use makes l the link for the next requests. rd has read its answers so far; nil: there
// were none.
func (c *client) use(l *link, rd *answerReader) {
	c.link = l
	c.alone = l.h2 != nil && c.d.NoRepeat
	if l.h2 != nil {
		return
	}
	if rd == nil {
		rd = newAnswerReader(l.nc, c.d.MaxAnswer)
	}
	c.readerWG.Add(1)
	go c.read(l, rd) // ends when its connection is closed; waited for by run
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *client) callOpen(ctx context.Context, l *link, rd *answerReader) (id string, keep bool, err error) {
	const target = "/open/1"
	var (
		status int
		body   chain
	)
	if l.h2 != nil {
		keep = true
		status, body, err = c.roundTrip(ctx, l, target, []byte{0})
	} else {
		if err := l.nc.SetDeadline(time.Now().Add(c.d.AnswerTimeout)); err != nil {
			return "", false, err
		}
		if _, err := l.nc.Write(c.head(nil, target, 1, 0)); err != nil {
			return "", false, err
		}
		status, body, keep, err = rd.next()
	}
	defer body.drop()
	if err != nil {
		return "", false, err
	}
	if status != http.StatusOK {
		return "", false, &StatusError{"open", status}
	}
	text := make([]byte, min(body.n, 128))
	body.read(text)
	id = strings.TrimSpace(string(text))
	if id == "" || len(id) > 100 || strings.Trim(id, idBytes) != "" {
		return "", false, errors.New("the answer is no session id")
	}
	return id, keep, l.nc.SetDeadline(noDeadline)
}

// idBytes are what session ids of known servers consist of.
const idBytes = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.~"

// head appends a request head, and the padding that bodies of requests other
// than send consist of.
func (c *client) head(b []byte, target string, padding, length int) []byte {
	b = append(append(append(b, "POST "...), c.prefix...), target...)
	return c.headRest(b, padding, length)
}

func (c *client) headRest(b []byte, padding, length int) []byte {
	b = append(append(b, " HTTP/1.1\r\n"...), c.fields...)
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(length+padding), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, make([]byte, padding)...)
}

// encode builds a whole request.
func (c *client) encode(b []byte, k *call) []byte {
	b = append(append(append(b, "POST "...), c.prefix...), '/')
	b = append(append(append(b, OpNames[k.op]...), '/'), c.id...)
	b = strconv.AppendUint(append(b, '/'), uint64(k.seq), 10)
	if k.op != opSend {
		return c.headRest(b, 1, 0)
	}
	b = c.headRest(b, 0, sizeOf(k.body))
	for _, blk := range k.body {
		b = append(b, blk.bytes()...)
	}
	return b
}

// run writes requests until the session is over.
func (c *client) run() {
	c.mu.Lock()
	for !c.over {
		switch {
		case c.link == nil && (len(c.calls) > 0 || c.pick()):
			c.redial()
		case c.link != nil && (c.link.written < len(c.calls) || c.pick()):
			c.writeNext()
		default:
			c.work.Wait()
		}
	}
	if c.link != nil {
		_ = c.link.nc.Close() // its reader reports to nobody any more
		c.link = nil
	}
	for _, t := range []*time.Timer{c.pause, c.kill} {
		if t != nil {
			t.Stop()
		}
	}
	c.out.drop()
	c.mu.Unlock()
	c.cancel()
	c.readerWG.Wait()
	c.mu.Lock()
	for _, k := range c.calls {
		freeAll(k.body)
		k.answer.drop()
	}
	c.calls = nil
	c.mu.Unlock()
	close(c.done)
}

// pick puts the next request into calls if there is one to make.
func (c *client) pick() bool {
	k := &call{}
	switch held := len(c.calls) == 1 && c.calls[0].op == opIdle && !c.single && !c.alone && !c.d.NoPipelining; {
	case len(c.calls) > 0 && !held:
		return false
	case c.out.n > 0:
		k.op, k.body = opSend, c.out.pop(nil)
		c.drained()
	case c.closed && !c.told:
		k.op = opClose
		c.told = true
	case c.closed || c.feeding || len(c.calls) > 0 || c.in.n >= c.out.limit:
		return false
	default:
		if wait := time.Until(c.nextIdle); wait > 0 {
			if c.pause == nil {
				c.pause = time.AfterFunc(wait, func() { // stopped by run
					c.mu.Lock()
					c.work.Broadcast()
					c.mu.Unlock()
				})
			} else {
				c.pause.Reset(wait)
			}
			return false
		}
		k.op = opIdle
	}
	k.seq = c.seq
	c.seq++
	c.calls = append(c.calls, k)
	return true
}

// redial makes a new connection. Called with mu held, which it releases.
func (c *client) redial() {
	if c.fails > c.d.Redials {
		return
	}
	backoff := min(time.Duration(c.fails)*redialPause, 10*redialPause)
	c.mu.Unlock()
	if backoff > 0 {
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
		case <-c.ctx.Done():
		}
		t.Stop()
	}
	l, err := c.dial(c.ctx)
	c.mu.Lock()
	switch {
	case err != nil:
		c.failed(err)
	case c.over:
		_ = l.nc.Close() // nothing was done with it
	default:
		c.use(l, nil)
	}
}

// writeNext writes the first request that was not written to the link yet.
// Called with mu held, which it releases over HTTP/1.1.
func (c *client) writeNext() {
	l := c.link
	k := c.calls[l.written]
	if l.h2 != nil {
		c.stream(l, k)
		return
	}
	l.written++
	k.sent = time.Now()
	_ = l.nc.SetDeadline(k.sent.Add(c.d.AnswerTimeout)) // a failing connection fails the write
	c.scratch = c.encode(c.scratch[:0], k)
	c.mu.Unlock()
	_, err := l.nc.Write(c.scratch)
	c.mu.Lock()
	if err != nil {
		c.lost(l, err)
	}
}

// read takes the answers of one connection.
func (c *client) read(l *link, rd *answerReader) {
	defer c.readerWG.Done()
	for {
		status, body, keep, err := rd.next()
		c.mu.Lock()
		if err == nil && (c.link != l || l.written == 0) {
			err = errors.New("tunnel: an answer without a request")
		}
		if err != nil {
			body.drop()
			c.lost(l, err)
			c.mu.Unlock()
			return
		}
		c.answered(status, &body)
		if c.over || c.link != l || !keep {
			if c.link == l {
				c.single = true
				c.link = nil
			}
			_ = l.nc.Close() // its last answer was taken
			c.work.Broadcast()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// lost gives a connection up. Called with mu held.
func (c *client) lost(l *link, err error) {
	_ = l.nc.Close() // it has failed already
	if c.link != l {
		return
	}
	c.link = nil
	switch {
	case l.written > 0 && c.d.NoRepeat:
		c.endSession(lostError(err))
	case len(c.calls) > 0:
		c.failed(err)
	}
	c.work.Broadcast()
}

// failed counts a connection that could not be made or did not last until an
// answer.
func (c *client) failed(err error) {
	if c.fails++; c.fails > c.d.Redials {
		c.endSession(lostError(err))
	}
}

// lostError is what reads and writes return after the connection was lost for
// good. It is never io.EOF, which is a session's orderly end.
func lostError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("tunnel: connection lost: %w", err)
}

// answered takes the answer of the first call. Called with mu held, which it
// releases while the input is full.
func (c *client) answered(status int, body *chain) {
	k := c.calls[0]
	switch {
	case k.op == opClose, status == http.StatusNotFound:
		body.drop()
		c.endSession(io.EOF)
		return
	case status != http.StatusOK:
		body.drop()
		c.endSession(&StatusError{OpNames[k.op], status})
		return
	}
	c.calls = append(c.calls[:0], c.calls[1:]...)
	c.fails = 0
	if l := c.link; l != nil && l.written > 0 { // over HTTP/2 the answer may be older than the link
		l.written--
		if len(c.calls) == 0 && l.h2 == nil {
			_ = l.nc.SetDeadline(noDeadline) // a failing connection fails the next write
		}
	}
	freeAll(k.body)
	var poll [1]byte
	body.read(poll[:])
	c.nextIdle = time.Time{}
	switch {
	case body.n == 0:
		// Counted from the request: an answer that was held has used the pause up.
		pace := min(max(time.Duration(poll[0]), 1)*pollUnit, c.d.MaxPoll)
		c.nextIdle = k.sent.Add(pace)
	case k.op == opSend:
		c.nextIdle = time.Now().Add(replyTime)
	}
	c.feed(body)
	c.work.Broadcast()
}

// feed gives the payload of an answer to the reader. Called with mu held,
// which it releases while the input is full. No idle request is made
// meanwhile.
func (c *client) feed(body *chain) {
	for c.feeding && !c.over { // an answer that came on an earlier connection goes first
		c.room.Wait()
	}
	c.feeding = true
	for c.in.n > 0 && c.in.n+body.n > c.out.limit && !c.over && !c.closed {
		c.room.Wait()
	}
	c.feeding = false
	if c.over || c.closed {
		body.drop()
	} else {
		c.in.take(body)
		c.readable.Broadcast()
	}
	c.room.Broadcast()
}

// endSession ends it with the error that reads return; io.EOF if the server
// ended it in order.
func (c *client) endSession(err error) {
	if c.over {
		return
	}
	c.over = true
	write := err
	if err == io.EOF { //nolint:errorlint // our own value, never wrapped
		write = ErrSessionEnded
	}
	c.fail(err, write)
	c.work.Broadcast()
	c.room.Broadcast()
}

// The engine of the Conn.

func (c *client) starving() {}

func (c *client) consumed() {
	c.room.Broadcast()
	if len(c.calls) == 0 {
		c.work.Broadcast()
	}
}

func (c *client) queued() { c.work.Broadcast() }

func (c *client) publishing(bool) {}

func (c *client) closing() {
	if c.over {
		return
	}
	c.kill = time.AfterFunc(c.d.CloseTimeout, func() { // stopped by run
		c.cancel()
		c.mu.Lock()
		c.endSession(net.ErrClosed)
		if c.link != nil {
			_ = c.link.nc.Close() // wakes who reads and writes
		}
		c.mu.Unlock()
	})
	c.work.Broadcast()
	c.room.Broadcast()
}

func (c *client) finish() error {
	<-c.done
	return nil
}
