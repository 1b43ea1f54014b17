package tunnel

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// HTTP/2, for servers that choose it by ALPN. Each request is a stream of its own on the
// one connection, so that a send need not wait for a held idle even where a proxy reads one
// request at a time. Answers may overtake each other; they are taken in the order of their
// sequence numbers.

// nextProtos is what the client offers by ALPN unless it is told otherwise.
var nextProtos = []string{"h2", "http/1.1"}

// newLink makes a link of a connection on which ALPN has chosen the protocol.
func (c *client) newLink(ctx context.Context, tc *tls.Conn) (*link, error) {
	if tc.ConnectionState().NegotiatedProtocol != "h2" {
		return &link{nc: tc}, nil
	}
	var only http.Protocols
	only.SetHTTP2(true)
	t := &http.Transport{
		Protocols:          &only,
		DisableCompression: true,
		DialTLSContext:     func(context.Context, string, string) (net.Conn, error) { return tc, nil },
	}
	h2, err := t.NewClientConn(ctx, "https", c.addr)
	if err != nil {
		return nil, fmt.Errorf("tunnel: dial: %w", err)
	}
	return &link{nc: tc, h2: h2}, nil
}

// spent reports whether the link takes no more requests: the server has announced its end,
// or it is closed.
func (l *link) spent() bool {
	return l.h2.Err() != nil || l.h2.Available() == 0 && l.h2.InFlight() == 0
}

// stream makes a request on an HTTP/2 link. Called with mu held.
func (c *client) stream(l *link, k *call) {
	if l.served && l.spent() { // in good order: nothing was lost
		c.retire(l)
		return
	}
	l.written++
	if k.done { // answered on the link before this one, out of order
		return
	}
	k.sent = time.Now()
	body := []byte{0}
	if k.op == opSend {
		// A copy: the transport may still read it when the answer has come and the blocks are free.
		body = make([]byte, 0, sizeOf(k.body))
		for _, blk := range k.body {
			body = append(body, blk.bytes()...)
		}
	}
	target := "/" + OpNames[k.op] + "/" + c.id + "/" + strconv.FormatUint(uint64(k.seq), 10)
	c.readerWG.Add(1)
	go c.exchange(l, k, target, body) // ends with the session's context or its connection; waited for by run
}

// exchange makes one request and takes its answer, and those that have waited for it.
func (c *client) exchange(l *link, k *call, target string, body []byte) {
	defer c.readerWG.Done()
	status, got, err := c.roundTrip(c.ctx, l, target, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over || c.link != l: // another link has taken over, with the same request
		got.drop()
		return
	case err != nil:
		if l.served && !c.d.NoRepeat && l.h2.Err() == nil && l.h2.Available() == 0 {
			c.retire(l) // it takes no new requests, this one among them
		} else {
			c.lost(l, err)
		}
		return
	}
	k.done, k.status, k.answer = true, status, got
	l.served = true
	if c.settling {
		return
	}
	c.settling = true
	for !c.over && len(c.calls) > 0 && c.calls[0].done {
		c.answered(c.calls[0].status, &c.calls[0].answer)
	}
	c.settling = false
}

// retire leaves a link that its server no longer wants. What is unanswered is repeated on
// the next one.
func (c *client) retire(l *link) {
	c.link = nil
	_ = l.nc.Close() // nothing is expected of it
	c.work.Broadcast()
}

// roundTrip makes a request on an HTTP/2 link and reads the answer to its end. After an
// error the body is empty.
func (c *client) roundTrip(ctx context.Context, l *link, target string, body []byte) (status int, got chain, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.d.AnswerTimeout)
	defer cancel()
	req := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Scheme: "https", Host: c.host, Path: target}, Host: c.host, Header: c.header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	resp, err := l.h2.RoundTrip(req)
	if err != nil {
		return 0, got, err
	}
	defer resp.Body.Close()
	if err := readBody(&got, resp.Body, c.d.MaxAnswer); err != nil {
		got.drop()
		return 0, got, err
	}
	return resp.StatusCode, got, nil
}

// readBody reads r to its end, which is to come within limit bytes.
func readBody(body *chain, r io.Reader, limit int) error {
	for {
		room := body.space(maxBlock)
		n, err := r.Read(room[:min(len(room), limit+1-body.n)])
		body.grown(n)
		switch {
		case body.n > limit:
			return fmt.Errorf("%w: body of more than %d bytes", errAnswer, limit)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
