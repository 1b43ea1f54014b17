//go:build interop

package interop_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Events of shared objects.
const (
	soUse     = 1
	soRequest = 3
	soChange  = 4
	soClear   = 8
	soSuccess = 11
)

// room is a server with one shared object and a method, as those in the field have that nobody can install. It clears what a client knows when it subscribes and
// sends what there is.
type room struct {
	mu     sync.Mutex
	users  map[*rtmpcore.NetConn]bool
	values [][]byte
}

type roomUser struct {
	room *room
	nc   *rtmpcore.NetConn
}

func serveRoom(t *testing.T) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &room{users: map[*rtmpcore.NetConn]bool{}}
	addr = answer(t, func(c net.Conn) { _ = rtmpcore.NewConn(c, rtmpcore.Config{}).Serve(ctx, r) })
	t.Cleanup(cancel) // before answer waits for its connections
	return addr
}

func (r *room) Connect(nc *rtmpcore.NetConn, _ *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	return roomUser{r, nc}, nil
}

func (u roomUser) Publish(*rtmpcore.NetStream, rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	return asking{}, nil
}

func (u roomUser) Play(ns *rtmpcore.NetStream, _ rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	return asked{ns}, nil
}

func (u roomUser) Close() {
	u.room.mu.Lock()
	defer u.room.mu.Unlock()
	delete(u.room.users, u.nc)
}

func (u roomUser) Opened() {}

func (u roomUser) Relay(m *chunk.Message, cmd message.Envelope) (taken bool) {
	u.room.mu.Lock()
	defer u.room.mu.Unlock()
	if cmd.Name != "" {
		if call, err := message.DecodeCommand(m.TypeID, m.Bytes(), amf.Limits{}); err == nil && cmd.TransactionID != 0 {
			_ = sendTo(u.nc, call.Result(nil, call.Args...))
		}
		return true
	}
	object, err := message.DecodeSharedObject(m.TypeID, m.Bytes(), amf.Limits{})
	if err != nil {
		return false
	}
	for _, e := range object.Events {
		switch e.Type {
		case soUse:
			u.room.users[u.nc] = true
			events := []message.SharedObjectEvent{{Type: soSuccess}, {Type: soClear}}
			for _, v := range u.room.values {
				events = append(events, message.SharedObjectEvent{Type: soChange, Data: v})
			}
			_ = sendTo(u.nc, message.SharedObject{Name: object.Name, Events: events})
		case soRequest:
			u.room.values = append(u.room.values, e.Data)
			for nc := range u.room.users {
				_ = sendTo(nc, message.SharedObject{Name: object.Name, Events: []message.SharedObjectEvent{{Type: soChange, Data: e.Data}}})
			}
		}
	}
	return true
}

func sendTo(nc *rtmpcore.NetConn, msg message.Message) error {
	b, err := msg.AppendPayload(nil)
	if err != nil {
		return err
	}
	return nc.Writer().Send(chunk.NewMessage(msg.TypeID(), 0, 0, b))
}

func (l *light) tell(t *testing.T, events ...message.SharedObjectEvent) {
	t.Helper()
	b, err := message.SharedObject{Name: "board", Events: events}.AppendPayload(nil)
	if err == nil {
		err = l.Send(chunk.NewMessage(message.TypeSharedObjectAMF0, 0, 0, b))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitAny reads until ok likes a message.
func (l *light) awaitAny(t *testing.T, what string, ok func(typeID uint8, payload []byte) bool) {
	t.Helper()
	for {
		m, err := l.ReadAny()
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		typeID, b := m.TypeID, m.AppendPayload(nil)
		m.Release()
		if ok(typeID, b) {
			return
		}
	}
}

// awaitBoard waits for a message of the shared object with these events, and these values in them.
func (l *light) awaitBoard(t *testing.T, events string, values ...string) {
	t.Helper()
	l.awaitAny(t, "events "+events, func(typeID uint8, b []byte) bool {
		if typeID != message.TypeSharedObjectAMF0 {
			return false
		}
		object, err := message.DecodeSharedObject(typeID, b, amf.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got, data []string
		for _, e := range object.Events {
			got = append(got, fmt.Sprint(e.Type))
			if len(e.Data) > 0 {
				data = append(data, string(e.Data))
			}
		}
		if strings.Join(got, " ") != events || strings.Join(data, " ") != strings.Join(values, " ") {
			t.Fatalf("the client is told events %v of %q, want %s of %q", got, data, events, values)
		}
		return true
	})
}

// Culvert behind culvert before a server with shared objects and methods, over each transport, without and with a stream: calls are heard before there is one,
// and when a gateway in the middle is cut off the other one carries what its clients used, after they were told that all they knew is void.
func TestProxySharedObjects(t *testing.T) {
	t.Parallel()
	room := serveRoom(t)
	config := "apps: {live: {proxy: {to: ['rtmp://" + room + "'], balance: hash}}}"
	middle := []*server{serve(t, config), serve(t, config)}
	way := newPassage(t, middle[0].addr(t, "rtmp"))
	s := serve(t, fmt.Sprintf("apps: {live: {proxy: {to: ['rtmp://%s', {url: 'rtmp://%s', drain: true}], reconnect: 30s, check: {type: handshake, interval: 100ms, timeout: 1s, rise: 1, fall: 1}}}}",
		way.addr(), middle[1].addr(t, "rtmp")))
	var clients []*light
	for _, transport := range transports {
		for _, stream := range []bool{false, true} {
			l := joined(t, joinOnly, s.url(t, transport, "board"))
			call := message.Command{Name: "getUsers", TransactionID: 900, Args: []any{"early"}}
			if err := l.Command(0, call); err != nil {
				t.Fatal(err)
			}
			l.awaitAny(t, "a result", func(typeID uint8, b []byte) bool {
				cmd, ok := message.ReadEnvelope(typeID, b)
				return ok && typeID == message.TypeCommandAMF0 && cmd.Name == message.NameResult && cmd.TransactionID == 900
			})
			if stream {
				if err := l.Play(background(t), l.id, "show"); err != nil {
					t.Fatal(err)
				}
			}
			l.tell(t, message.SharedObjectEvent{Type: soUse})
			l.awaitBoard(t, "11 8")
			clients = append(clients, l)
		}
	}
	clients[0].tell(t, message.SharedObjectEvent{Type: soRequest, Data: []byte("one")})
	for _, l := range clients {
		l.awaitBoard(t, "4", "one")
	}
	s.ask(t, "admin", "POST", "/api/v1/backends/undrain?url=rtmp://"+middle[1].addr(t, "rtmp"), 200)
	way.lead("")
	for _, l := range clients {
		l.awaitBoard(t, "11 8 4", "one")
	}
	clients[1].tell(t, message.SharedObjectEvent{Type: soRequest, Data: []byte("two")})
	for _, l := range clients {
		l.awaitBoard(t, "4", "two")
	}
}

// joinOnly connects and asks for no stream yet.
func joinOnly(ctx context.Context, url string) (*light, error) { return joinLight(ctx, url, nil) }
