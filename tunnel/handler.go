package tunnel

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// waiter is an exchange that a net/http handler waits for.
type waiter struct {
	exchange
	status int
	text   []byte
	done   chan struct{} // receives one value when the answer is there
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

func (w *waiter) deliver(_ *exchange, a answer) {
	w.status = a.status
	w.text = w.text[:0]
	if a.status == http.StatusOK {
		w.text = append(w.text, a.poll)
	} else {
		w.text = append(w.text, 0)
	}
	for _, k := range a.blks {
		w.text = append(w.text, k.bytes()...)
	}
	w.done <- struct{}{}
}

// ServeHTTP serves one request of the tunnel, for HTTP/2 and for connections
// that net/http holds already. The sessions are the same as ServeConn's.
// Requests for other paths are answered 404.
//
// The client address is Request.RemoteAddr, or what the header says of it if
// Config.Forwarding trusts that. A middleware that knows better sets it; see
// also WithConnInfo.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctl := http.NewResponseController(w)
	e := s.enter(func() { _ = ctl.SetReadDeadline(longAgo) }, nil) // where it fails the request ends by itself
	if e == nil {
		reply(w, r, http.StatusServiceUnavailable, contentType, nil)
		return
	}
	defer s.leave(e)
	meta, key := s.requestInfo(r)
	rt := parsePath([]byte(r.URL.Path))
	say := func(status int, mime string, body []byte) {
		s.counters.answered(rt.op, status)
		reply(w, r, status, mime, body)
	}
	switch {
	case rt.op == opIdent:
		say(http.StatusOK, "text/xml", []byte(identDocument))
	case r.Method != http.MethodPost && rt.op != opOther:
		s.refused(RejectMethod, meta.RemoteAddr)
		say(http.StatusMethodNotAllowed, contentType, nil)
	case rt.op == opIdent2 && s.cfg.Ident2 != "":
		say(http.StatusOK, "text/plain", []byte(s.cfg.Ident2))
	case rt.op == opOpen:
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if ss := s.open(meta, local, key, nil); ss != nil {
			say(http.StatusOK, contentType, ss.idLine())
		} else {
			say(http.StatusServiceUnavailable, contentType, nil)
		}
	case rt.op == opSend || rt.op == opIdle || rt.op == opClose:
		ss := s.lookup(rt.id)
		switch {
		case ss != nil && !rt.bad:
			s.exchange(w, r, ss, rt, meta.RemoteAddr, say)
		case rt.op == opClose:
			say(http.StatusOK, contentType, []byte{0})
		default:
			s.unknown(key, meta.RemoteAddr)
			say(http.StatusNotFound, contentType, []byte{0})
		}
	default:
		say(http.StatusNotFound, contentType, []byte{0})
	}
}

// exchange gives a request to its session and waits for the answer.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, ss *session, rt route, from net.Addr, say func(int, string, []byte)) {
	x := waiters.Get().(*waiter)
	defer waiters.Put(x)
	x.exchange = exchange{op: rt.op, seq: uint32(rt.seq), hasSeq: rt.hasSeq, to: x, body: chain{meter: &s.received}}
	if rt.op == opSend {
		if err := s.readBody(w, r, ss, &x.body); err != nil {
			x.body.drop()
			switch {
			case errors.Is(err, errTooLarge):
				s.refused(RejectTooLarge, from)
				say(http.StatusRequestEntityTooLarge, contentType, nil)
				return
			case errors.Is(err, errFull):
				s.refused(RejectReceived, from)
				say(http.StatusServiceUnavailable, contentType, nil)
				return
			}
			panic(http.ErrAbortHandler) // half a request never happened
		}
	}
	ss.request(&x.exchange)
	select {
	case <-x.done:
		reply(w, r, x.status, contentType, x.text)
	case <-r.Context().Done():
		ss.detach(&x.exchange)
		select {
		case <-x.done: // the answer was faster
		default:
		}
	}
}

// Why a request, or a connection for what was on it, is refused.
var (
	errHead     = errors.New("tunnel: request head is too large")
	errTooLarge = errors.New("tunnel: request body is too large")
	errFull     = errors.New("tunnel: too many received bytes wait to be read")
)

// readBody reads a whole request body.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, ss *session, body *chain) error {
	ctl := http.NewResponseController(w)
	defer func() { _ = ctl.SetReadDeadline(noDeadline) }() // as below
	var pace bodyPace
	for {
		if s.received.full() {
			return errFull
		}
		_ = ctl.SetReadDeadline(time.Now().Add(pace.await(s, ss))) // not every ResponseWriter can
		n, err := r.Body.Read(body.space(maxBlock))
		body.grown(n)
		pace.got += int64(n)
		switch {
		case body.n > s.cfg.MaxRequest:
			return errTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// reply writes a whole answer with the headers that tunnel clients need.
func reply(w http.ResponseWriter, r *http.Request, status int, mime string, body []byte) {
	h := w.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Content-Type"] = []string{mime}
	h["Cache-Control"] = []string{"no-cache"}
	if r.ProtoMajor == 1 && r.ProtoMinor == 1 && !r.Close {
		h["Connection"] = []string{"Keep-Alive"}
	}
	h["Date"] = nil
	for _, f := range statusHeaders(status) {
		h.Set(f[0], f[1])
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // net/http reports a lost connection itself
}

// requestInfo says who sent a request, and by what limits count it.
func (s *Server) requestInfo(r *http.Request) (ConnInfo, addrKey) {
	meta, _ := ConnInfoFrom(r.Context()) // zero if there is none
	if meta.Transport == "" {
		meta.Transport = "rtmpt"
		if r.TLS != nil {
			meta.Transport = "rtmpts"
		}
	}
	meta.RemoteAddr, meta.Host = remoteAddr(r), r.Host
	f := &s.cfg.Forwarding
	trusted := f.Trusts(addrPortOf(meta.RemoteAddr).Addr())
	from := f.origin(meta, trusted, r.Header.Values(f.field()))
	meta.RemoteAddr, meta.Proxied = from.addr, from.proxied || r.ProtoMajor == 1 && r.ProtoMinor == 0
	for _, mark := range proxyMarks {
		_, there := r.Header[http.CanonicalHeaderKey(mark)]
		meta.Proxied = meta.Proxied || there
	}
	return meta, from.key
}

// remoteAddr is the address of a request's peer.
func remoteAddr(r *http.Request) net.Addr {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return namedAddr(r.RemoteAddr)
}

// namedAddr is an address that is only a name.
type namedAddr string

func (namedAddr) Network() string  { return "rtmpt" }
func (a namedAddr) String() string { return string(a) }
