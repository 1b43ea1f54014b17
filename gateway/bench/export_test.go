package bench

import (
	"context"
	"net"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// BadFloor is the floor `write` that relays what tamper returns instead of a
// stream's n-th group of chunks.
func BadFloor(ctx context.Context, ln net.Listener, tamper func(n uint64, b []byte) [][]byte) error {
	hub := newFloorHub(FloorWrite)
	hub.tamper = tamper
	return serveFloor(ctx, FloorWrite, ln, hub)
}

// NetFloor is Floor with a goroutine per connection, as where there is no epoll.
func NetFloor(ctx context.Context, kind string, ln net.Listener) error {
	return (&netFloor{hub: newFloorHub(kind)}).serve(ctx, ln)
}

// DropReport is a NetStream.Play.InsufficientBW as a chunk.
func DropReport() []byte {
	return appendMessage(nil, 1, message.Status{Level: message.LevelWarning, Code: message.StatusPlayInsufficientBW}.OnStatus())
}

// FrameMaker makes frames as a publisher does.
type FrameMaker struct{ w frameWriter }

// NewFrameMaker makes video or audio frames.
func NewFrameMaker(video bool) *FrameMaker { return &FrameMaker{frameWriter{video: video}} }

// Next returns the next frame's payload.
func (m *FrameMaker) Next(size int, key bool, now time.Duration) []byte {
	msg := m.w.next(size, key, 0, 1, now)
	defer msg.Release()
	return msg.AppendPayload(nil)
}

// ParseFrame reads a payload.
func ParseFrame(typeID uint8, b []byte) (number uint64, made time.Duration, intact, ok bool) {
	f, ok := parseFrame(typeID, b)
	return f.number, f.made, f.intact, ok
}

// Headers are the sequence headers.
func Headers() (video, audio []byte) { return videoHeader, audioHeader }

// FeedFloor feeds a stream of chunks that a client sends after its handshake to
// a floor, cut as given, and returns the groups that are relayed and the error.
func FeedFloor(pieces ...[]byte) (units [][]byte, err error) {
	hub := newFloorHub(FloorWrite)
	hub.tamper = func(_ uint64, b []byte) [][]byte {
		units = append(units, append([]byte(nil), b...))
		return nil
	}
	s := newFloorSession(hub, discard{})
	hub.join("s", discard{})
	s.handshake, s.publishes, s.chunkSize = 2, "s", chunk.SegmentSize
	for _, p := range pieces {
		if err := s.feed(p); err != nil {
			return units, err
		}
	}
	return units, nil
}

type discard struct{}

func (discard) send([]byte) {}

// SetLatency gives a result a distribution to plot.
func (r *Result) SetLatency(h *Histogram) { r.latency = h }

// ProcCPU is the processor time of one process, without its descendants.
func ProcCPU(p Proc, pid int) (time.Duration, error) {
	s, err := p.stat(pid)
	return s.cpu, err
}

// Goal judges a figure with a limit as a line of the suite.
func Goal(figure string, least bool, limit float64, result, base *Result) Line {
	g := goal{what: "what", figure: figure, least: least, limit: limit}
	if base != nil {
		g.base = &load{}
	}
	return g.line(result, base)
}
