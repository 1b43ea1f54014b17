package send_test

import (
	"testing"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// sink is a conn that takes everything and keeps nothing.
type sink struct{ socket }

func (*sink) TryWritev([][]byte) (int, error) { return 0, nil }

// BenchmarkFanout sends 1 Mbit/s, 30 frames and 43 audio messages a second, to
// 100 players whose sockets cost nothing: what is left is the work of this
// package. One operation is a video frame with the audio that rides along.
func BenchmarkFanout(b *testing.B) {
	for name, gather := range map[string]send.Gather{
		"video":   {},
		"message": {Mode: send.GatherMessage},
	} {
		b.Run(name, func(b *testing.B) {
			s, vp, ap := newStream(gather), fill(3500, 1), fill(180, 2)
			s.Lock()
			for range 100 {
				s.Add(send.NewSubscriber(send.NewWriter(new(sink), send.Limits{}), send.SubscriberConfig{StreamID: 1}), nil, true)
			}
			s.Unlock()
			b.ReportAllocs()
			at := chunk.Timestamp(0)
			for b.Loop() {
				at += 33
				s.write1(frame(chunk.ClassAudio, at, ap))
				s.write1(frame(chunk.ClassInterframe, at, vp))
			}
		})
	}
}

// write1 is write without the list.
func (s *stream) write1(m *chunk.Message) {
	s.Lock()
	s.Write(m)
	s.Unlock()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop what they are given")
	}
	s, vp, ap := newStream(send.Gather{}), fill(3500, 1), fill(180, 2)
	for range 10 {
		sub := send.NewSubscriber(send.NewWriter(new(sink), send.Limits{}), send.SubscriberConfig{StreamID: 1})
		s.Lock()
		s.Add(sub, nil, true)
		s.Unlock()
	}
	n := testing.AllocsPerRun(1000, func() {
		s.write1(frame(chunk.ClassAudio, 1, ap))
		s.write1(frame(chunk.ClassInterframe, 1, vp))
	})
	if n > 0 {
		t.Errorf("%v allocations per frame", n)
	}
}
