package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"culvert/gateway/app"
	"culvert/gateway/auth"
	"culvert/gateway/client"
	"culvert/gateway/live"
	"culvert/gateway/relay"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a set of gateways that reach each other by name over net.Pipe. Tests with
// it run in a synctest bubble: synctest.Wait returns when everything that follows from
// what was done has happened.
type network struct {
	t     *testing.T
	nodes map[string]*node
}

// node is a gateway: real applications, hub and relay.
type node struct {
	net   *network
	name  string
	hub   *live.Hub
	apps  *app.Server
	relay *relay.Relay
	log   *bytes.Buffer // guarded by mu

	mu sync.Mutex
	// guarded by mu
	down   bool
	deaf   bool          // accepts connections and never answers
	frozen chan struct{} // see freeze
	calls  []call
	conns  map[net.Conn]bool // the node's side, open
}

// call is a connection that a relay asked for.
type call struct {
	at   time.Time
	from string
	t    client.Target
	via  string // gateways that it says the stream came through
}

type lockedWriter struct{ n *node }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.n.log.Write(b)
}

// inNetwork runs a test in a bubble with a network of its own.
func inNetwork(t *testing.T, test func(*testing.T, *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &network{t: t, nodes: make(map[string]*node)}) })
}

// add makes a node. change may alter its policy and its relay, which is closed with the test.
func (n *network) add(name string, change func(*app.Policy, *relay.Config)) *node {
	n.t.Helper()
	g := &node{net: n, name: name, hub: live.NewHub(), log: new(bytes.Buffer), conns: make(map[net.Conn]bool)}
	policy := &app.Policy{
		Name: app.AnyApp, Play: auth.PlayRules{Public: true}, Wait: true,
		Live: live.Options{GOPCache: 1 << 20, Gather: send.Gather{Mode: send.GatherMessage}},
	}
	cfg := relay.Config{Hub: g.hub, Live: policy.Live, ID: "id-" + name, Log: zerolog.New(lockedWriter{g}), Connect: n.connectFrom(name)}
	if change != nil {
		change(policy, &cfg)
	}
	var err error
	if g.relay, err = relay.New(cfg); err != nil {
		n.t.Fatal(err)
	}
	policy.Live = g.relay.Options()
	if g.relay.Pulls() {
		policy.Origin = g.relay
	}
	g.apps = app.NewServer(g.hub, nil, map[string]*app.Policy{app.AnyApp: policy})
	g.apps.ID = cfg.ID
	n.nodes[name] = g
	n.t.Cleanup(func() {
		g.relay.Close()
		g.sever()
		synctest.Wait()
	})
	return g
}

