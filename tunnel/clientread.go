package tunnel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// errAnswer is an answer that is not HTTP or that a tunnel cannot use.
var errAnswer = errors.New("tunnel: malformed answer")

// answerReader reads HTTP/1.x answers.
type answerReader struct {
	br    *bufio.Reader
	limit int
}

func newAnswerReader(r io.Reader, limit int) *answerReader {
	return &answerReader{bufio.NewReaderSize(r, maxHead), limit}
}

// next reads one answer, its body to the end. keep says whether another may
// follow on the connection. The error is io.EOF if the connection ended before
// the answer began.
func (a *answerReader) next() (status int, body chain, keep bool, err error) {
	for status < 200 {
		var h answerHead
		if h, err = a.head(); err != nil {
			return 0, body, false, err
		}
		status, keep = h.status, h.keep
		switch {
		case status < 200 || status == http.StatusNoContent || status == http.StatusNotModified:
		case h.chunked:
			err = a.chunks(&body)
		case h.length >= 0:
			err = a.part(&body, h.length)
		default:
			keep = false
			err = a.rest(&body)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, body, false, err
		}
	}
	return status, body, keep, nil
}

type answerHead struct {
	status  int
	length  int64
	chunked bool
	keep    bool
}

func (a *answerReader) head() (h answerHead, err error) {
	if _, err := a.br.Peek(1); err != nil {
		return h, err
	}
	line, err := a.line()
	if err != nil {
		return h, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return h, errAnswer
	}
	code, ok := parseLength(line[9:12])
	if !ok || code < 100 {
		return h, errAnswer
	}
	h = answerHead{status: int(code), length: -1, keep: line[7] != '0'}
	for total := 0; total < maxHead; {
		if line, err = a.line(); err != nil {
			return h, err
		}
		if len(line) == 0 {
			return h, nil
		}
		total += len(line)
		if err := h.field(line); err != nil {
			return h, err
		}
	}
	return h, errAnswer
}

func (h *answerHead) field(line []byte) error {
	name, value := line, []byte(nil)
	for i, c := range line {
		if c == ':' {
			name, value = line[:i], line[i+1:]
			break
		}
	}
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	switch {
	case equalFold(name, "content-length"):
		n, ok := parseLength(value)
		if !ok || h.length >= 0 && h.length != n {
			return errAnswer
		}
		h.length = n
	case equalFold(name, "transfer-encoding"):
		h.chunked = equalFold(value, "chunked")
		if !h.chunked {
			return errAnswer
		}
	case equalFold(name, "connection"):
		if hasToken(value, "close") {
			h.keep = false
		} else if hasToken(value, "keep-alive") {
			h.keep = true
		}
	}
	return nil
}

// line reads a line without its end.
func (a *answerReader) line() ([]byte, error) {
	line, err := a.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errAnswer
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

func (a *answerReader) part(body *chain, n int64) error {
	if n > int64(a.limit-body.n) {
		return fmt.Errorf("%w: body of more than %d bytes", errAnswer, a.limit)
	}
	for n > 0 {
		room := body.space(int(n))
		m, err := a.br.Read(room[:min(int64(len(room)), n)])
		body.grown(m)
		n -= int64(m)
		if m == 0 && err != nil {
			return err
		}
	}
	return nil
}

func (a *answerReader) chunks(body *chain) error {
	for {
		line, err := a.line()
		if err != nil {
			return err
		}
		n, ok := parseChunkSize(line)
		if !ok {
			return errAnswer
		}
		if n == 0 {
			break
		}
		if err := a.part(body, n); err != nil {
			return err
		}
		if line, err = a.line(); err != nil {
			return err
		}
		if len(line) > 0 {
			return errAnswer
		}
	}
	for total := 0; total < maxHead; {
		line, err := a.line()
		if err != nil || len(line) == 0 {
			return err
		}
		total += len(line) + 1
	}
	return errAnswer
}

// rest reads a body that ends with the connection, to one byte over the limit.
func (a *answerReader) rest(body *chain) error { return readBody(body, a.br, a.limit) }
