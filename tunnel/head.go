package tunnel

import (
	"bytes"
	"errors"
	"strings"
)

// errMalformed is any request that is not HTTP/1.x or that two parsers could
// read differently.
var errMalformed = errors.New("tunnel: malformed request")

// request is a parsed request head. Its slices point into the input buffer.
type request struct {
	method  []byte
	path    []byte
	route   route
	minor   int // HTTP/1.minor
	length  int64
	chunked bool
	expect  bool // Expect: 100-continue
	last    bool // the client wants the connection closed after the answer
	proxied bool // a proxy has left its mark
	naming  bool // which is a client's address
	flash   bool // the client says that it is Flash Player, as nearly all do

	field     string // forwarding field to collect, in lower case; "" if the peer is not trusted
	forwarded [forwardedLines][]byte
	lines     int // of the field; the last ones are kept

	host []byte // of a request that opens a session
}

// forwardedLines is how many lines of the forwarding field are read, from the
// last one on.
const forwardedLines = 4

// requestLine reads the first line of a head. n is the length of the line with
// its end, 0 if it is not complete.
func (q *request) requestLine(b []byte) (n int, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return 0, nil
	}
	if i == 0 || b[i-1] != '\r' {
		return 0, errMalformed
	}
	line := b[:i-1]
	sp1 := bytes.IndexByte(line, ' ')
	sp2 := bytes.LastIndexByte(line, ' ')
	if sp1 <= 0 || sp2 <= sp1+1 {
		return 0, errMalformed
	}
	target, version := line[sp1+1:sp2], line[sp2+1:]
	if len(version) != 8 || string(version[:7]) != "HTTP/1." || version[7] < '0' || version[7] > '9' {
		return 0, errMalformed
	}
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return 0, errMalformed
		}
	}
	if bytes.IndexByte(target, ' ') >= 0 || !isToken(line[:sp1]) {
		return 0, errMalformed
	}
	q.method = line[:sp1]
	q.minor = int(version[7] - '0')
	q.path = originForm(target)
	q.route = parsePath(q.path)
	return i + 1, nil
}

// originForm strips scheme and authority from an absolute-form target.
func originForm(target []byte) []byte {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(target) < len(scheme) || !equalFold(target[:len(scheme)], scheme) {
			continue
		}
		rest := target[len(scheme):]
		if i := bytes.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return nil
	}
	return target
}

// headEnd returns the length of the head with its empty line, 0 if it is not
// complete. from is where to look: all before it is known to hold no end.
func headEnd(b []byte, from int) (n int, err error) {
	for i := from; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0, nil
		}
		i += j
		if i == 0 || b[i-1] != '\r' {
			return 0, errMalformed
		}
		if i >= 3 && b[i-2] == '\n' {
			return i + 1, nil
		}
	}
	return 0, nil
}

// fields reads the header fields, from the end of the request line to and
// including the empty line.
func (q *request) fields(b []byte) error {
	q.length, q.chunked, q.expect, q.host = -1, false, false, nil
	q.last = q.minor == 0
	q.proxied = q.minor == 0 // no tunnel client is that old, and proxies speak it by default without leaving another mark
	q.naming, q.flash, q.lines = false, false, 0
	closing := false
	for {
		i := bytes.IndexByte(b, '\r')
		if i < 0 || i+1 >= len(b) || b[i+1] != '\n' {
			return errMalformed
		}
		line := b[:i]
		b = b[i+2:]
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) { // also folded lines, and blanks before the colon
			return errMalformed
		}
		value := bytes.Trim(line[colon+1:], " \t")
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return errMalformed
			}
		}
		name := line[:colon]
		switch len(name) {
		case len("Host"):
			if q.route.op == opOpen && equalFold(name, "host") {
				q.host = value
			}
		case len("Content-Length"):
			if equalFold(name, "content-length") {
				n, ok := parseLength(value)
				if !ok || q.length >= 0 && q.length != n {
					return errMalformed
				}
				q.length = n
			}
		case len("Transfer-Encoding"):
			if equalFold(name, "transfer-encoding") {
				if q.chunked || q.minor == 0 || !equalFold(value, "chunked") {
					return errMalformed
				}
				q.chunked = true
			}
		case len("Connection"): // User-Agent is as long
			if equalFold(name, "user-agent") {
				q.flash = string(value) == flashAgent
			}
			if equalFold(name, "connection") {
				closing = closing || hasToken(value, "close")
				if q.minor == 0 && hasToken(value, "keep-alive") {
					q.last = false
				}
			}
		case len("Via"), len("Forwarded"), len("X-Forwarded-For"): // X-Real-IP is as long as Forwarded
			for i, mark := range proxyMarks {
				if equalFold(name, mark) {
					q.proxied, q.naming = true, q.naming || i > 0
				}
			}
			if q.field != "" && equalFold(name, q.field) {
				q.forwarded[q.lines%forwardedLines] = value
				q.lines++
			}
		case len("Expect"):
			if equalFold(name, "expect") {
				q.expect = q.minor > 0 && equalFold(value, "100-continue")
			}
		}
	}
	q.last = q.last || closing
	if q.chunked && q.length >= 0 {
		return errMalformed
	}
	if q.length < 0 {
		q.length = 0
	}
	return nil
}

// flashAgent is the User-Agent of Flash Player, ffmpeg, librtmp and our client.
const flashAgent = "Shockwave Flash"

// proxyMarks are the header fields, in lower case, that say that a request came
// through a proxy. All but the first name the client.
var proxyMarks = [...]string{"via", "forwarded", "x-forwarded-for", "x-real-ip"}

// forwardedText returns the lines of the forwarding field in their order.
func (q *request) forwardedText() []string {
	out := make([]string, 0, forwardedLines)
	for i := max(q.lines-forwardedLines, 0); i < q.lines; i++ {
		out = append(out, string(q.forwarded[i%forwardedLines]))
	}
	return out
}

func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// parseChunkSize reads the line in front of a chunk, without its end.
func parseChunkSize(line []byte) (n int64, ok bool) {
	if i := bytes.IndexByte(line, ';'); i >= 0 {
		line = line[:i]
	}
	line = bytes.TrimRight(line, " \t")
	if len(line) == 0 || len(line) > 15 {
		return 0, false
	}
	for _, c := range line {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, true
}

// hasToken reports whether a comma-separated list holds a token.
func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if equalFold(bytes.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// equalFold compares with a lower-case ASCII string.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenBytes[c] {
			return false
		}
	}
	return len(b) > 0
}

// tokenBytes are the bytes of a token, RFC 9110 §5.6.2.
var tokenBytes = func() (set [256]bool) {
	for c := '!'; c < 0x7f; c++ {
		set[c] = !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}
	return set
}()
