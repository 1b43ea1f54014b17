package live_test

import (
	"io"
	"sync/atomic"
	"testing"

	"culvert/gateway/live"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// encoder is the endless byte stream of an encoder: 30 frames of 3.5 KB and 43
// audio messages of 180 bytes a second, a keyframe every second, in chunks of
// 4096 bytes.
type encoder struct {
	round []byte
	pos   int
}

func newEncoder() io.Reader {
	var e encoder
	frame := func(typeID, csid uint8, size int, head ...byte) {
		e.round = append(e.round, csid, 0, 0, 1, byte(size>>16), byte(size>>8), byte(size), typeID, 1, 0, 0, 0)
		e.round = append(append(e.round, head...), make([]byte, size-len(head))...)
	}
	for i := range 30 {
		head := byte(0x27)
		if i == 0 {
			head = 0x17
		}
		frame(9, 6, 3500, head, 1)
		frame(8, 4, 180, 0xAF, 1)
		if i%2 == 0 {
			frame(8, 4, 180, 0xAF, 1)
		}
	}
	return io.MultiReader(
		chunkSize4096(),
		&e,
	)
}

func chunkSize4096() io.Reader {
	return &once{b: []byte{2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 16, 0}}
}

type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.b)
	o.b = o.b[n:]
	return n, nil
}

func (e *encoder) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k := copy(p[n:], e.round[e.pos:])
		e.pos = (e.pos + k) % len(e.round)
		n += k
	}
	return n, nil
}

type nobody struct{}

func (nobody) Replaced()    {}
func (nobody) Published()   {}
func (nobody) Unpublished() {}

// publish returns a function that brings one message from the encoder's bytes to
// the players, and to as many servers that the stream is pushed to.
func publish(tb testing.TB, players, pushes int) func() {
	tb.Helper()
	hub, key := live.NewHub(), live.Key{App: "live", Name: "a"}
	opts := live.Options{GOPCache: 16 << 20, Dropped: new(atomic.Uint64)}
	pub, err := hub.Publish(key, opts, live.Offer{Publisher: nobody{}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pub.Close)
	for i := range players + pushes {
		sub, err := hub.Subscribe(key, opts, live.Request{
			Player: nobody{}, Writer: send.NewWriter(new(sink), send.Limits{}), StreamID: 1, Relay: i >= players,
		})
		if err != nil {
			tb.Fatal(err)
		}
		sub.Start()
		tb.Cleanup(sub.Close)
	}
	r := chunk.NewReader(newEncoder(), chunk.Limits{})
	tb.Cleanup(r.Close)
	return func() {
		m, err := r.ReadMessage()
		if err == nil {
			err = pub.WriteMessage(m)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkMessage is the whole way of a message through the gateway but for the
// system calls: from an encoder's bytes through the GOP cache to the players.
func BenchmarkMessage(b *testing.B) {
	for name, to := range map[string][2]int{"ingest": {}, "1 player": {1, 0}, "1 push": {0, 1}, "100 players": {100, 0}, "100 players, 3 pushes": {100, 3}} {
		b.Run(name, func(b *testing.B) {
			step := publish(b, to[0], to[1])
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop what they are given")
	}
	for _, to := range [][2]int{{0, 0}, {10, 0}, {10, 3}} {
		step := publish(t, to[0], to[1])
		for range 1000 {
			step()
		}
		if n := testing.AllocsPerRun(5000, step); n > 0 {
			t.Errorf("%d players, %d pushes: %v allocations per message", to[0], to[1], n)
		}
	}
}
