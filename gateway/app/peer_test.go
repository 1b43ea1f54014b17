package app_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"culvert/gateway/app"
	"culvert/gateway/auth"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/rtmpe"
	"culvert/rtmpcore/send"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a set of applications with connections over net.Pipe. Tests with it
// run in a synctest bubble: synctest.Wait returns when everything that follows
// from what was sent has happened.
type server struct {
	t    *testing.T
	apps *app.Server
	hub  *live.Hub
	log  zerolog.Logger // of the connections to come
}

func public() *app.Policy {
	return &app.Policy{
		Name: app.AnyApp,
		Play: auth.PlayRules{Public: true},
		Wait: true,
		Live: live.Options{GOPCache: 1 << 20, Gather: send.Gather{Mode: send.GatherMessage}},
	}
}

func newServer(t *testing.T, policy *app.Policy) *server {
	t.Helper()
	hub := live.NewHub()
	return &server{t: t, apps: app.NewServer(hub, nil, map[string]*app.Policy{app.AnyApp: policy}), hub: hub}
}

// peer is a client that speaks RTMP message by message.
type peer struct {
	t    *testing.T
	conn net.Conn
	w    *send.Writer
	nc   *rtmpcore.NetConn
	done chan struct{} // closed when the server's side has ended
	err  error         // why it ended

	transaction float64
	serverTail  [32]byte // of S1

	mu     sync.Mutex
	got    []received
	closed bool // the server closed the connection
}

// received is a message from the server.
type received struct {
	typeID   uint8
	streamID uint32
	at       chunk.Timestamp
	payload  string
}

// quietConn is a transport that wants its publishers left alone.
type quietConn struct {
	net.Conn
	publishing []bool
}

func (*quietConn) Quiet() bool             { return true }
func (q *quietConn) SetPublishing(on bool) { q.publishing = append(q.publishing, on) }

// dial connects and does the handshake. wrap may change the server's conn.
func (s *server) dial(loopback bool, wrap func(net.Conn) net.Conn) *peer {
	s.t.Helper()
	return s.dialAs(loopback, wrap, handshake.ClientConfig{})
}

