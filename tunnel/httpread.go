package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"
)

// readHead reads the head of the next request into c.q. skipped means that
// there is no request yet: an empty line in front of it was skipped.
func (c *httpConn) readHead() (skipped bool, err error) {
	for scanned := 0; ; {
		head := (*c.buf)[c.r:c.w]
		if head[0] == '\r' || head[0] == '\n' { // RFC 9112 §2.2
			return true, c.skipEmptyLine()
		}
		line, err := c.q.requestLine(head) // again after each read: the bytes may have moved
		foreign := err != nil || line > 0 && c.q.route.op == opOther || line == 0 && len(head) >= c.srv.cfg.MaxHead
		if err != nil && bytes.HasPrefix(head, proxyHeader) {
			c.found(FindProxyHeader)
		}
		switch {
		case foreign && c.srv.cfg.Fallback != nil:
			return false, c.handOver()
		case err != nil:
			c.q = request{field: c.q.field}
			return false, c.malformed()
		}
		if line > 0 {
			end, err := headEnd(head, max(line-2, scanned))
			if err == nil && end > 0 {
				err = c.q.fields(head[line:end])
			}
			if err != nil {
				return false, c.malformed()
			}
			if end > c.srv.cfg.MaxHead { // it came in one piece with others
				return false, c.headTooLarge()
			}
			if end > 0 {
				c.r += end
				return false, nil
			}
		}
		if len(head) >= c.srv.cfg.MaxHead {
			return false, c.headTooLarge()
		}
		if err := c.moreHead(scanned == 0); err != nil {
			return false, err
		}
		scanned = len(head)
	}
}

// skipEmptyLine skips a line end in front of a request.
func (c *httpConn) skipEmptyLine() error {
	if c.w-c.r == 1 && (*c.buf)[c.r] == '\r' {
		if err := c.moreHead(true); err != nil {
			return err
		}
	}
	if b := (*c.buf)[c.r:c.w]; b[0] != '\r' || b[1] != '\n' {
		return c.malformed()
	}
	c.r += 2
	return nil
}

// moreHead reads more of a head that is not complete. The time for the whole
// of it starts with the first call.
func (c *httpConn) moreHead(first bool) error {
	c.split = true
	c.quickAck()
	if c.r > 0 {
		c.w = copy(*c.buf, (*c.buf)[c.r:c.w])
		c.r = 0
	}
	if first {
		c.arm(c.srv.cfg.HeadTimeout, false)
	}
	return c.midRequest(c.read())
}

// midRequest turns the error of a read inside a request into the error of the
// connection.
func (c *httpConn) midRequest(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case slow(err):
		c.srv.reject(RejectSlow, c.meta.RemoteAddr, err)
	}
	return err
}

func (c *httpConn) handOver() error {
	if err := c.flush(); err != nil {
		return err
	}
	_ = c.nc.SetReadDeadline(noDeadline) // a failing connection fails in its next owner's hands
	return errHandoff
}

// bodyPace watches a body that does not arrive in one piece. Times are the server's clock.
type bodyPace struct {
	began int64 // 0: not yet
	told  int64 // when its session was told that it is under way
	got   int64 // bytes
}

// bodyRate is how many bytes a second a body has to bring, on average, once it has taken
// the time that it may make no progress: fewer than the poorest stream has.
const bodyRate = 4 << 10

// await says how long the next read of the body may take: not at all, or less, if it is too
// late. Its session does not expire while it is under way.
func (p *bodyPace) await(s *Server, ss *session) time.Duration {
	now := s.clock()
	if p.began == 0 {
		p.began, p.told = now, now
	}
	if ss != nil && now-p.told >= int64(time.Second) {
		p.told = now
		ss.alive()
	}
	whole := s.cfg.BodyTimeout + time.Duration(p.got)*time.Second/bodyRate
	return min(s.cfg.BodyTimeout, whole-time.Duration(now-p.began))
}

// readBody reads the whole body into keep, or skips it if keep is nil.
func (c *httpConn) readBody(keep *chain) error {
	q := &c.q
	c.pace = bodyPace{}
	if q.expect && c.r == c.w && (q.chunked || q.length > 0) {
		c.send([]byte(continueLine), false)
	}
	if !q.chunked {
		return c.readPart(q.length, keep)
	}
	c.split = true
	total := int64(0)
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		n, ok := parseChunkSize(line)
		if !ok {
			return c.malformed()
		}
		if n == 0 {
			return c.readTrailer()
		}
		if total += n; total > int64(c.srv.cfg.MaxRequest) {
			return c.tooLarge(total)
		}
		if err := c.readPart(n, keep); err != nil {
			return err
		}
		if line, err = c.readLine(); err != nil {
			return err
		}
		if len(line) > 0 {
			return c.malformed()
		}
	}
}

// quickAckRest is the size of the rest of a body whose last segment may be held
// back by its sender until the others are acknowledged. While more is to come, full
// segments arrive and are acknowledged anyway.
const quickAckRest = 16 << 10

// readPart reads n bytes of a body.
func (c *httpConn) readPart(n int64, keep *chain) error {
	for n > 0 {
		if c.r < c.w {
			part := (*c.buf)[c.r:c.w]
			part = part[:min(int64(len(part)), n)]
			if keep != nil {
				if c.srv.received.full() {
					return c.overfull()
				}
				keep.write(part)
			}
			c.r += len(part)
			n -= int64(len(part))
			c.pace.got += int64(len(part))
			continue
		}
		if n <= quickAckRest || !c.split {
			c.quickAck()
		}
		c.split = true
		if keep == nil {
			if err := c.midRequest(c.fill(c.pace.await(c.srv, c.session), false)); err != nil {
				return err
			}
			continue
		}
		if c.srv.received.full() {
			return c.overfull()
		}
		c.arm(c.pace.await(c.srv, c.session), false)
		c.sendHeld()
		room := keep.space(int(n))
		m, err := c.nc.Read(room[:min(int64(len(room)), n)])
		keep.grown(m)
		n -= int64(m)
		c.pace.got += int64(m)
		if m == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return c.midRequest(err)
		}
	}
	return nil
}

// overfull rejects a send while too many received bytes wait to be read.
func (c *httpConn) overfull() error {
	return c.reject(RejectReceived, http.StatusServiceUnavailable, errFull)
}

// maxChunkLine is the length of a line of chunked framing.
const maxChunkLine = 256

// readLine reads a line of chunked framing, without its end.
func (c *httpConn) readLine() ([]byte, error) {
	for {
		b := (*c.buf)[c.r:c.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' || i > maxChunkLine {
				return nil, c.malformed()
			}
			c.r += i + 1
			return b[:i-1], nil
		}
		if len(b) > maxChunkLine {
			return nil, c.malformed()
		}
		c.quickAck()
		if c.r > 0 {
			c.w = copy(*c.buf, b)
			c.r = 0
		}
		c.arm(c.pace.await(c.srv, c.session), false)
		if err := c.midRequest(c.read()); err != nil {
			return nil, err
		}
	}
}

// readTrailer skips the trailer of a chunked body.
func (c *httpConn) readTrailer() error {
	for total := 0; total < c.srv.cfg.MaxHead; {
		line, err := c.readLine()
		if err != nil || len(line) == 0 {
			return err
		}
		total += len(line) + 2
	}
	return c.headTooLarge()
}
