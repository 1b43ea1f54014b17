package live_test

import (
	"bytes"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"culvert/gateway/live"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// tape is a conn that takes everything and keeps it.
type tape struct {
	net.Conn
	bytes.Buffer
}

func (t *tape) TryWritev(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		t.Buffer.Write(b)
		n += len(b)
	}
	return n, nil
}

func (*tape) WaitWritable() error               { return nil }
func (t *tape) Read(p []byte) (int, error)      { return t.Buffer.Read(p) }
func (t *tape) Write(p []byte) (n int, _ error) { return t.Buffer.Write(p) }

// messages reads what was written.
func (t *tape) messages(tb testing.TB) (all []*chunk.Message, chunkSize int) {
	tb.Helper()
	r := chunk.NewReader(&t.Buffer, chunk.Limits{})
	for {
		m, err := r.ReadMessage()
		if err != nil {
			return all, r.ChunkSize()
		}
		all = append(all, m)
	}
}

// A server that is published to gets metadata as from a publisher and never a larger chunk size, whatever its players get; on a stream of any number.
func TestRelaySubscriber(t *testing.T) {
	for name, id := range map[string]uint32{"shared bytes": 1, "bytes of its own": 5} {
		t.Run(name, func(t *testing.T) {
			hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
			pub, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}})
			if err != nil {
				t.Fatal(err)
			}
			defer pub.Close()
			join := func(relay bool, id uint32) *tape {
				out := new(tape)
				w := send.NewWriter(out, send.Limits{})
				var size [4]byte
				size[1] = 1 // 65536
				if err := w.Send(chunk.NewMessage(1, 0, 0, size[:])); err != nil {
					t.Fatal(err)
				}
				sub, err := hub.Subscribe(key, live.Options{}, live.Request{Player: nobody{}, Writer: w, StreamID: id, Relay: relay})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(sub.Close)
				sub.Start()
				return out
			}
			early, player := join(true, id), join(false, 1)
			const at = 0x1000000 // an extended timestamp
			meta := []byte("\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00\x00\x00\x09")
			other := []byte("\x02\x00\x0aonTextData\x05")
			large := append([]byte("\x17\x01\x00\x00\x00"), make([]byte, 200_000)...)
			for _, m := range []struct {
				typeID  uint8
				payload []byte
			}{{message.TypeDataAMF0, meta}, {message.TypeDataAMF0, other}, {message.TypeVideo, large}, {message.TypeVideo, []byte("\x27\x01\x00\x00\x00")}, {message.TypeDataAMF0, meta}} {
				if err := pub.WriteMessage(chunk.NewMessage(m.typeID, 1, at, m.payload)); err != nil {
					t.Fatal(err)
				}
			}
			late := join(true, id) // writes out what was gathered
			got, size := early.messages(t)
			if size != chunk.SegmentSize || len(got) != 5 {
				t.Fatalf("%d messages, chunk size %d", len(got), size)
			}
			set := slices.Concat([]byte("\x02\x00\x0d@setDataFrame"), meta)
			for _, i := range []int{0, 4} {
				if b := got[i].Bytes(); !bytes.Equal(b, set) {
					t.Errorf("metadata %q", b)
				}
			}
			if b := got[1].Bytes(); !bytes.Equal(b, other) {
				t.Errorf("other data %q", b)
			}
			if b := got[2].Bytes(); !bytes.Equal(b, large) || got[2].Timestamp != at || got[2].StreamID != id {
				t.Errorf("keyframe of %d bytes at %d on stream %d", len(b), got[2].Timestamp, got[2].StreamID)
			}
			if got, size = late.messages(t); size != chunk.SegmentSize || len(got) != 1 || !bytes.Equal(got[0].Bytes(), set) {
				t.Errorf("late: %d messages, chunk size %d", len(got), size)
			}
			if got, size = player.messages(t); size != chunk.MaxChunkSize || !bytes.Equal(got[0].Bytes(), meta) {
				t.Errorf("player: metadata %q, chunk size %d", got[0].Bytes(), size)
			}
			if s := hub.Streams(); s[0].Players[""] != 1 {
				t.Errorf("relays count as players: %v", s[0].Players)
			}
		})
	}
}

