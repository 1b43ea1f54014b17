package send

import (
	"sync"
	"time"

	"culvert/rtmpcore/chunk"
)

// sharedStreamID is the message stream ID in the shared bytes: the one that a
// client's first createStream gets.
const sharedStreamID = 1

// Fanout writes one stream's messages to all its subscribers. Its methods are
// to be called with the lock that was given to NewFanout held.
type Fanout struct {
	gather Gather
	mu     sync.Locker // the owner's

	// guarded by mu
	subs      []*Subscriber
	pending   []*chunk.Message
	iov       [][]byte // the pending messages' bytes
	bytes     int
	split     bool // a pending message has continuation chunks
	data      bool // a pending message is data
	chunkSize int
	timer     *time.Timer
	armed     bool
}

// NewFanout returns a Fanout whose state is guarded by mu.
func NewFanout(gather Gather, mu sync.Locker) *Fanout {
	return &Fanout{gather: gather.withDefaults(), mu: mu, chunkSize: chunk.SegmentSize}
}

// Write takes over a reference to a message and brings it to all subscribers,
// now or with the messages that are gathered. The message must be fresh: Write
// sets its stream ID and encodes it.
func (f *Fanout) Write(m *chunk.Message) {
	f.Encode(m)
	if len(f.subs) == 0 {
		m.Release()
		return
	}
	f.pending = append(f.pending, m)
	f.iov = m.AppendWire(f.iov)
	f.bytes += m.WireLen()
	f.split = f.split || m.Len() > chunk.SegmentSize
	f.data = f.data || isData(m)
	if f.complete(m) {
		f.Flush()
	} else if !f.armed {
		f.arm()
	}
}

// Encode makes the message's shared bytes, raising the subscribers' chunk size
// when this message needs it. Write does it by itself; a cache that keeps a
// message for [Fanout.Add] calls it where it does not call Write.
func (f *Fanout) Encode(m *chunk.Message) {
	if f.chunkSize == chunk.SegmentSize && m.Len() > chunk.SegmentSize && m.Timestamp.NeedsExtendedTimestamp() {
		f.Flush()
		f.chunkSize = chunk.MaxChunkSize
		for _, s := range f.subs {
			s.raiseChunkSize(f.chunkSize)
		}
	}
	m.StreamID = sharedStreamID
	m.Encode(chunkStreamID(m.TypeID), f.chunkSize)
}

// complete reports whether what is pending with m as its last goes out now.
func (f *Fanout) complete(m *chunk.Message) bool {
	switch {
	case f.gather.Mode == GatherMessage, f.bytes >= gatherBytes:
		return true
	case f.gather.Mode == GatherVideo:
		return m.Class.IsVideoFrame()
	default:
		return false
	}
}

func (f *Fanout) arm() {
	f.armed = true
	if f.timer == nil {
		f.timer = time.AfterFunc(f.gather.Window, f.expire)
		return
	}
	f.timer.Reset(f.gather.Window)
}

// expire runs on the timer's goroutine.
func (f *Fanout) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.armed {
		f.Flush()
	}
}

// Flush writes what is pending.
func (f *Fanout) Flush() {
	if f.armed {
		f.armed = false
		f.timer.Stop()
	}
	if len(f.pending) == 0 {
		return
	}
	for _, s := range f.subs {
		s.write(f)
	}
	f.pending = chunk.ReleaseAll(f.pending)
	clear(f.iov)
	f.iov, f.bytes, f.split, f.data = f.iov[:0], 0, false, false
}

// Add makes s a subscriber. burst is what it gets first, encoded by
// [Fanout.Encode]; the messages stay the caller's. With startable, the stream
// can be decoded from there on; else s gets no video before the next keyframe.
func (f *Fanout) Add(s *Subscriber, burst []*chunk.Message, startable bool) {
	f.Flush()
	if f.chunkSize > chunk.SegmentSize {
		s.raiseChunkSize(f.chunkSize)
	}
	s.join(burst, startable)
	f.subs = append(f.subs, s)
	s.at = len(f.subs) - 1
}

// Remove ends a subscription; what is queued for it still goes out.
func (f *Fanout) Remove(s *Subscriber) {
	if s.at < 0 || s.at >= len(f.subs) || f.subs[s.at] != s {
		return
	}
	f.Flush()
	last := len(f.subs) - 1
	f.subs[s.at] = f.subs[last]
	f.subs[s.at].at = s.at
	f.subs[last] = nil
	f.subs = f.subs[:last]
	s.at = -1
}

// AwaitKeyframe holds video back from all subscribers until the next keyframe,
// for a publisher that begins anew.
func (f *Fanout) AwaitKeyframe() {
	for _, s := range f.subs {
		s.awaitKeyframe()
	}
}

// Len returns the number of subscribers.
func (f *Fanout) Len() int { return len(f.subs) }

// Close drops what is pending and stops the timer.
func (f *Fanout) Close() {
	if f.armed {
		f.armed = false
		f.timer.Stop()
	}
	f.pending = chunk.ReleaseAll(f.pending)
	clear(f.iov)
	f.iov, f.bytes, f.split, f.data = f.iov[:0], 0, false, false
}
