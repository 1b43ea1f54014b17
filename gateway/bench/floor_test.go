package bench_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"

	"culvert/gateway/bench"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// wire returns a message's chunks one by one.
func wire(typeID, csid uint8, at chunk.Timestamp, size int) (chunks [][]byte) {
	m := chunk.NewMessage(typeID, 1, at, bytes.Repeat([]byte{1}, size))
	defer m.Release()
	m.Encode(csid, chunk.SegmentSize)
	for _, b := range m.AppendWire(nil) {
		chunks = append(chunks, slices.Clone(b))
	}
	return chunks
}

// Groups are relayed whole, wherever the bytes were cut.
func TestFloorFindsMessages(t *testing.T) {
	video := wire(message.TypeVideo, 6, 0, 3000)
	large := wire(message.TypeVideo, 6, 40, 3*chunk.SegmentSize)
	late := wire(message.TypeVideo, 6, 1<<24, chunk.SegmentSize+10) // extended timestamp
	audio := wire(message.TypeAudio, 4, 20, 180)
	ack := wire(message.TypeAcknowledgement, 2, 0, 4)
	between := slices.Concat(large[0], audio[0], large[1], large[2]) // audio goes between the chunks of a large frame

	want := [][]byte{video[0], audio[0], between, slices.Concat(late...)}
	all := slices.Concat(ack[0], video[0], audio[0], ack[0], between, slices.Concat(late...), ack[0])
	for _, step := range []int{61, 1000, 4096, 65536, len(all)} {
		got, err := bench.FeedFloor(slices.Collect(slices.Chunk(all, step))...)
		if err != nil {
			t.Fatalf("pieces of %d: %v", step, err)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("pieces of %d: %d groups, want %d", step, len(got), len(want))
		}
	}
	for i := 0; i < len(all); i += 4099 {
		if _, err := bench.FeedFloor(all[:i]); err != nil {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestFloorRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"chunk stream 64":              {0, 1},
		"chunk size 0":                 {2, 0, 0, 0, 0, 0, 4, message.TypeSetChunkSize, 0, 0, 0, 0, 0, 0, 0, 0},
		"a command that is a number":   {3, 0, 0, 0, 0, 0, 1, message.TypeCommandAMF0, 0, 0, 0, 0, 5},
		"a name longer than a command": {3, 0, 0, 0, 0, 0, 3, message.TypeCommandAMF0, 0, 0, 0, 0, 2, 0, 9},
	} {
		if _, err := bench.FeedFloor(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFloorKinds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := bench.Floor(t.Context(), "cellar", ln); err == nil {
		t.Error("an unknown kind was served")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, kind := range bench.FloorKinds {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := bench.Floor(ctx, kind, ln); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
