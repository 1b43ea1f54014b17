package gateway_test

import (
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// routed is a configuration that hands every application to a backend.
func routed(t *testing.T, to string) configs.Config {
	t.Helper()
	return transparent(t, to, func(r *configs.Route) { r.Mode = configs.RouteRouted })
}

// Sessions that are routed cost no goroutine: neither the client's connection nor the one to the backend has one while nothing comes.
func TestRoutedSessionsNeedNoGoroutine(t *testing.T) {
	behind, _ := start(t, config(t), gateway.Options{})
	g, _ := start(t, routed(t, behind.Addr("rtmp").String()), gateway.Options{})
	const pairs = 20
	join := func(i int) {
		name := "s" + string(rune('a'+i))
		publisher, player := stream(t, g), stream(t, g)
		if err := publisher.Publish(t.Context(), 1, name); err != nil {
			t.Fatal(err)
		}
		if err := player.Play(t.Context(), 1, name); err != nil {
			t.Fatal(err)
		}
		if err := publisher.Send(chunk.NewMessage(message.TypeVideo, 1, 0, []byte("\x17\x01\x00\x00\x00key"))); err != nil {
			t.Fatal(err)
		}
		m, err := player.ReadMessage()
		for err == nil && m.TypeID != message.TypeVideo {
			m.Release()
			m, err = player.ReadMessage()
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Release()
	}
	join(pairs)
	before := runtime.NumGoroutine()
	for i := range pairs {
		join(i)
	}
	eventually(t, "routed sessions to rest", func() bool { return runtime.NumGoroutine() < before+pairs/2 })
}

// stream returns a connection to an application with one message stream.
func stream(t *testing.T, g *gateway.Gateway) *rtmpcore.Client {
	t.Helper()
	c, err := client.Connect(t.Context(), target(t, url(g, "rtmp", "live/x")), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.CreateStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// flood is a server that sends players more than fits anywhere on the way, as fast as they take it.
type flood struct {
	sent atomic.Int64
	rtmpcore.Session
}

const (
	floodMessages = 1200
	floodSize     = 50_000 // 60 MB together, three times what the gateway keeps for a player before it closes it
)

func (f *flood) Connect(*rtmpcore.NetConn, *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	return f, nil
}

func (f *flood) Play(ns *rtmpcore.NetStream, _ rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	return &flooding{flood: f, ns: ns, done: make(chan struct{})}, nil
}

type flooding struct {
	rtmpcore.Playback
	flood *flood
	ns    *rtmpcore.NetStream
	done  chan struct{}
}

func (f *flooding) Start() {
	go func() { // ends with its connection; waited by Close
		defer close(f.done)
		body := []byte(strings.Repeat("\x27", floodSize))
		for i := range floodMessages {
			binary.BigEndian.PutUint32(body[1:], uint32(i))
			if f.ns.Writer().Send(chunk.NewMessage(message.TypeVideo, f.ns.ID(), chunk.Timestamp(i), body)) != nil || f.ns.Writer().Flush(f.ns.Conn().Context()) != nil {
				return
			}
			f.flood.sent.Add(1)
		}
	}()
}

func (f *flooding) Close() { <-f.done }

// A player that reads nothing for a while holds its backend back, whatever that sends, and then gets everything. Another one does not notice.
func TestRoutedPlayerStalls(t *testing.T) {
	f := new(flood)
	server := backend(t, func(c *net.TCPConn) {
		_ = rtmpcore.NewConn(c, rtmpcore.Config{Send: send.Limits{WriteTimeout: patience}}).Serve(t.Context(), f)
	})
	g, _ := start(t, routed(t, server), gateway.Options{})
	stalled, other := stream(t, g), stream(t, g)
	if err := stalled.Play(t.Context(), 1, "x"); err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	eventually(t, "the backend to be held back", func() (held bool) {
		now := f.sent.Load()
		held = now > 0 && now == last
		last = now
		return held
	})
	if last >= floodMessages {
		t.Fatal("the backend has sent everything")
	}
	if err := other.Play(t.Context(), 1, "x"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*rtmpcore.Client{other, stalled} {
		for i := 0; i < floodMessages; {
			m, err := c.ReadMessage()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if m.TypeID == message.TypeVideo {
				if b := m.Bytes(); len(b) != floodSize || binary.BigEndian.Uint32(b[1:]) != uint32(i) {
					t.Fatalf("%d bytes are not message %d", len(b), i)
				}
				i++
			}
			m.Release()
		}
	}
}
