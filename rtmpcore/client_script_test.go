package rtmpcore_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// script is a server that says what a test wants it to.
type script struct {
	t *testing.T
	w *send.Writer
}

// scripted returns a connected client of a server that calls answer with each command but
// connect and createStream, which it answers itself. In a synctest bubble.
func scripted(t *testing.T, answer func(s script, cmd message.Command)) (*rtmpcore.Client, uint32) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { // ended by closing theirs; waited by Cleanup
		defer close(done)
		defer ours.Close()
		if _, err := handshake.Server(ours, handshake.ServerConfig{}); err != nil {
			return
		}
		s := script{t, send.NewWriter(ours, send.Limits{})}
		defer func() { ours.Close(); s.w.Close() }()
		r := chunk.NewReader(ours, chunk.Limits{})
		defer r.Close()
		for {
			m, err := r.ReadMessage()
			if err != nil {
				return
			}
			cmd, err := message.DecodeCommand(m.TypeID, m.Bytes(), amf.Limits{})
			isCommand := m.TypeID == message.TypeCommandAMF0
			m.Release()
			switch {
			case err != nil || !isCommand:
			case cmd.Name == "connect":
				s.say(0, cmd.Result(nil))
			case cmd.Name == "createStream":
				s.say(0, cmd.Result(nil, 1.0))
			default:
				answer(s, cmd)
			}
		}
	}()
	c := rtmpcore.NewClient(theirs, rtmpcore.ClientConfig{App: "live"})
	t.Cleanup(func() { c.Close(); <-done })
	must(t, c.Connect(t.Context()))
	id, err := c.CreateStream(t.Context())
	must(t, err)
	return c, id
}

func (s script) say(streamID uint32, msg message.Message) {
	payload, err := msg.AppendPayload(nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.media(msg.TypeID(), streamID, string(payload))
}

func (s script) media(typeID uint8, streamID uint32, payload string) {
	m := chunk.NewMessage(typeID, streamID, 0, []byte(payload))
	m.Class = chunk.ClassHeader // kept, and in order
	_ = s.w.Send(m)             // the client's end is not judged here
}

func (s script) status(code string) {
	s.say(1, message.Status{Level: message.LevelStatus, Code: code}.OnStatus())
}

// What comes before the answer to play is kept for the reader, within limits.
func TestClientKeepsEarlyMedia(t *testing.T) {
	for name, tc := range map[string]struct {
		messages, size, more int // more is of the first one
		ok                   bool
	}{
		"one":            {1, 10, 0, true},
		"as many as may": {64, 10, 0, true},
		"one more":       {65, 10, 0, false},
		"as much as may": {4, 1 << 20, 0, true},
		"a byte more":    {4, 1 << 20, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, id := scripted(t, func(s script, cmd message.Command) {
					if cmd.Name != "play" {
						return
					}
					for i := range tc.messages {
						size := tc.size
						if i == 0 {
							size += tc.more
						}
						s.media(message.TypeVideo, 1, string([]byte{byte(i)})+strings.Repeat("x", size-1))
					}
					s.status(message.StatusPlayStart)
				})
				err := c.Play(t.Context(), id, "a")
				if ok := err == nil; ok != tc.ok {
					t.Fatalf("play: %v", err)
				}
				for i := range tc.messages {
					if !tc.ok {
						break
					}
					m, err := c.ReadMessage()
					must(t, err)
					if got := m.Bytes(); len(got) != tc.size || got[0] != byte(i) {
						t.Fatalf("message %d is %d bytes, %q", i, len(got), got[0])
					}
					m.Release()
				}
			})
		})
	}
}

// ReadAny shows what ReadMessage judges: events of streams, statuses, aggregates in parts.
func TestClientReadAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, id := scripted(t, func(s script, cmd message.Command) {
			if cmd.Name != "play" {
				return
			}
			s.status(message.StatusPlayStart)
			s.say(0, message.UserControl{Event: message.EventStreamBegin})           // of the connection
			s.say(0, message.UserControl{Event: message.EventPingRequest, Value: 7}) // answered, not shown
			s.say(0, message.UserControl{Event: message.EventStreamIsRecorded, StreamID: 1})
			s.media(message.TypeAggregate, 1, "\x08\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00a\x00\x00\x00\x0c\x09\x00\x00\x01\x00\x00\x28\x00\x00\x00\x00v")
			s.status(message.StatusPlayStop)
		})
		must(t, c.PlayFrom(t.Context(), id, "a", 0, -1))
		var got []uint8
		for range 4 {
			m, err := c.ReadAny()
			must(t, err)
			got = append(got, m.TypeID)
			m.Release()
		}
		want := []uint8{message.TypeUserControl, message.TypeAudio, message.TypeVideo, message.TypeCommandAMF0}
		if string(got) != string(want) {
			t.Errorf("message types %v, want %v", got, want)
		}
	})
}

// A server that asks to close in place of an answer is not waited for.
func TestClientIsAskedToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, func(s script, cmd message.Command) {
			if cmd.Name == "releaseStream" {
				s.say(0, message.Command{Name: "close"})
			}
		})
		must(t, c.Command(0, message.Command{Name: "releaseStream", TransactionID: 9}))
		synctest.Wait() // the server has said so
		if _, err := c.CreateStream(t.Context()); !errors.Is(err, rtmpcore.ErrClosing) {
			t.Errorf("createStream: %v, want %v", err, rtmpcore.ErrClosing)
		}
	})
}
