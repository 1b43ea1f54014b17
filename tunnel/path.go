package tunnel

import "bytes"

// op is a kind of request.
type op uint8

const (
	opOther op = iota // not the tunnel's
	opIdent
	opIdent2
	opOpen
	opSend
	opIdle
	opClose
	numOps
)

// Kinds of request, for indexing Stats.Requests.
const (
	OpOther  = int(opOther)
	OpIdent  = int(opIdent)
	OpIdent2 = int(opIdent2)
	OpOpen   = int(opOpen)
	OpSend   = int(opSend)
	OpIdle   = int(opIdle)
	OpClose  = int(opClose)
)

// idDigits is the length of a session id.
const idDigits = 18

// route is what a request path says.
type route struct {
	op     op
	id     uint64 // 0 if the path has no valid id
	seq    int64
	hasSeq bool
	bad    bool // a sequence number is there and is no number
}

// IsTunnelPath reports whether a request path belongs to the tunnel: /open,
// /send, /idle (also spelled /idel) and /close, alone or with segments, and
// /fcs/ident and /fcs/ident2. Doubled and trailing slashes do not matter, nor
// does a query.
func IsTunnelPath(path string) bool { return parsePath([]byte(path)).op != opOther }

// parsePath reads the path part of a request target. It never fails: what is
// not a tunnel path has opOther.
func parsePath(p []byte) (r route) {
	if i := bytes.IndexByte(p, '?'); i >= 0 {
		p = p[:i]
	}
	if len(p) == 0 || p[0] != '/' {
		return r
	}
	first, p := segment(p)
	second, p := segment(p)
	third, p := segment(p)
	switch string(first) {
	case "open":
		r.op = opOpen
		return r
	case "send":
		r.op = opSend
	case "idle", "idel":
		r.op = opIdle
	case "close":
		r.op = opClose
	case "fcs":
		if len(third) > 0 {
			return r
		}
		switch string(second) {
		case "ident":
			r.op = opIdent
		case "ident2":
			r.op = opIdent2
		}
		return r
	default:
		return r
	}
	r.id = parseID(second)
	r.hasSeq = len(third) > 0
	if r.hasSeq {
		var ok bool
		r.seq, ok = parseSeq(third)
		rest, _ := segment(p)
		r.bad = !ok || len(rest) > 0
	}
	return r
}

// segment splits off the next path segment, skipping empty ones.
func segment(p []byte) (seg, rest []byte) {
	for len(p) > 0 && p[0] == '/' {
		p = p[1:]
	}
	if i := bytes.IndexByte(p, '/'); i >= 0 {
		return p[:i], p[i:]
	}
	return p, nil
}

func parseID(b []byte) (id uint64) {
	if len(b) != idDigits || b[0] == '0' {
		return 0
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}

// parseSeq reads a sequence number as a signed 64-bit number: clients that
// count in 32 bits send negative ones after 2^31 requests.
func parseSeq(b []byte) (n int64, ok bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}
