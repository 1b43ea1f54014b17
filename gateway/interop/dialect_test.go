//go:build interop

package interop_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/gateway/client"
)

// dialect is how one family of RTMPT clients speaks, as far as a server can tell. Those that cannot be installed any more, or not here, are played by
// dialectConn; what is said of them is from their sources and from captures.
type dialect struct {
	name string

	head       string        // header fields of the first request on a connection, without Host and Content-Length
	repeated   string        // and of the later ones, if they differ
	bare       bool          // open, idle and close have no body
	ident      bool          // asks /fcs/ident2 first, and gives up on anything but 404
	opens      int           // sessions opened, of which the last is used
	decimal    bool          // the id must be a decimal number that is not 0
	first      int           // first sequence number
	idle       string        // the path of its idle requests
	idleFirst  bool          // begins with an idle, not with a send
	close      string        // the path of its last request: {id}, {n}
	anew       bool          // a connection for each request
	timeout    time.Duration // for each answer
	strict     bool          // ignores answers of another Content-Type
	connection int           // connections at a time, requests pipelined on all of them
	threadless bool          // who reads or writes makes the request, under one lock
	overwrites bool          // an answer replaces what was not read of the one before
	unchecked  bool          // takes the first answer for S0, S1 and two bytes of S2 at least, whatever it is
	pace       func(poll byte, empty bool) time.Duration
}

const fcs = "Content-Type: application/x-fcs\r\n"

// dialects are the clients of old that a tunnel server meets.
var dialects = []dialect{
	{
		name: "FlashPlayer", ident: true, opens: 2, idle: "/idle/", idleFirst: true, close: "/close/{id}/{n}",
		head:     "Accept: */*\r\nUser-Agent: Shockwave Flash\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\n" + fcs,
		repeated: strings.Repeat("User-Agent: Shockwave Flash\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\n"+fcs, 3) + "Accept: */*\r\n",
		pace:     func(poll byte, _ bool) time.Duration { return time.Duration(poll) * 16 * time.Millisecond },
	},
	{
		name: "Red5", opens: 1, first: 1, idle: "/idle/", close: "/close/{id}/{n}", unchecked: true,
		head: "Connection: Keep-Alive\r\nCache-Control: no-cache\r\n" + fcs,
		pace: func(_ byte, empty bool) time.Duration {
			if empty {
				return 250 * time.Millisecond
			}
			return 0
		},
	},
	{
		name: "RootEncoder", ident: true, opens: 1, idle: "/idle/", idleFirst: true, close: "/close/{id}", bare: true, anew: true, timeout: 5 * time.Second, threadless: true, overwrites: true,
		head: "User-Agent: Shockwave Flash\r\n" + fcs + "Connection: close\r\n",
	},
	{
		name: "HaishinKit", ident: true, opens: 1, idle: "/idel/", idleFirst: true, close: "/close/{id}", strict: true, connection: 4,
		head: "User-Agent: Shockwave Flash\r\nAccept: */*\r\n" + fcs,
		pace: func(byte, bool) time.Duration { return 200 * time.Millisecond },
	},
	{
		name: "Shumway", ident: true, opens: 1, idle: "/idle/", idleFirst: true, close: "/close/2",
		head: "Origin: http://player.example\r\nCookie: a=b\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n" + fcs,
		pace: func(poll byte, _ bool) time.Duration { return time.Duration(poll) * 16 * time.Millisecond },
	},
	{
		name: "OpenVCX", ident: true, opens: 1, decimal: true, idle: "/idle/", idleFirst: true, close: "/close/{id}/{n}",
		head: "User-Agent: Shockwave Flash\r\nConnection: Keep-Alive\r\n" + fcs,
		pace: func(_ byte, empty bool) time.Duration {
			if empty {
				return 500 * time.Millisecond
			}
			return 0
		},
	},
}

