package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway/app"
	"culvert/gateway/live"
	"culvert/gateway/portmux"
	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// arrival says how an RTMP connection came.
type arrival struct {
	transport string
	remote    net.Addr
	proxied   bool // through a proxy: the address proves nothing about the client

	// for routes
	listener string   // "": the one that has the address the client connected to
	local    net.Addr // what the client connected to; nil: as the connection says
	host     string   // name the client connected to, "" when it is not known
}

// arrivalOf says how a connection came to a listener.
func arrivalOf(info portmux.Info) arrival {
	from := arrival{transport: "rtmp", remote: info.RemoteAddr, proxied: info.Proxied, listener: info.Listener, local: info.LocalAddr}
	if info.TLS != nil {
		from.transport, from.host = "rtmps", info.TLS.ServerName
	}
	return from
}

// loopback reports whether the client itself is on this machine.
func (a arrival) loopback() bool {
	tcp, ok := a.remote.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback() && !a.proxied
}

// remoteText is the client's address for logs and lists.
func (a arrival) remoteText() string { return remoteText(a.remote) }

func remoteText(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.Port == 0 { // a proxy named it without its port
		return tcp.IP.String()
	}
	return a.String()
}

// conn is a client's connection: one whose RTMP is obeyed, or one that is passed
// through.
type conn interface {
	BytesRead() uint64
	BytesWritten() uint64
	Kick(status *rtmpcore.StatusError, reason error)
	Shutdown()
}

// session is an RTMP connection being served.
type session struct {
	conn   conn
	log    zerolog.Logger
	remote net.Addr
	begin  time.Time

	// guarded by sessions.mu, written by whoever serves
	transport string
	accepted  bool // counted as a connection of its transport

	// owned by endIdle
	heard   uint64 // bytes moved when it was last looked at
	heardAt time.Time
}

// transportCount counts the connections of one transport.
type transportCount struct {
	open     int
	accepted uint64
	in, out  uint64 // bytes of connections that have ended
}

// maxTick is the longest time between two looks at connections that have limits of
// their own.
const maxTick = time.Second

// sessions is the set of RTMP connections.
type sessions struct {
	running sync.WaitGroup
	next    atomic.Uint64 // number of the last connection

	mu sync.Mutex
	// guarded by mu
	ctx     context.Context // ends all connections; set by open
	active  map[*session]struct{}
	spliced map[*session]struct{} // those of active that have limits of their own
	counts  map[string]*transportCount
	closed  bool
}

// transports are the ways in, in the order of lists.
var transports = []string{"rtmp", "rtmps", "rtmpt", "rtmpts", "rtmpe", "rtmpte"}

// encrypted are the names that transports have with RTMPE. Over TLS it adds nothing.
var encrypted = map[string]string{"rtmp": "rtmpe", "rtmpt": "rtmpte"}

func newSessions() *sessions {
	s := &sessions{
		ctx: context.Background(), active: make(map[*session]struct{}), spliced: make(map[*session]struct{}), counts: make(map[string]*transportCount),
	}
	for _, t := range transports {
		s.counts[t] = new(transportCount)
	}
	return s
}

// open makes ctx end all connections.
func (s *sessions) open(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

func (s *sessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active)
}

// run runs f on a goroutine that wait waits for.
func (s *sessions) run(f func()) {
	s.running.Go(f) // stopped by the end of its connection; waited by wait
}

// wait waits until all connections have ended.
func (s *sessions) wait() { s.running.Wait() }

// nextID numbers connections from 1.
func (s *sessions) nextID() uint64 { return s.next.Add(1) }

// add counts a connection in. It fails when the gateway stops.
func (s *sessions) add(ss *session) (ctx context.Context, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.running.Add(1)
	s.active[ss] = struct{}{}
	s.counts[ss.transport].open++
	if _, ok := ss.conn.(*rtmpcore.NetConn); !ok {
		s.spliced[ss] = struct{}{}
		s.accept(ss) // what it carries is not looked at
	}
	return s.ctx, true
}

