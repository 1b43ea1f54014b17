package bench

import (
	"bufio"
	"bytes"
	"cmp"
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
	"sync/atomic"
	"time"
)

// pollConn is the client's side of an RTMPT session as simple players have it:
// one HTTP connection, one request at a time, and a pause between an answer and
// the next idle request. All of that happens in Read, so a session costs its
// reader's goroutine and nothing else. What is written waits for the reader.
//
// Read is for one goroutine; the other methods are for any.
type pollConn struct {
	net.Conn // the HTTP connection
	in       *bufio.Reader
	host     string
	pause    atomic.Int64        // nanoseconds
	answered func(time.Duration) // told how long each request took

	// owned by Read
	session  string
	sequence uint64
	request  []byte
	left     int // bytes of the stream in the answer at hand

	mu      sync.Mutex
	pending []byte // guarded by mu: written and not sent yet
	wake    chan struct{}
	closed  chan struct{}
	once    sync.Once
}

// pollBuffer is the size of the buffer that answers are read through.
const pollBuffer = 16 << 10

// dialPoll opens a session.
func (r *run) dialPoll(ctx context.Context) (*pollConn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", r.cfg.Target.Address())
	if err != nil {
		return nil, err
	}
	if r.cfg.Target.Scheme == "rtmpts" {
		tc := tls.Client(nc, r.tlsConfig())
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = tc
	}
	p := &pollConn{
		Conn: nc, in: bufio.NewReaderSize(nc, pollBuffer), host: r.cfg.Target.Address(),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	p.pause.Store(int64(cmp.Or(r.cfg.JoinPoll, r.cfg.Poll)))
	p.answered = func(d time.Duration) {
		if r.cfg.Scenario == Polls && r.inWindow(r.clock.now()) {
			r.calls.Record(d)
		}
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	n, err := p.call("/open/1", []byte{0})
	if err == nil {
		id := make([]byte, n)
		_, err = io.ReadFull(p.in, id)
		p.session = strings.TrimSpace(string(id))
	}
	if err == nil && p.session == "" {
		err = errors.New("open was answered without a session id")
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return p, nil
}

// Read returns bytes of the stream, polling for them.
func (p *pollConn) Read(b []byte) (int, error) {
	for p.left == 0 {
		if err := p.poll(); err != nil {
			return 0, err
		}
	}
	n, err := p.in.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

// poll makes one request, a send when there is something to send.
func (p *pollConn) poll() error {
	if pause := time.Duration(p.pause.Load()); p.sequence > 0 && pause > 0 {
		if err := p.wait(pause); err != nil {
			return err
		}
	}
	p.mu.Lock()
	body := p.pending
	p.pending = nil
	p.mu.Unlock()
	kind := "/send/"
	if len(body) == 0 {
		kind, body = "/idle/", []byte{0}
	}
	began := time.Now()
	n, err := p.call(kind+p.session+"/"+strconv.FormatUint(p.sequence, 10), body)
	if err != nil {
		return err
	}
	p.sequence++
	p.answered(time.Since(began))
	if n == 0 {
		return errors.New("tunnel: an answer without poll byte")
	}
	if _, err := p.in.Discard(1); err != nil {
		return err
	}
	p.left = n - 1
	return nil
}

// wait lets the pause pass, or ends it when there is something to send.
func (p *pollConn) wait(pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		p.mu.Lock()
		pending := len(p.pending) > 0
		p.mu.Unlock()
		if pending {
			return nil
		}
		select {
		case <-timer.C:
			return nil
		case <-p.wake:
		case <-p.closed:
			return net.ErrClosed
		}
	}
}

// call makes a request and reads the answer's head. It returns the length of the
// answer's body.
func (p *pollConn) call(path string, body []byte) (int, error) {
	b := append(append(p.request[:0], "POST "...), path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), p.host...)
	b = append(b, "\r\nConnection: Keep-Alive\r\nContent-Type: application/x-fcs\r\nContent-Length: "...)
	b = append(append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...), body...)
	p.request = b
	if _, err := p.Conn.Write(b); err != nil {
		return 0, err
	}
	return readAnswer(p.in)
}

// readAnswer reads the head of an HTTP answer with a Content-Length and returns
// that.
func readAnswer(in *bufio.Reader) (length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			if fields := bytes.Fields(line); len(fields) < 2 || string(fields[1]) != "200" {
				return 0, fmt.Errorf("tunnel: answered %.40q, want status %d", line, http.StatusOK)
			}
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, fmt.Errorf("tunnel: Content-Length: %w", err)
			}
		}
	}
	if length < 0 {
		return 0, errors.New("tunnel: an answer without Content-Length")
	}
	return length, nil
}

// Write keeps b for the next request.
func (p *pollConn) Write(b []byte) (int, error) { return p.TryWritev([][]byte{b}) }

// TryWritev keeps bufs for the next request.
func (p *pollConn) TryWritev(bufs [][]byte) (n int, err error) {
	p.mu.Lock()
	for _, b := range bufs {
		p.pending = append(p.pending, b...)
		n += len(b)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return n, nil
}

// WaitWritable returns at once: TryWritev takes everything.
func (p *pollConn) WaitWritable() error { return nil }

// Close ends the connection without telling the server, as players do.
func (p *pollConn) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}
