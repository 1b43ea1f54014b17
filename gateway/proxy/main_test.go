package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errRefused is a port where nothing listens.
var errRefused = errors.New("connection refused")

// world is a gateway with backends behind it, all of net.Pipe. Tests with it run in a synctest bubble.
type world struct {
	t        *testing.T
	router   *proxy.Router
	routes   []proxy.RouteConfig
	log      logBuffer
	distance time.Duration // to the backends, one way
	local    bool          // streams without a route are said to be served by the gateway

	mu       sync.Mutex
	servers  map[string]func(net.Conn) // by host; a host without one refuses connections
	newest   *proxy.Session            // of the client that connected last
	dials    []string
	count    int // clients so far
	clients  []proxy.Client
	running  sync.WaitGroup
	sessions sync.WaitGroup
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newWorld makes a gateway with one route to hosts, which change may alter.
func newWorld(t *testing.T, change func(*proxy.RouteConfig), hosts ...string) *world {
	t.Helper()
	route := proxy.RouteConfig{Name: "test", Pool: proxy.PoolConfig{Retries: 2, Timeout: 5 * time.Second}}
	for _, h := range hosts {
		route.Pool.Backends = append(route.Pool.Backends, proxy.BackendConfig{Scheme: "rtmp", Host: h, Port: "1935", Weight: 1})
	}
	if change != nil {
		change(&route)
	}
	return newRoutes(t, route)
}

func newRoutes(t *testing.T, routes ...proxy.RouteConfig) *world {
	t.Helper()
	w := &world{t: t, servers: map[string]func(net.Conn){}, routes: routes}
	w.router = proxy.NewRouter(proxy.Config{
		Log:   zerolog.New(&w.log),
		Dial:  w.dial,
		ID:    "this-one",
		Chunk: chunk.Limits{Media: 1 << 20, Other: 64 << 10},
		Send:  send.Limits{WriteTimeout: 10 * time.Second},
	}, routes)
	t.Cleanup(func() {
		w.sessions.Wait()
		w.running.Wait()
	})
	return w
}

func (w *world) dial(ctx context.Context, to proxy.BackendConfig, client proxy.Client) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, to.Host)
	w.clients = append(w.clients, client)
	server := w.servers[to.Host]
	w.mu.Unlock()
	if server == nil {
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	if w.distance > 0 {
		time.Sleep(2 * w.distance) // TCP's handshake
		ours, theirs = far(w, w.distance)
	}
	w.running.Go(func() {
		defer theirs.Close()
		server(theirs)
	})
	return ours, ctx.Err()
}

func (w *world) serve(host string, server func(net.Conn)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[host] = server
}

// dialed returns the hosts that were dialled, in order.
func (w *world) dialed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.dials, " ")
}

// handler gives connections to the router alone.
type handler struct{ w *world }

func (h handler) Connect(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	s, err := h.w.router.Connect(nc, zerolog.Nop(), proxy.Client{Listener: "rtmp", Transport: "rtmp", Remote: h.w.nextAddr()}, req, h.w.local)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, &rtmpcore.StatusError{Code: message.StatusConnectInvalidApp, Description: "No route."}
	}
	h.w.mu.Lock()
	h.w.newest = s
	h.w.mu.Unlock()
	return session{s}, nil
}

// nextAddr is the address of one client more.
func (w *world) nextAddr() net.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(44+w.count)), Port: 4711}
	w.count++
	return addr
}

var clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 44), Port: 4711}

type session struct{ *proxy.Session }

func (s session) Publish(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	p, ok, err := s.Session.Publish(ns, req)
	if !ok {
		err = &rtmpcore.StatusError{Code: message.StatusPublishDenied, Description: "No route."}
	}
	return p, err
}

func (s session) Play(ns *rtmpcore.NetStream, req rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	p, ok, err := s.Session.Play(ns, req)
	if !ok {
		err = &rtmpcore.StatusError{Code: message.StatusPlayStreamNotFound, Description: "No route."}
	}
	return p, err
}

// connect opens a client's connection through the gateway.
func (w *world) connect(cfg rtmpcore.ClientConfig) (*rtmpcore.Client, error) {
	w.t.Helper()
	ours, theirs := net.Pipe()
	nc := rtmpcore.NewConn(ours, rtmpcore.Config{})
	w.sessions.Go(func() { _ = nc.Serve(w.t.Context(), handler{w}) })
	c := rtmpcore.NewClient(theirs, cfg)
	w.t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	return c, c.Connect(ctx)
}

