package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Use is what a client does with a stream.
type Use uint8

// Uses.
const (
	UseAny     Use = iota // not known, or both
	UsePublish            // sends
	UsePlay               // receives
)

// Client is what is known about a client before its first byte of RTMP.
type Client struct {
	Listener  string   // the name of the listener it came by
	Transport string   // rtmp, rtmps, rtmpt, rtmpts, rtmpe, rtmpte
	Remote    net.Addr // the client itself, not a proxy before it
	Local     net.Addr // what it connected to; may be nil
	Host      string   // server name of TLS, or the HTTP Host, without port; "" when unknown
}

func (c Client) address() netip.Addr {
	if tcp, ok := c.Remote.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Request is what a route is chosen by.
type Request struct {
	Client
	App      string // first part of the application's name
	Instance string // the rest of it
	Stream   string // without its query
	Query    string // of stream, app and tcUrl
	Use      Use

	connected bool // App and Instance are known
	named     bool // Stream, Query and Use are known
}

// NewRequest returns the request of a client for a stream. app may have an instance
// behind a slash.
func NewRequest(c Client, app, stream, query string, use Use) Request {
	r := Request{Client: c, Stream: stream, Query: query, Use: use, connected: true, named: true}
	r.App, r.Instance, _ = strings.Cut(app, "/")
	return r
}

func (r *Request) field(name string) string {
	switch name {
	case fieldHost:
		return r.Host
	case fieldApp:
		return r.App
	case fieldInstance:
		return r.Instance
	case fieldStream:
		return r.Stream
	default:
		return r.Query
	}
}

// key names the stream for balancing; before there is one, what the client has connected to:
// those who talk to each other there meet.
func (r *Request) key() string {
	switch {
	case r.named:
		return r.App + "/" + r.Instance + "/" + r.Stream
	case r.connected:
		return r.App + "/" + r.Instance
	}
	return r.address().String()
}

// Match says which requests take a route. Zero fields match everything.
type Match struct {
	Listener string
	Host     Pattern
	App      Pattern // the first part, or the whole if the pattern has a slash
	Instance Pattern
	Stream   Pattern
	Query    Pattern // one key=value of it
	Clients  []netip.Prefix
	Use      Use
}

// Rewrite says what a backend is told. Empty templates keep what the client said.
type Rewrite struct {
	App    Template
	Stream Template
	Query  Template // of the stream
	TCURL  Template // default: address of the backend and app
}

// RouteConfig is one way to backends.
type RouteConfig struct {
	Name        string // its place in the configuration, for people
	Transparent bool
	Match       Match
	Rewrite     Rewrite
	Pool        PoolConfig
	Idle        time.Duration // transparent: longest time without a byte either way; 0: as other connections
	Longest     time.Duration // longest life of a session; 0: no limit
	Reconnect   time.Duration // how long a lost backend is sought again for a client that stays; 0: not at all
	Address     string        // property of the connect command that names the client's address; "": none
}

// Route is a RouteConfig at work. Its methods may be called by any goroutine.
type Route struct {
	RouteConfig
	pool *Pool
}

// Pool returns the backends that the route leads to.
func (r *Route) Pool() *Pool { return r.pool }

// mismatch says why a request does not take the route, or "". Parts that are not
// known yet match; known is false when one of them will decide.
func (r *Route) mismatch(q *Request) (why string, c captures, known bool) {
	m, c := &r.Match, make(captures)
	if m.Listener != "" && m.Listener != q.Listener {
		return "listener is " + q.Listener, nil, true
	}
	if len(m.Clients) > 0 && !contains(m.Clients, q.address()) {
		return "client is " + q.address().String(), nil, true
	}
	one := func(field string, p Pattern, value string) bool {
		list, ok := p.match(value)
		c[field] = list
		if !ok {
			why = fmt.Sprintf("%s is %.100q", field, value)
		}
		return ok
	}
	if !one(fieldHost, m.Host, strings.ToLower(q.Host)) {
		return why, nil, true
	}
	if !q.connected {
		return "", c, m.App.any() && m.Instance.any() && r.nameless()
	}
	app := q.App
	if strings.Contains(m.App.text, "/") {
		app = strings.TrimSuffix(q.App+"/"+q.Instance, "/")
	}
	if !one(fieldApp, m.App, app) || !one(fieldInstance, m.Instance, q.Instance) {
		return why, nil, true
	}
	if !q.named {
		return "", c, r.nameless()
	}
	if m.Use != UseAny && q.Use != UseAny && m.Use != q.Use {
		return map[Use]string{UsePublish: "it is for players", UsePlay: "it is for publishers"}[q.Use], nil, true
	}
	if !one(fieldStream, m.Stream, q.Stream) {
		return "stream has another name", nil, true // a name may be a key
	}
	if m.Query.any() {
		return "", c, true
	}
	for pair := range strings.SplitSeq(q.Query, "&") {
		if list, ok := m.Query.match(pair); ok {
			c[fieldQuery] = list
			return "", c, true
		}
	}
	return "no part of the query matches", nil, true
}

// nameless reports whether neither stream nor use decides about the route.
func (r *Route) nameless() bool {
	return r.Match.Stream.any() && r.Match.Query.any() && r.Match.Use == UseAny
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// told is what a backend is told.
type told struct {
	app    string // without query
	stream string // without query
	query  string // of the stream
	tcURL  string // "" for the backend's own address and app
}

// rewrite applies the route's templates. streamQuery is the part of the query that
// came with the stream's name.
func (r *Route) rewrite(q *Request, c captures, b *Backend, streamQuery string) told {
	t := told{app: strings.TrimSuffix(q.App+"/"+q.Instance, "/"), stream: q.Stream, query: streamQuery}
	switch {
	case !r.Rewrite.App.empty():
		t.app = r.Rewrite.App.expand(q, c)
	case !b.app.empty():
		t.app = b.app.expand(q, c)
	}
	if !r.Rewrite.Stream.empty() {
		t.stream = r.Rewrite.Stream.expand(q, c)
	}
	if !r.Rewrite.Query.empty() {
		t.query = r.Rewrite.Query.expand(q, c)
	}
	t.app = strings.Trim(t.app, "/")
	if t.tcURL = b.cfg.URL() + "/" + t.app; !r.Rewrite.TCURL.empty() {
		t.tcURL = r.Rewrite.TCURL.expand(q, c)
	}
	return t
}

// name is the stream's name with its query.
func (t told) name() string {
	if t.query == "" {
		return t.stream
	}
	return t.stream + "?" + t.query
}

// Step is one line of an explanation: a route that was looked at.
type Step struct {
	Route string
	Taken bool
	Why   string // what did not match
}

// Explanation says which way a request takes.
type Explanation struct {
	Steps    []Step
	Route    *Route // nil: none, it is served here
	Backends []Told // what each backend of the route would be told
}

// Told is what a backend would be told.
type Told struct {
	Backend string
	First   bool   // of the backends of a consistent hash: the one that is taken while all are well
	App     string // "" in transparent mode
	Stream  string
	Query   string
	TCURL   string
}

// Explain finds the route of a request as [Router] does for a client.
func (r *Router) Explain(q Request) Explanation {
	var e Explanation
	before := Request{Client: q.Client}
	if q.Transport == "rtmp" || q.Transport == "rtmpe" { // only tcUrl has a name then
		before.Host = ""
	}
	for _, transparent := range []bool{true, false} {
		for _, route := range r.routes {
			if route.Transparent != transparent {
				continue
			}
			at := &q
			if transparent {
				at = &before
			}
			why, c, _ := route.mismatch(at)
			e.Steps = append(e.Steps, Step{Route: route.Name, Taken: why == "", Why: why})
			if why == "" {
				e.Route = route
				e.Backends = route.told(at, c)
				return e
			}
		}
	}
	return e
}

func (r *Route) told(q *Request, c captures) []Told {
	var out []Told
	first := r.pool.byHash(q.key(), r.pool.backends)
	for _, b := range r.pool.backends {
		t := Told{Backend: b.cfg.URL(), First: r.pool.cfg.Balance == BalanceHash && b == first}
		if !r.Transparent {
			what := r.rewrite(q, c, b, q.Query)
			t.App, t.Stream, t.Query, t.TCURL = what.app, what.stream, what.query, what.tcURL
		}
		out = append(out, t)
	}
	return out
}
