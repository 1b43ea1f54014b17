package chunk_test

import (
	"io"
	"testing"

	"culvert/rtmpcore/chunk"
)

// loop is a reader that gives the same bytes again and again.
type loop struct {
	b   []byte
	pos int
}

func (l *loop) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := copy(p[n:], l.b[l.pos:])
		l.pos = (l.pos + k) % len(l.b)
		n += k
	}
	return n, nil
}

var _ io.Reader = (*loop)(nil)

// BenchmarkReader reads a 1 Mbit/s stream as an encoder with chunk size 4096
// sends it: 30 video frames of 3.5 KB and 43 audio frames of 180 bytes a second.
func BenchmarkReader(b *testing.B) {
	w := new(wire)
	video, audio := random(3500), random(180)
	for range 16 {
		w.fmt0(6, 0, len(video), 9, 1).data(video)
		w.fmt0(4, 0, len(audio), 8, 1).data(audio)
	}
	stream := new(loop)
	head := new(wire).setChunkSize(4096)
	stream.b = w.Bytes()
	r := chunk.NewReader(io.MultiReader(head, stream), chunk.Limits{})
	b.ReportAllocs()
	for b.Loop() {
		m, err := r.ReadMessage()
		if err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
	b.SetBytes(int64(len(video)+len(audio)) / 2)
}