// connectFrom is what relay.Config.Connect is for a node.
func (n *network) connectFrom(name string) func(context.Context, client.Target, client.Options) (*rtmpcore.Client, error) {
	return func(ctx context.Context, t client.Target, opts client.Options) (*rtmpcore.Client, error) {
		to := n.nodes[t.Host]
		if to == nil {
			return nil, &net.DNSError{Err: "no such host", Name: t.Host, IsNotFound: true}
		}
		if opts.Refuse != nil {
			if err := opts.Refuse(addr(t.Host)); err != nil {
				return nil, err
			}
		}
		to.mu.Lock()
		via, _ := amf.Object(opts.Extra).String(rtmpcore.ViaProperty)
		to.calls = append(to.calls, call{time.Now(), name, t, via})
		down := to.down
		to.mu.Unlock()
		if down {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		c := rtmpcore.NewClient(to.accept(), rtmpcore.ClientConfig{App: t.App, TCURL: t.TCURL(), Extra: opts.Extra, Send: opts.Send})
		if err := c.Connect(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

type addr string

func (addr) Network() string  { return "test" }
func (a addr) String() string { return string(a) }

// accept serves one more connection and returns the client's side.
func (g *node) accept() net.Conn {
	ours, theirs := net.Pipe()
	g.mu.Lock()
	g.conns[ours] = true
	deaf := g.deaf
	g.mu.Unlock()
	if deaf {
		return theirs
	}
	nc := rtmpcore.NewConn(freezable{ours, g}, rtmpcore.Config{})
	c := &app.Client{Server: g.apps, Loopback: true, Log: zerolog.New(lockedWriter{g}), Source: live.Source{Transport: "rtmp"}}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // stopped by the end of the connection; the bubble waits for it
		defer cancel()
		_ = nc.Serve(ctx, c)
		g.mu.Lock()
		delete(g.conns, ours)
		g.mu.Unlock()
	}()
	return theirs
}

// sever cuts all connections to the node.
func (g *node) sever() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
}

// switchOff cuts all connections and refuses new ones, until it is switched on again.
func (g *node) switchOff(off bool) {
	g.mu.Lock()
	g.down = off
	g.mu.Unlock()
	if off {
		g.sever()
	}
	synctest.Wait()
}

// connections returns how many connections to the node are open.
func (g *node) connections() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// called returns the connections that relays asked for since the last call.
func (g *node) called() []call {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

// logged counts the lines of the node's log that have all of some words.
func (g *node) logged(words ...string) int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for line := range strings.Lines(g.log.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// status returns the first target's, or the origin's.
func (g *node) status() relay.Status {
	synctest.Wait()
	return g.relay.Status()[0]
}

// state returns that of the only stream of the first target, "" when there is none.
func (g *node) state() relay.State {
	s := g.status().Streams
	if len(s) == 0 {
		return ""
	}
	return s[0].State
}

// await lets time pass until the only stream of the first target has a state.
func (g *node) await(want relay.State) {
	g.net.t.Helper()
	for range 600 {
		if g.state() == want {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.net.t.Fatalf("state %q after a minute, want %q", g.state(), want)
}

func key(name string) live.Key { return live.Key{App: "live", Name: name} }

// source is a publisher at a node.
type source struct {
	t   *testing.T
	pub *live.Publication
}

func (*source) Replaced() {}

func (g *node) publish(name string) *source {
	g.net.t.Helper()
	s := &source{t: g.net.t}
	var err error
	s.pub, err = g.hub.Publish(key(name), g.relay.Options(), live.Offer{Publisher: s, Source: live.Source{Transport: "rtmp"}})
	if err != nil {
		g.net.t.Fatal(err)
	}
	return s
}

// Kinds of messages, as encoders make them.
const (
	avcHeader = "\x17\x00\x00\x00\x00header"
	aacHeader = "\xAF\x00header"
)

func keyframe(text string) string   { return "\x17\x01\x00\x00\x00" + text }
func interframe(text string) string { return "\x27\x01\x00\x00\x00" + text }
func sound(text string) string      { return "\xAF\x01" + text }

func (s *source) write(typeID uint8, at int, payload string) {
	s.t.Helper()
	if err := s.pub.WriteMessage(chunk.NewMessage(typeID, 1, chunk.Timestamp(at), []byte(payload))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) video(at int, payload string) { s.t.Helper(); s.write(message.TypeVideo, at, payload) }

func (s *source) audio(at int, payload string) { s.t.Helper(); s.write(message.TypeAudio, at, payload) }

// begin writes what a stream begins with.
func (s *source) begin() {
	s.t.Helper()
	s.write(message.TypeDataAMF0, 0, "\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x01a\x02\x00\x01b\x00\x00\x09")
	s.video(0, avcHeader)
	s.audio(0, aacHeader)
}

// broadcast publishes what a stream begins with and the first keyframe.
func (g *node) broadcast(name string, at int, keyframe string) *source {
	g.net.t.Helper()
	s := g.publish(name)
	s.begin()
	s.video(at, keyframe)
	return s
}

// viewer is a client that plays at a node and keeps what it gets.
type viewer struct {
	t    *testing.T
	c    *rtmpcore.Client
	done chan struct{}

	mu sync.Mutex
	// guarded by mu
	got  []got
	ends int // how often it was told of the end
	err  error
}

// got is an audio, video or metadata message.
type got struct {
	at      chunk.Timestamp
	payload string
}

// tryPlay connects to a node and plays.
func (g *node) tryPlay(name string, extra ...amf.Pair) (*viewer, error) {
	g.net.t.Helper()
	v := &viewer{t: g.net.t, c: rtmpcore.NewClient(g.accept(), rtmpcore.ClientConfig{App: "live", Extra: extra}), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := v.c.Connect(ctx)
	var id uint32
	if err == nil {
		id, err = v.c.CreateStream(ctx)
	}
	if err == nil {
		err = v.c.Play(ctx, id, name)
	}
	if err != nil {
		v.c.Close()
		return nil, err
	}
	go v.read() // stopped by close
	g.net.t.Cleanup(v.close)
	return v, nil
}

func (g *node) play(name string) *viewer {
	g.net.t.Helper()
	v, err := g.tryPlay(name)
	if err != nil {
		g.net.t.Fatal(err)
	}
	return v
}

func (v *viewer) close() {
	v.c.Close()
	<-v.done
	synctest.Wait()
}

func (v *viewer) read() {
	defer close(v.done)
	for {
		m, err := v.c.ReadMessage()
		v.mu.Lock()
		switch {
		case errors.Is(err, rtmpcore.ErrEnded):
			v.ends++
		case err != nil:
			v.err = err
			v.mu.Unlock()
			return
		default:
			b := string(m.AppendPayload(nil))
			if !strings.Contains(b, "onStatus") && !strings.Contains(b, "RtmpSampleAccess") {
				v.got = append(v.got, got{m.Timestamp, b})
			}
			m.Release()
		}
		v.mu.Unlock()
	}
}

// take returns what came since the last call.
func (v *viewer) take() []got {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.got
	v.got = nil
	return all
}

// told returns how often the viewer was told of the end.
func (v *viewer) told() int {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ends
}

// requireGot checks payloads, and that time does not go back.
func (v *viewer) requireGot(payloads ...string) []got {
	v.t.Helper()
	all := v.take()
	var have []string
	for _, g := range all {
		have = append(have, g.payload)
	}
	if !slices.Equal(have, payloads) {
		v.t.Fatalf("got  %q\nwant %q", have, payloads)
	}
	return all
}

// requireStart is requireGot for what follows metadata and sequence headers.
func (v *viewer) requireStart(payloads ...string) []got {
	v.t.Helper()
	return v.requireGot(append([]string{metadata, avcHeader, aacHeader}, payloads...)...)
}

const metadata = "\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x01a\x02\x00\x01b\x00\x00\x09"

func pushTo(targets ...string) func(*app.Policy, *relay.Config) {
	return func(_ *app.Policy, c *relay.Config) {
		for _, to := range targets {
			c.Push = append(c.Push, relay.Push{To: to, Linger: 15 * time.Second})
		}
	}
}

func pullFrom(from string, change func(*app.Policy, *relay.Pull)) func(*app.Policy, *relay.Config) {
	return func(p *app.Policy, c *relay.Config) {
		c.Pull = &relay.Pull{From: from, Idle: 10 * time.Second, Lost: time.Minute, Streams: 100}
		if change != nil {
			change(p, c.Pull)
		}
	}
}

// originAndPuller adds an origin, and a gateway that pulls from it as pullFrom says.
func (n *network) originAndPuller(change func(*app.Policy, *relay.Pull)) (origin, g *node) {
	n.t.Helper()
	return n.add("origin", nil), n.add("g", pullFrom("rtmp://origin/live/{name}", change))
}

// frames writes n interframes, a second apart, and lets the time pass.
func (s *source) frames(from, n int) (payloads []string) {
	s.t.Helper()
	for i := range n {
		p := interframe(fmt.Sprint("frame ", from+i))
		s.video(1000*(from+i), p)
		payloads = append(payloads, p)
		time.Sleep(time.Second)
	}
	return payloads
}

// freeze makes the node stop reading what is sent to it now, until stop is called.
func (g *node) freeze() (stop func()) {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = make(chan struct{})
	return func() { close(g.frozen) }
}

// freezable is a connection that does not read while its node is frozen.
type freezable struct {
	net.Conn
	node *node
}

func (c freezable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.node.mu.Lock()
	frozen := c.node.frozen
	c.node.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return n, err
}

// isAddr is a relay.Config.Self.
func isAddr(name string) func(net.Addr) bool {
	return func(a net.Addr) bool { return a.String() == name }
}