// watcher writes down what it is told.
type watcher struct{ told []string }

func (w *watcher) Published(live.Key, live.Source) { w.told = append(w.told, "published") }
func (w *watcher) Unpublished(live.Key)            { w.told = append(w.told, "unpublished") }
func (w *watcher) Wanted(_ live.Key, s live.Source) {
	w.told = append(w.told, "wanted by "+s.Remote)
}
func (w *watcher) Unwanted(live.Key) { w.told = append(w.told, "unwanted") }

func TestWatcher(t *testing.T) {
	hub, key, w := live.NewHub(), live.Key{App: "live", Name: "a"}, new(watcher)
	opts := live.Options{Watch: w}
	play := func(remote string, relay bool) *live.Subscription {
		sub, err := hub.Subscribe(key, opts, live.Request{
			Player: nobody{}, Writer: send.NewWriter(new(sink), send.Limits{}), StreamID: 1, Wait: true, Relay: relay, Source: live.Source{Remote: remote},
		})
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	publish := func() *live.Publication {
		pub, err := hub.Publish(key, opts, live.Offer{Publisher: nobody{}, Takeover: true})
		if err != nil {
			t.Fatal(err)
		}
		return pub
	}
	step := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(w.told, want) {
			t.Errorf("%s: %q, want %q", what, w.told, want)
		}
		w.told = nil
	}
	relay := play("relay", true)
	step("a relay")
	one := play("one", false)
	step("the first player", "wanted by one")
	two := play("two", false)
	step("the second player")
	pub := publish()
	step("a publisher", "published")
	taker := publish()
	step("a takeover", "published")
	pub.Close()
	step("the end of the one that was replaced")
	taker.Close()
	step("the end of the publisher", "unpublished", "wanted by one")
	one.Close()
	one.Close()
	step("the first player leaves")
	two.Start()
	two.Close()
	step("the last player leaves", "unwanted")
	pub = publish()
	three := play("three", false)
	three.Close()
	step("a player of a published stream", "published", "unwanted")
	pub.Close()
	step("nobody is left", "unpublished")
	relay.Close()
	if _, err := hub.Subscribe(key, opts, live.Request{Player: nobody{}}); err == nil {
		t.Error("played nothing")
	}
	step("a player who does not wait")
}

// After an interruption players see time go on, from the next keyframe.
func TestInterrupt(t *testing.T) {
	hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
	opts := live.Options{GOPCache: 1 << 20, Dropped: new(atomic.Uint64)}
	pub, err := hub.Publish(key, opts, live.Offer{Publisher: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	out := new(tape)
	sub, err := hub.Subscribe(key, opts, live.Request{Player: nobody{}, Writer: send.NewWriter(out, send.Limits{}), StreamID: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	sub.Start()
	video := func(at chunk.Timestamp, payload string) {
		t.Helper()
		if err := pub.WriteMessage(chunk.NewMessage(message.TypeVideo, 1, at, []byte(payload))); err != nil {
			t.Fatal(err)
		}
	}
	video(90_000, "\x17\x01\x00\x00\x00one")
	pub.Interrupt()
	video(10, "\x27\x01\x00\x00\x00nobody can decode this")
	video(50, "\x17\x01\x00\x00\x00two")
	got, _ := out.messages(t)
	if len(got) != 2 || string(got[1].Bytes()) != "\x17\x01\x00\x00\x00two" {
		t.Fatalf("%d messages", len(got))
	}
	if at := got[1].Timestamp; at <= 90_000 || at > 95_000 {
		t.Errorf("time goes on at %d", at)
	}
}
