package live_test

import (
	"errors"
	"net"
	"testing"

	"go.uber.org/goleak"

	"culvert/gateway/live"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a conn that takes everything and keeps nothing.
type sink struct{ net.Conn }

func (*sink) TryWritev([][]byte) (int, error) { return 0, nil }
func (*sink) WaitWritable() error             { return nil }

func TestErrors(t *testing.T) {
	hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
	if _, err := hub.Subscribe(key, live.Options{}, live.Request{Player: nobody{}}); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("play of nothing: %v", err)
	}
	first, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}}); !errors.Is(err, live.ErrBusy) {
		t.Errorf("second publisher: %v", err)
	}
	second, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}, Takeover: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.WriteMessage(chunk.NewMessage(message.TypeAudio, 1, 0, []byte{0xAF, 1})); !errors.Is(err, live.ErrReplaced) {
		t.Errorf("the replaced publisher may still write: %v", err)
	}
	first.Close() // must not end the second
	if s := hub.Streams(); len(s) != 1 || !s[0].Live {
		t.Errorf("streams %+v", s)
	}
	second.Close()
	second.Close()
	if s := hub.Streams(); len(s) != 0 {
		t.Errorf("streams %+v after the end", s)
	}
}

// TestInventedTracksAreBounded publishes a sequence header for each of 256
// tracks.
func TestInventedTracksAreBounded(t *testing.T) {
	hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
	pub, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	for track := range 256 {
		payload := append([]byte("\x96\x00av01"), byte(track), 'x')
		if err := pub.WriteMessage(chunk.NewMessage(message.TypeVideo, 1, 0, payload)); err != nil {
			t.Fatal(err)
		}
	}
	if n := late(t, hub, key); n != 64 {
		t.Errorf("a late player gets %d sequence headers, want at most 64", n)
	}
}

func TestLongSequenceHeaderIsNotKept(t *testing.T) {
	hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
	pub, err := hub.Publish(key, live.Options{}, live.Offer{Publisher: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	payload := append([]byte("\x90av01"), make([]byte, 70_000)...)
	if err := pub.WriteMessage(chunk.NewMessage(message.TypeVideo, 1, 0, payload)); err != nil {
		t.Fatal(err)
	}
	if n := late(t, hub, key); n != 0 {
		t.Errorf("a late player gets %d messages", n)
	}
}

// counter counts the messages of one chunk that it takes.
type counter struct {
	net.Conn
	messages int
}

func (c *counter) TryWritev(bufs [][]byte) (n int, err error) {
	c.messages += len(bufs)
	return 0, nil
}

func (*counter) WaitWritable() error { return nil }