// dialectConn is a byte stream over RTMPT as a dialect has it: a net.Conn of which only what an RTMP client needs works.
type dialectConn struct {
	d    dialect
	dial func() (net.Conn, error)
	host string
	id   string

	line sync.Mutex // one request at a time; not with several connections

	mu sync.Mutex
	// guarded by mu
	seq      int
	wires    []*dialectWire
	next     int // the wire of the next request
	out      []byte
	in       []byte
	early    map[int][]byte // answers that came before those of earlier requests
	answered int            // sequence number of the next answer to be read
	unread   int            // bytes lost because an answer replaced others
	err      error
	closed   bool
	changed  sync.Cond
	running  sync.WaitGroup
}

// dialectWire is one HTTP connection.
type dialectWire struct {
	nc     net.Conn
	br     *bufio.Reader
	used   bool
	asked  chan int // sequence numbers whose answers are to come, in order
	ending sync.Once
}

// open opens a session at an HTTP address.
func (d dialect) open(ctx context.Context, addr string) (*dialectConn, error) {
	c := &dialectConn{d: d, host: addr, seq: d.first, answered: d.first, early: map[int][]byte{}}
	c.changed.L = &c.mu
	c.dial = func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	body := "\x00"
	if d.bare {
		body = ""
	}
	if d.ident {
		if status, text, err := c.ask("/fcs/ident2", "\x00"); err != nil || status != http.StatusNotFound {
			return nil, fmt.Errorf("ident2: %d %q, %w", status, text, err)
		}
	}
	for range d.opens {
		status, text, err := c.ask("/open/1", body)
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("open: %d, %w", status, err)
		}
		c.id = strings.TrimSuffix(text, "\n")
	}
	if n, err := strconv.ParseInt(c.id, 10, 64); d.decimal && (err != nil || n == 0) {
		return nil, fmt.Errorf("id %q is no number", c.id)
	}
	if d.connection == 0 && !d.threadless {
		c.running.Go(c.loop) // stopped by Close, which waits
	}
	if d.connection > 0 {
		c.running.Go(c.tick) // likewise
	}
	return c, nil
}

// wire returns the connection for the next request.
func (c *dialectConn) wire() (*dialectWire, error) {
	n := max(c.d.connection, 1)
	if len(c.wires) < n {
		nc, err := c.dial()
		if err != nil {
			return nil, err
		}
		c.wires = append(c.wires, &dialectWire{nc: nc, br: bufio.NewReader(nc), asked: make(chan int, 1000)})
		return c.wires[len(c.wires)-1], nil
	}
	c.next++
	return c.wires[c.next%n], nil
}

// ask makes one request and waits for its answer.
func (c *dialectConn) ask(path, body string) (status int, text string, err error) {
	c.line.Lock()
	defer c.line.Unlock()
	return c.askInLine(path, body)
}

func (c *dialectConn) askInLine(path, body string) (status int, text string, err error) {
	c.mu.Lock()
	w, err := c.wire()
	c.mu.Unlock()
	if err != nil {
		return 0, "", err
	}
	if err := c.write(w, path, body); err != nil {
		return 0, "", err
	}
	status, text, err = c.answer(w)
	if c.d.anew {
		c.mu.Lock()
		_ = w.nc.Close()
		c.wires = nil
		c.mu.Unlock()
	}
	return status, text, err
}

