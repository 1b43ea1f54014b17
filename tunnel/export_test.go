package tunnel

import "fmt"

// Why connections are ended for what was on them.
var (
	ErrMalformed = errMalformed
	ErrHead      = errHead
	ErrTooLarge  = errTooLarge
	ErrFull      = errFull
	ErrUnread    = errUnread
)

// ParkAtOnce has connections parked however young they are.
func (s *Server) ParkAtOnce() { s.parkAge = 0 }

// Head is what a request head means.
type Head struct {
	Meaning string
	Length  int64
	Chunked bool
	Size    int // of the head itself, 0 if it is not complete
}

// ParseHead reads a request head.
func ParseHead(b []byte) (Head, error) {
	var q request
	line, err := q.requestLine(b)
	if line == 0 || err != nil {
		return Head{}, err
	}
	end, err := headEnd(b, line-2)
	if end == 0 || err != nil {
		return Head{}, err
	}
	if err := q.fields(b[line:end]); err != nil {
		return Head{}, err
	}
	meaning := fmt.Sprintf("%s %s %+v 1.%d %v %v", q.method, q.path, q.route, q.minor, q.expect, q.last)
	return Head{meaning, q.length, q.chunked, end}, nil
}

// ParsePath reads a path.
func ParsePath(p string) (op int, id uint64, seq int64, ok bool) {
	r := parsePath([]byte(p))
	return int(r.op), r.id, r.seq, !r.bad
}

// ReadAnswer reads an HTTP answer as the client does.
func ReadAnswer(r interface{ Read([]byte) (int, error) }, limit int) (status, length int, err error) {
	status, body, _, err := newAnswerReader(r, limit).next()
	length = body.n
	body.drop()
	return status, length, err
}

// Received is how many bytes of sends wait to be read.
func (s *Server) Received() int64 { return s.received.n.Load() }

// SkipTo has a session expect a sequence number that it would take hours to reach.
func (s *Server) SkipTo(id string, seq uint32) {
	ss := s.lookup(parseID([]byte(id)))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.expected = seq
}
