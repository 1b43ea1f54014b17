package tunnel

import (
	"net/http"
	"strconv"
	"sync"
)

// The head of an answer. Order and spelling are what librtmp's reader needs:
// "HTTP/1.1 200 " first, then a header spelled exactly "Content-Length: ".
const (
	headStart     = "HTTP/1.1 200 OK\r\nContent-Length: "
	headKeep      = "\r\nContent-Type: application/x-fcs\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\n\r\n"
	headClose     = "\r\nContent-Type: application/x-fcs\r\nConnection: close\r\nCache-Control: no-cache\r\n\r\n"
	continueLine  = "HTTP/1.1 100 Continue\r\n\r\n"
	contentType   = "application/x-fcs"
	identDocument = "<fcs><Company>culvert</Company></fcs>\n"
)

// The values of the poll byte, in steps of 16 ms: the first while idle
// requests are held or data flows, then the ladder that clients climb when
// they are not held.
var pollLadder = [...]byte{1, 3, 5, 9, 17, 33}

// ladderStart is the number of empty answers before the first step.
const ladderStart = 10

// answer is the outcome of a send or idle request. Without blocks the body is the
// poll byte alone.
type answer struct {
	status int
	poll   byte
	blks   []*block
}

// headSize is enough for the head of an answer and the poll byte.
const headSize = 192

// writtenAnswer is an answer in the form in which it is written.
type writtenAnswer struct {
	head [headSize]byte
	iov  [1 + maxPieces][]byte
}

var writtenAnswers = sync.Pool{New: func() any { return new(writtenAnswer) }}

// write returns the bytes of the whole answer.
func (w *writtenAnswer) write(a answer, last bool) [][]byte {
	switch {
	case a.status != http.StatusOK:
		w.iov[0] = fixedAnswers[a.status][b2i(last)]
		return w.iov[:1]
	case len(a.blks) == 0:
		w.iov[0] = pollAnswers[a.poll][b2i(last)]
		return w.iov[:1]
	}
	tail := headKeep
	if last {
		tail = headClose
	}
	b := strconv.AppendInt(append(w.head[:0], headStart...), int64(1+sizeOf(a.blks)), 10)
	w.iov[0] = append(append(b, tail...), a.poll)
	for i, k := range a.blks {
		w.iov[1+i] = k.bytes()
	}
	return w.iov[:1+len(a.blks)]
}

func (w *writtenAnswer) release() {
	clear(w.iov[:])
	writtenAnswers.Put(w)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pollAnswers are the complete answers with no payload, by poll byte. Those
// for poll byte 0 answer close requests.
var pollAnswers = func() (all [256][2][]byte) {
	for _, poll := range append([]byte{0}, pollLadder[:]...) {
		for i, last := range []bool{false, true} {
			all[poll][i] = textAnswer(http.StatusOK, contentType, []byte{poll}, last)
		}
	}
	return all
}()

// fixedAnswers are the complete answers of errors. Bodies are tiny: Flash
// Player takes whatever body it gets for a session id.
var fixedAnswers = func() map[int][2][]byte {
	all := map[int][2][]byte{}
	for status, body := range map[int][]byte{
		http.StatusNotFound:              {0},
		http.StatusMethodNotAllowed:      nil,
		http.StatusBadRequest:            nil,
		http.StatusRequestEntityTooLarge: nil,
		http.StatusServiceUnavailable:    nil,
	} {
		all[status] = [2][]byte{
			textAnswer(status, contentType, body, false),
			textAnswer(status, contentType, body, true),
		}
	}
	return all
}()

// textAnswer builds a whole answer the slow way.
func textAnswer(status int, mime string, body []byte, last bool) []byte {
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	b = append(append(b, ' '), http.StatusText(status)...)
	b = append(append(b, "\r\nContent-Length: "...), strconv.Itoa(len(body))...)
	b = append(append(b, "\r\nContent-Type: "...), mime...)
	if last {
		b = append(b, "\r\nConnection: close"...)
	} else {
		b = append(b, "\r\nConnection: Keep-Alive"...)
	}
	b = append(b, "\r\nCache-Control: no-cache\r\n"...)
	for _, h := range statusHeaders(status) {
		b = append(append(append(append(b, h[0]...), ": "...), h[1]...), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

// statusHeaders are the header fields that a status needs.
func statusHeaders(status int) [][2]string {
	switch status {
	case http.StatusMethodNotAllowed:
		return [][2]string{{"Allow", "POST"}}
	case http.StatusServiceUnavailable:
		return [][2]string{{"Retry-After", "5"}}
	}
	return nil
}
