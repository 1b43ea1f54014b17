package live_test

import (
	"slices"
	"testing"

	"culvert/gateway/live"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// late returns the messages that a player who comes now gets first.
func late(t *testing.T, hub *live.Hub, key live.Key) int {
	t.Helper()
	count := new(counter)
	sub, err := hub.Subscribe(key, live.Options{}, live.Request{Player: nobody{}, Writer: send.NewWriter(count, send.Limits{}), StreamID: 1, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	sub.Start()
	return count.messages
}

// TestGOPCacheLimit publishes GOPs that just fit into the cache, and such as are a byte
// too large.
func TestGOPCacheLimit(t *testing.T) {
	frames := [][]byte{append([]byte{0x17, 1, 0, 0, 0}, make([]byte, 1000)...), append([]byte{0x27, 1, 0, 0, 0}, make([]byte, 500)...), append([]byte{0x27, 1, 0, 0, 0}, make([]byte, 700)...)}
	size := 0
	for _, f := range frames {
		m := chunk.NewMessage(message.TypeVideo, 1, 0, f)
		size += m.Footprint()
		m.Release()
	}
	for _, tt := range []struct{ limit, want int }{{size, len(frames)}, {size - 1, 0}, {0, 0}} {
		hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
		pub, err := hub.Publish(key, live.Options{GOPCache: tt.limit}, live.Offer{Publisher: nobody{}})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			for i, f := range frames {
				if err := pub.WriteMessage(chunk.NewMessage(message.TypeVideo, 1, chunk.Timestamp(100*round+i), slices.Clone(f))); err != nil {
					t.Fatal(err)
				}
			}
			if got := late(t, hub, key); got != tt.want {
				t.Errorf("GOPs of %d bytes, a cache of %d, round %d: a late player gets %d messages, want %d", size, tt.limit, round, got, tt.want)
			}
		}
		pub.Close()
	}
}
