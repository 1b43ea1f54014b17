package bench

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
)

// floorTunnel is a floor's side of one tunnel session: RTMP in HTTP requests.
// Except for send it is for one goroutine at a time.
type floorTunnel struct {
	rtmp *floorSession

	mu     sync.Mutex
	outbox []byte // guarded by mu: for the next answer
}

func newFloorTunnel(hub *floorHub) *floorTunnel {
	t := &floorTunnel{}
	t.rtmp = newFloorSession(hub, t)
	return t
}

// send keeps b for the next answer.
func (t *floorTunnel) send(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outbox = append(t.outbox, b...)
}

// floorPoll is the poll byte of all answers.
const floorPoll = 1

// answer returns the body of the answer to a request, without its poll byte. op
// is the first letter of the request's path.
func (t *floorTunnel) answer(op byte, body []byte) ([]byte, error) {
	if op == 's' {
		if err := t.rtmp.feed(body); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.outbox
	t.outbox = t.outbox[len(t.outbox):]
	return out, nil
}

// floorHTTP answers the requests of one connection, on which one session lives.
type floorHTTP struct {
	tunnel *floorTunnel
	in     []byte
	out    []byte // owned by feed
}

const answerHead = "HTTP/1.1 200 OK\r\nContent-Type: application/x-fcs\r\nConnection: Keep-Alive\r\nContent-Length: "

var (
	cannedIdle = []byte(answerHead + "1\r\n\r\n" + string(rune(floorPoll)))
	cannedOpen = []byte(answerHead + "19\r\n\r\n100000000000000001\n")
)

// feed takes bytes of requests and returns those of the answers, valid until the
// next call. It does not keep b.
func (h *floorHTTP) feed(b []byte) ([]byte, error) {
	if len(h.in) > 0 {
		h.in = append(h.in, b...)
		b = h.in
	}
	h.out = h.out[:0]
	for {
		head := bytes.Index(b, []byte("\r\n\r\n"))
		if head < 0 {
			break
		}
		length, err := contentLength(b[:head])
		if err != nil {
			return nil, err
		}
		end := head + 4 + length
		if len(b) < end {
			break
		}
		if err := h.request(b[:head], b[head+4:end]); err != nil {
			return nil, err
		}
		b = b[end:]
	}
	h.in = append(h.in[:0], b...)
	return h.out, nil
}

func (h *floorHTTP) request(head, body []byte) error {
	if len(head) < len("POST /x") {
		return errors.New("floor: a request that is none of the tunnel's")
	}
	op := head[len("POST /")]
	if op == 'o' {
		h.out = append(h.out, cannedOpen...)
		return nil
	}
	answer, err := h.tunnel.answer(op, body)
	if err != nil {
		return err
	}
	if len(answer) == 0 {
		h.out = append(h.out, cannedIdle...)
		return nil
	}
	h.out = append(h.out, answerHead...)
	h.out = strconv.AppendInt(h.out, int64(len(answer)+1), 10)
	h.out = append(h.out, "\r\n\r\n"+string(rune(floorPoll))...)
	h.out = append(h.out, answer...)
	return nil
}

// contentLength finds the length of a request's body in its head, as the load
// generators write it.
func contentLength(head []byte) (int, error) {
	_, rest, ok := bytes.Cut(head, []byte("Content-Length: "))
	if !ok {
		return 0, errors.New("floor: a request without Content-Length")
	}
	n := 0
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		if n = n*10 + int(c-'0'); n > maxFrame {
			return 0, errors.New("floor: a request that is too large")
		}
	}
	return n, nil
}