// dialAs is dial with a handshake of the client's choice.
func (s *server) dialAs(loopback bool, wrap func(net.Conn) net.Conn, cfg handshake.ClientConfig) *peer {
	s.t.Helper()
	ours, theirs := net.Pipe()
	if wrap != nil {
		ours = wrap(ours)
	}
	core := rtmpcore.Config{RTMPE: handshake.NewExchange(1)}
	p := &peer{t: s.t, conn: theirs, nc: rtmpcore.NewConn(ours, core), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = p.nc.Serve(s.t.Context(), &app.Client{Server: s.apps, Loopback: loopback, Log: s.log})
	}()
	res, err := handshake.Client(theirs, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	p.serverTail = res.ServerTail
	if res.Keys != nil {
		if p.conn, err = rtmpe.New(theirs, res.Keys.In, res.Keys.Out); err != nil {
			s.t.Fatal(err)
		}
	}
	p.w = send.NewWriter(p.conn, send.Limits{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read()
	}()
	s.t.Cleanup(func() {
		theirs.Close()
		p.w.Close()
		<-read
		<-p.done
	})
	return p
}

func (p *peer) read() {
	r := chunk.NewReader(p.conn, chunk.Limits{})
	defer r.Close()
	for {
		m, err := r.ReadMessage()
		p.mu.Lock()
		if err != nil {
			p.closed = true
			p.mu.Unlock()
			_ = p.conn.Close()
			return
		}
		p.got = append(p.got, received{m.TypeID, m.StreamID, m.Timestamp, string(m.Bytes())})
		p.mu.Unlock()
		m.Release()
	}
}

// take waits until nothing more happens and returns what came since the last
// call.
func (p *peer) take() []received {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

func (p *peer) isClosed() bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// raw sends a message.
func (p *peer) raw(typeID uint8, streamID uint32, at chunk.Timestamp, payload []byte) {
	p.t.Helper()
	_ = p.w.Send(chunk.NewMessage(typeID, streamID, at, payload)) // a closed conn shows in what comes back
}

func (p *peer) send(streamID uint32, m message.Message) {
	p.t.Helper()
	b, err := m.AppendPayload(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(m.TypeID(), streamID, 0, b)
}

// command sends a command with the next transaction ID.
func (p *peer) command(streamID uint32, name string, args ...any) {
	p.t.Helper()
	p.transaction++
	p.send(streamID, message.Command{Name: name, TransactionID: p.transaction, Args: args})
}

// connect connects to an application.
func (p *peer) connect(appName string) *peer {
	p.t.Helper()
	p.transaction++
	p.send(0, message.Command{Name: "connect", TransactionID: p.transaction, Object: amf.Object{
		{Key: "app", Value: appName},
		{Key: "tcUrl", Value: "rtmp://host/" + appName},
	}})
	return p
}

// stream connects to the app live and creates a stream.
func (s *server) stream(loopback bool) *peer {
	s.t.Helper()
	p := s.dial(loopback, nil).connect("live")
	p.command(0, "createStream")
	p.take()
	return p
}

func (s *server) publisher(name string) *peer {
	s.t.Helper()
	p := s.stream(true)
	p.command(1, "publish", name, "live")
	return p
}

func (s *server) player(name string) *peer {
	s.t.Helper()
	p := s.stream(false)
	p.command(1, "play", name)
	return p
}

// Media payloads as encoders make them.
var (
	avcHeader = []byte{0x17, 0, 0, 0, 0, 1, 100, 0, 30}
	aacHeader = []byte{0xAF, 0, 0x12, 0x10}
)

func (p *peer) key(at chunk.Timestamp) {
	p.raw(message.TypeVideo, 1, at, []byte{0x17, 1, 0, 0, 0, 'K', byte(at)})
}

func (p *peer) inter(at chunk.Timestamp) {
	p.raw(message.TypeVideo, 1, at, []byte{0x27, 1, 0, 0, 0, 'P', byte(at)})
}

func (p *peer) sound(at chunk.Timestamp) {
	p.raw(message.TypeAudio, 1, at, []byte{0xAF, 1, 'A', byte(at)})
}

func (p *peer) headers() {
	p.raw(message.TypeVideo, 1, 0, avcHeader)
	p.raw(message.TypeAudio, 1, 0, aacHeader)
}

// brief describes messages in one line: media by kind and time, commands by name
// and status code.
func brief(list []received) string {
	var parts []string
	for _, m := range list {
		parts = append(parts, m.brief())
	}
	return strings.Join(parts, " ")
}

func (m received) brief() string {
	b := []byte(m.payload)
	switch m.typeID {
	case message.TypeVideo:
		switch {
		case m.payload == string(avcHeader):
			return fmt.Sprintf("H%d", m.at)
		case len(b) > 5:
			return fmt.Sprintf("%s%d", strings.ToLower(string(b[5:6])), m.at)
		}
		return fmt.Sprintf("?%d", m.at)
	case message.TypeAudio:
		if m.payload == string(aacHeader) {
			return fmt.Sprintf("h%d", m.at)
		}
		return fmt.Sprintf("a%d", m.at)
	}
	typed, err := message.Decode(m.typeID, b, amf.Limits{})
	if err != nil {
		return fmt.Sprintf("type%d(%v)", m.typeID, err)
	}
	switch d := typed.(type) {
	case message.UserControl:
		return fmt.Sprintf("%s(%d)", d.Event, d.StreamID)
	case message.Command:
		return briefCommand(d)
	case message.Data:
		return d.Name
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", typed), "message.")
}

func briefCommand(c message.Command) string {
	s := c.Name
	for _, a := range c.Args {
		if status, ok := message.ParseStatus(a); ok {
			s += ":" + status.Code
		} else if n, ok := a.(float64); ok {
			s += fmt.Sprintf(":%v", n)
		}
	}
	return s
}

// media returns only the audio and video of list, in brief.
func media(list []received) string {
	var kept []received
	for _, m := range list {
		if m.typeID == message.TypeAudio || m.typeID == message.TypeVideo {
			kept = append(kept, m)
		}
	}
	return brief(kept)
}

// expect compares what came since the last look.
func (p *peer) expect(want string) {
	p.t.Helper()
	if got := brief(p.take()); got != want {
		p.t.Errorf("the server sent\n\t%s\nwant\n\t%s", got, want)
	}
}

func (p *peer) expectMedia(want string) {
	p.t.Helper()
	if got := media(p.take()); got != want {
		p.t.Errorf("the player got\n\t%s\nwant\n\t%s", got, want)
	}
}

// status returns the last status among list.
func status(t *testing.T, list []received) message.Status {
	t.Helper()
	var found message.Status
	for _, m := range list {
		if m.typeID != message.TypeCommandAMF0 && m.typeID != message.TypeCommandAMF3 {
			continue
		}
		cmd, err := message.DecodeCommand(m.typeID, []byte(m.payload), amf.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range cmd.Args {
			if s, ok := message.ParseStatus(a); ok {
				found = s
			}
		}
	}
	return found
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