// publisher opens a connection and publishes.
func (w *world) publisher(app, name string) (c *rtmpcore.Client, id uint32, err error) {
	w.t.Helper()
	if c, err = w.connect(rtmpcore.ClientConfig{App: app, TCURL: "rtmp://gateway.test/" + app}); err != nil {
		return c, 0, err
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if id, err = c.CreateStream(ctx); err != nil {
		return c, id, err
	}
	return c, id, c.Publish(ctx, id, name)
}

// player opens a connection and plays.
func (w *world) player(app, name string) (c *rtmpcore.Client, err error) {
	w.t.Helper()
	if c, err = w.connect(rtmpcore.ClientConfig{App: app, TCURL: "rtmp://gateway.test/" + app}); err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	id, err := c.CreateStream(ctx)
	if err != nil {
		return c, err
	}
	return c, c.Play(ctx, id, name)
}

// origin is a backend as it should be: it keeps what is published and sends players what it is told to.
type origin struct {
	w       *world
	handler rtmpcore.Handler // itself, or what has more methods

	mu       sync.Mutex
	conns    []net.Conn
	open     int
	connects []*rtmpcore.ConnectRequest
	names    []string // published and played, with their queries
	got      []string // media that was published, as text
	players  []*rtmpcore.NetStream
	gate     chan struct{} // set before anything is published: nothing is read until it is closed
}

func (w *world) origin(host string) *origin {
	o := &origin{w: w}
	o.handler = o
	o.serve(host)
	return o
}

func (o *origin) serve(host string) {
	w := o.w
	w.serve(host, func(c net.Conn) {
		o.mu.Lock()
		o.conns = append(o.conns, c)
		o.open++
		o.mu.Unlock()
		_ = rtmpcore.NewConn(c, rtmpcore.Config{}).Serve(w.t.Context(), o.handler)
		o.mu.Lock()
		o.open--
		o.mu.Unlock()
	})
}

func (o *origin) Connect(_ *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connects = append(o.connects, req)
	if req.App == "forbidden" {
		return nil, &rtmpcore.StatusError{Code: message.StatusConnectRejected, Description: "[ code=403 need auth; authmod=adobe ]"}
	}
	return o, nil
}

func full(name, query string) string {
	if query != "" {
		return name + "?" + query
	}
	return name
}

func (o *origin) Publish(_ *rtmpcore.NetStream, req rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if req.Name == "taken" {
		return nil, &rtmpcore.StatusError{Code: message.StatusPublishBadName, Description: "Somebody publishes it.", Close: true}
	}
	o.names = append(o.names, full(req.Name, req.Query))
	return o, nil
}

func (o *origin) Play(ns *rtmpcore.NetStream, req rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if req.Name == "missing" {
		return nil, &rtmpcore.StatusError{Code: message.StatusPlayStreamNotFound, Description: "There is none."}
	}
	o.names = append(o.names, full(req.Name, req.Query))
	o.players = append(o.players, ns)
	return o, nil
}

func (o *origin) WriteMessage(m *chunk.Message) error {
	if o.gate != nil {
		<-o.gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, string(m.AppendPayload(nil)))
	m.Release()
	return nil
}

func (o *origin) Start()            {}
func (o *origin) Pause(bool)        {}
func (o *origin) ReceiveAudio(bool) {}
func (o *origin) ReceiveVideo(bool) {}
func (o *origin) Close()            {}

// send sends a video message to all players.
func (o *origin) send(at chunk.Timestamp, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ns := range o.players {
		_ = ns.Writer().Send(chunk.NewMessage(message.TypeVideo, ns.ID(), at, []byte(text)))
	}
}

// die ends all connections and refuses new ones.
func (o *origin) die(host string) {
	o.w.serve(host, nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.conns {
		c.Close()
	}
	o.players = nil
}

func (o *origin) received() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.got...)
}

func (o *origin) said() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.names...)
}

// shaken makes a server that does the handshake and reads until the connect command, which it answers when answer says so, and then
// is what then does.
func shaken(t *testing.T, then func(c net.Conn, w *send.Writer)) func(net.Conn) {
	t.Helper()
	return func(c net.Conn) {
		if _, err := handshake.Server(c, handshake.ServerConfig{}); err != nil {
			return
		}
		w := send.NewWriter(c, send.Limits{})
		var drained sync.WaitGroup
		drained.Go(func() {
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		})
		then(c, w)
		c.Close()
		w.Close()
		drained.Wait()
	}
}

func video(id uint32, at chunk.Timestamp, text string) *chunk.Message {
	return chunk.NewMessage(message.TypeVideo, id, at, []byte(text))
}

const (
	header   = "\x17\x00\x00\x00\x00header"
	keyframe = "\x17\x01\x00\x00\x00key "
	inter    = "\x27\x01\x00\x00\x00inter "
)

// hang takes what a client sends and never answers.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