// settle counts a connection for its transport, which is known for certain when it
// has shown whether it is encrypted.
func (s *sessions) settle(ss *session, transport string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[ss.transport].open--
	ss.transport = transport
	s.counts[transport].open++
	s.accept(ss)
}

// accept counts a connection once. Caller holds mu.
func (s *sessions) accept(ss *session) {
	if !ss.accepted {
		ss.accepted = true
		s.counts[ss.transport].accepted++
	}
}

func (s *sessions) remove(ss *session) {
	defer s.running.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, ss)
	delete(s.spliced, ss)
	s.accept(ss)
	c := s.counts[ss.transport]
	c.open--
	c.in += ss.conn.BytesRead()
	c.out += ss.conn.BytesWritten()
}

// snapshot returns the counters by transport, open connections included.
func (s *sessions) snapshot() map[string]transportCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]transportCount, len(s.counts))
	for t, c := range s.counts {
		out[t] = *c
	}
	for ss := range s.active {
		c := out[ss.transport]
		c.in += ss.conn.BytesRead()
		c.out += ss.conn.BytesWritten()
		out[ss.transport] = c
	}
	return out
}

// shutdown tells all clients that the gateway stops, and waits until their
// connections have ended or ctx has.
func (s *sessions) shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	active := make([]*session, 0, len(s.active))
	for ss := range s.active {
		active = append(active, ss)
	}
	s.mu.Unlock()
	for _, ss := range active {
		ss.conn.Shutdown()
	}
	for s.len() > 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// idle is what publishers that are ended by endIdle are told.
var idle = &rtmpcore.StatusError{Code: message.StatusPublishIdle, Description: "Nothing was received for too long."}

// endIdle ends connections that do not play and have sent nothing for the
// limit, until ctx ends. It looks often enough to be late by a quarter of it, and by
// a second for routes that have limits of their own. Not more often: a look at many
// connections is a look at memory that nobody else has touched for long.
func (s *sessions) endIdle(ctx context.Context, limit time.Duration) {
	every := max(limit/8, time.Millisecond)
	all, own := time.NewTicker(every), time.NewTicker(min(every, maxTick))
	defer all.Stop()
	defer own.Stop()
	for {
		var over map[*session]error
		select {
		case <-ctx.Done():
			return
		case now := <-all.C:
			over = s.over(s.active, now, limit)
		case now := <-own.C:
			over = s.over(s.spliced, now, limit)
		}
		for ss, reason := range over {
			ss.conn.Kick(idle, reason)
		}
	}
}

// over returns those of some connections that have been idle for the limit, or longer
// than they may, and why they end.
func (s *sessions) over(some map[*session]struct{}, now time.Time, limit time.Duration) map[*session]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[*session]error)
	for ss := range some {
		n, longest, alive := ss.conn.BytesRead(), limit, false
		switch c := ss.conn.(type) {
		case *rtmpcore.NetConn:
			alive = c.Plays()
		case *proxy.Splice:
			n += c.BytesWritten()
			own, until := c.Limits()
			if own > 0 {
				longest = own
			}
			if !until.IsZero() && now.After(until) {
				out[ss] = proxy.ErrTooLong
				continue
			}
		}
		if n != ss.heard || ss.heardAt.IsZero() || alive {
			ss.heard, ss.heardAt = n, now
		} else if now.Sub(ss.heardAt) >= longest {
			out[ss] = rtmpcore.ErrIdle
		}
	}
	return out
}

// serveRTMP serves one RTMP connection: to its end, or until it needs no goroutine.
// Its frame stays small, because it waits on the stack of every goroutine that does.
func (g *Gateway) serveRTMP(c net.Conn, from arrival) {
	client := g.proxyClient(c, from)
	if route := g.router.Transparent(client); route != nil {
		g.splice(c, from, route, client)
		return
	}
	g.obey(c, from, client)
}