func (c *dialectConn) write(w *dialectWire, path, body string) error {
	head := c.d.head
	if w.used && c.d.repeated != "" {
		head = c.d.repeated
	}
	w.used = true
	if c.d.timeout > 0 {
		_ = w.nc.SetDeadline(time.Now().Add(c.d.timeout))
	}
	_, err := fmt.Fprintf(w.nc, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", path, c.host, head, len(body), body)
	return err
}

func (c *dialectConn) answer(w *dialectWire) (int, string, error) {
	resp, err := http.ReadResponse(w.br, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if kind := resp.Header.Get("Content-Type"); c.d.strict && kind != "application/x-fcs" {
		return 0, "", fmt.Errorf("an answer of the type %q", kind)
	}
	return resp.StatusCode, string(b), err
}

// exchange makes the next send or idle and takes its answer before anybody makes another.
func (c *dialectConn) exchange(body []byte) {
	c.line.Lock()
	defer c.line.Unlock()
	payload, _, err := c.request(body)
	c.deliver(payload, err)
}

// request makes the next send or idle and returns the bytes of its answer. Called with line held if there are several who do.
func (c *dialectConn) request(body []byte) (payload []byte, poll byte, err error) {
	c.mu.Lock()
	path := fmt.Sprintf("/send/%s/%d", c.id, c.seq)
	if len(body) == 0 {
		path = fmt.Sprintf("%s%s/%d", c.d.idle, c.id, c.seq)
		if !c.d.bare {
			body = []byte{0}
		}
	}
	first := c.seq == c.d.first
	c.seq++
	c.mu.Unlock()
	status, text, err := c.askInLine(path, string(body))
	switch {
	case err != nil:
		return nil, 0, err
	case status == http.StatusNotFound:
		return nil, 0, io.EOF
	case status != http.StatusOK || text == "":
		return nil, 0, fmt.Errorf("%s: answered %d with %d bytes", path, status, len(text))
	case c.d.unchecked && first && len(text) < 1+1+1536+2:
		return nil, 0, fmt.Errorf("the first answer has %d bytes: read beyond its end", len(text))
	}
	return []byte(text[1:]), text[0], nil
}

// take gives an answer to the reader. Called with mu held.
func (c *dialectConn) take(payload []byte, err error) {
	switch {
	case err != nil && c.err == nil:
		c.err = err
	case c.d.overwrites && len(payload) > 0:
		c.unread += len(c.in)
		c.in = payload
	default:
		c.in = append(c.in, payload...)
	}
	c.changed.Broadcast()
}

// loop is a client that does one thing after the other: a send when there is something to send, else an idle, with pauses.
func (c *dialectConn) loop() {
	if c.d.unchecked {
		c.awaitOutput()
	} else if c.d.idleFirst {
		payload, _, err := c.request(nil)
		c.deliver(payload, err)
	}
	for {
		c.mu.Lock()
		body := c.out
		c.out = nil
		over := c.err != nil || c.closed && len(body) == 0
		c.mu.Unlock()
		if over {
			return
		}
		payload, poll, err := c.request(body)
		c.deliver(payload, err)
		if err == nil {
			c.pause(c.d.pace(poll, len(payload) == 0))
		}
	}
}

func (c *dialectConn) deliver(payload []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(payload, err)
}

func (c *dialectConn) awaitOutput() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 && !c.closed {
		c.changed.Wait()
	}
}

// pause waits, shorter if there is something to send.
func (c *dialectConn) pause(d time.Duration) {
	over := false
	timer := time.AfterFunc(d, func() { // stopped below
		c.mu.Lock()
		over = true
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !over && len(c.out) == 0 && !c.closed && d > 0 {
		c.changed.Wait()
	}
}

// tick posts an idle now and then whatever else is under way.
func (c *dialectConn) tick() {
	for {
		c.mu.Lock()
		over := c.err != nil || c.closed
		if !over {
			c.post(nil)
		}
		c.mu.Unlock()
		if over {
			return
		}
		c.mu.Lock()
		until := time.Now().Add(c.d.pace(0, true))
		timer := time.AfterFunc(time.Until(until), func() { // stopped below
			c.mu.Lock()
			c.changed.Broadcast()
			c.mu.Unlock()
		})
		for !c.closed && time.Now().Before(until) {
			c.changed.Wait()
		}
		timer.Stop()
		c.mu.Unlock()
	}
}

// post writes a request without waiting for its answer, or for others'. Called with mu held.
func (c *dialectConn) post(body []byte) {
	w, err := c.wire()
	if err != nil {
		c.take(nil, err)
		return
	}
	w.ending.Do(func() { c.running.Go(func() { c.listen(w) }) }) // stopped by Close, which waits
	path := fmt.Sprintf("/send/%s/%d", c.id, c.seq)
	if len(body) == 0 {
		path, body = fmt.Sprintf("%s%s/%d", c.d.idle, c.id, c.seq), []byte{0}
	}
	w.asked <- c.seq
	c.seq++
	if err := c.write(w, path, string(body)); err != nil {
		c.take(nil, err)
	}
}

// listen takes the answers of one of several connections.
func (c *dialectConn) listen(w *dialectWire) {
	for seq := range w.asked {
		status, text, err := c.answer(w)
		c.mu.Lock()
		switch {
		case err != nil:
		case status == http.StatusNotFound:
			err = io.EOF
		case status != http.StatusOK || text == "":
			err = fmt.Errorf("answered %d with %d bytes", status, len(text))
		default:
			c.early[seq] = []byte(text[1:])
		}
		for payload, ok := c.early[c.answered]; ok; payload, ok = c.early[c.answered] {
			delete(c.early, c.answered)
			c.answered++
			c.take(payload, nil)
		}
		if err != nil {
			c.take(nil, err)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *dialectConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.err != nil:
		return 0, c.err
	case c.d.connection > 0:
		c.post(b)
	case c.d.threadless:
		c.mu.Unlock()
		c.exchange(b)
		c.mu.Lock()
	default:
		c.out = append(c.out, b...)
		c.changed.Broadcast()
	}
	return len(b), nil
}

func (c *dialectConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.err != nil:
			return 0, c.err
		case c.d.threadless: // asks again and again until there is something
			c.mu.Unlock()
			c.exchange(nil)
			c.mu.Lock()
		default:
			c.changed.Wait()
		}
	}
	n := copy(b, c.in)
	c.in = c.in[n:]
	return n, nil
}

// Close says goodbye as the dialect does.
func (c *dialectConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.changed.Broadcast()
	last := strings.NewReplacer("{id}", c.id, "{n}", strconv.Itoa(c.seq)).Replace(c.d.close)
	c.mu.Unlock()
	if c.d.connection > 0 {
		c.mu.Lock()
		w := c.wires[0]
		_ = c.write(w, last, "") // nobody waits for the answer
		for _, w := range c.wires {
			_ = w.nc.Close()
			close(w.asked)
		}
		c.mu.Unlock()
		c.running.Wait()
		return nil
	}
	c.running.Wait()
	_, _, err := c.ask(last, map[bool]string{true: "", false: "\x00"}[c.d.bare && last == "/close/2"])
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wires {
		_ = w.nc.Close()
	}
	return err
}

func (c *dialectConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *dialectConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *dialectConn) SetDeadline(time.Time) error      { return nil }
func (c *dialectConn) SetReadDeadline(time.Time) error  { return nil }
func (c *dialectConn) SetWriteDeadline(time.Time) error { return nil }

// options make a dialect's session the byte stream of a client of ours.
func (d dialect) options(addr string, opened chan<- *dialectConn) client.Options {
	return client.Options{Digest: d.name == "FlashPlayer", Dial: func(ctx context.Context) (net.Conn, error) {
		c, err := d.open(context.WithoutCancel(ctx), addr)
		if err != nil {
			return nil, err
		}
		opened <- c
		return c, nil
	}}
}

// TestDialects publishes and plays a clip with each of the clients that a tunnel server meets and that can only be imitated.
func TestDialects(t *testing.T) {
	t.Parallel()
	file, sent := film.file(t), film.media(t)
	s := serve(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			target, err := client.ParseTarget(s.url(t, "rtmpt", "dialect-"+d.name))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			opened := make(chan *dialectConn, 2)
			options := d.options(s.addr(t, "http"), opened)
			// An encoder: as a player it loses what it has not read to the answers of its own acknowledgements, and with it its place in the
			// stream. Without that loss, with all else as it is, nothing may be missing.
			keeping := d
			keeping.overwrites = false
			played := make(chan error, 1)
			path := recording(t)
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			go func() { played <- client.PlayFLV(ctx, target, out, keeping.options(s.addr(t, "http"), opened), nil) }() // ends with the stream; waited below
			<-opened
			clip, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer clip.Close()
			if err := client.PublishFLV(ctx, clip, target, options, nil); err != nil {
				t.Errorf("publish: %v", err)
			}
			if err := <-played; err != nil {
				t.Errorf("play: %v", err)
			}
			// What such a client throws away are answers to commands that it sent without waiting: whole messages, or it could not have gone on.
			t.Logf("the publisher threw %d bytes away unread", (<-opened).unread)
			requireRecording(t, path, sent, anywhere, exact, 0)
		})
	}
}