// obey serves a connection here, whose RTMP is looked at. It does not wait for one that
// is parked.
func (g *Gateway) obey(c net.Conn, from arrival, client proxy.Client) {
	ss, nc, handler := g.newSession(c, from, client)
	ctx, ok := g.sessions.add(ss)
	if !ok {
		_ = c.Close()
		return
	}
	nc.Start(ctx, handler, func(err error) { g.closed(ss, err) })
}

func (g *Gateway) newSession(c net.Conn, from arrival, client proxy.Client) (*session, *rtmpcore.NetConn, *handler) {
	ss := &session{transport: from.transport, remote: from.remote, begin: time.Now()}
	h := &handler{gateway: g, session: ss, id: g.sessions.nextID()}
	h.client = app.Client{
		Server:   g.apps,
		Source:   live.Source{Transport: from.transport, Remote: from.remoteText()},
		Loopback: from.loopback(),
		Proxy:    client,
	}
	core := g.core
	core.Log = h.newLog()
	nc := rtmpcore.NewConn(c, core)
	ss.conn = nc
	return ss, nc, h
}

// handler is the way of a connection whose RTMP is obeyed to the applications.
type handler struct {
	gateway *Gateway
	session *session
	client  app.Client
	id      uint64
}

// linesAMinute is the number of lines about what a client does that are written for
// one connection: it may play and be refused as often as it can send commands.
const linesAMinute = 60

// newLog gives the connection a log with its fields.
func (h *handler) newLog() zerolog.Logger {
	from := h.client.Source
	log := h.gateway.log.With().Uint64("conn", h.id).Str("transport", from.Transport).Str("remote", from.Remote).Logger()
	some := &zerolog.BurstSampler{Burst: linesAMinute, Period: time.Minute}
	h.client.Log, h.session.log = log.Sample(zerolog.LevelSampler{InfoSampler: some, WarnSampler: some}), log
	return log
}

// Encrypted gives a connection whose client speaks RTMPE the name of its transport,
// and a log that has it.
func (h *handler) Encrypted() zerolog.Logger {
	if transport, ok := encrypted[h.session.transport]; ok {
		h.gateway.sessions.settle(h.session, transport)
		h.client.Source.Transport, h.client.Proxy.Transport = transport, transport
	}
	return h.newLog()
}

// Connect implements [rtmpcore.Handler].
func (h *handler) Connect(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	h.gateway.sessions.settle(h.session, h.session.transport)
	return h.client.Connect(nc, req)
}

// LightConnect reports that Connect waits for nobody.
func (h *handler) LightConnect() bool { return h.client.LightConnect() }

// closed logs and counts the end of a connection.
func (g *Gateway) closed(ss *session, err error) {
	level := zerolog.InfoLevel
	if nc, ok := ss.conn.(*rtmpcore.NetConn); ok && !nc.Connected() {
		level = zerolog.DebugLevel // scanners and health checks; of what they do the operator hears from refusals
	}
	ss.log.WithLevel(level).
		Str("reason", reason(err)).
		Float64("dur", time.Since(ss.begin).Seconds()).
		Uint64("bytes_in", ss.conn.BytesRead()).
		Uint64("bytes_out", ss.conn.BytesWritten()).
		Msg("closed")
	if end := endingOf(err); end >= 0 {
		g.endings[end].Add(1)
		if name := endingNames[end]; level == zerolog.DebugLevel || refusalsSaid[name].setting != "" {
			g.refusals.note(name, ss.remote, errors.New(reason(err)))
		}
	} else if level == zerolog.DebugLevel && errors.As(err, new(*rtmpcore.StatusError)) {
		g.refusals.note("rules", ss.remote, err) // its connect command was refused
	}
	g.sessions.remove(ss)
}

// reason says in words why a connection ended.
func reason(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "client left"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF):
		return "client left without a goodbye: " + err.Error()
	case errors.Is(err, handshake.ErrRTMPE):
		return "client asks for RTMPE, which is not served: set rtmpe.enabled"
	case errors.Is(err, handshake.ErrBusy):
		return "too many RTMPE handshakes at a time (limits.rtmpe_handshakes)"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "timeout: " + err.Error()
	}
	return err.Error()
}
