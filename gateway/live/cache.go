package live

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/send"
)

// cache keeps what a player needs who comes late: metadata, sequence headers and
// the messages since the last keyframe. Its owner's lock guards it.
type cache struct {
	limit int // bytes of messages since the last keyframe

	meta    *chunk.Message
	headers []header

	open  bool             // the messages since the last keyframe are complete
	gop   []*chunk.Message // they
	bytes int              // their memory
	start []*chunk.Message // metadata and headers as they were at the keyframe
	ready []*chunk.Message // copies of start at the keyframe's time, for players; nil until one comes
	at    chunk.Timestamp  // of the keyframe
}

// header is a message that a decoder must see before frames.
type header struct {
	msg    *chunk.Message
	kind   headerKind
	tracks flv.TrackSet
}

// headerKind tells apart headers that do not replace each other.
type headerKind struct {
	audio bool
	extra bool // colour information, multichannel configuration
}

// maxHeaders and maxHeader bound what a publisher can make the cache hold by
// inventing tracks and long sequence headers, of which real ones have some
// hundred bytes. What is beyond is sent, and not kept for late players.
const (
	maxHeaders = 64
	maxHeader  = 64 << 10
)

func (c *cache) clear() {
	c.closeGOP()
	if c.meta != nil {
		c.meta.Release()
		c.meta = nil
	}
	for _, h := range c.headers {
		h.msg.Release()
	}
	clear(c.headers)
	c.headers = c.headers[:0]
}

// closeGOP drops the messages since the last keyframe.
func (c *cache) closeGOP() {
	c.open, c.bytes = false, 0
	c.gop = chunk.ReleaseAll(c.gop)
	c.start = chunk.ReleaseAll(c.start)
	c.ready = chunk.ReleaseAll(c.ready)
}

// metadata replaces the metadata; nil clears it.
func (c *cache) metadata(m *chunk.Message) {
	if c.meta != nil {
		c.meta.Release()
	}
	c.meta = m
	if m != nil {
		m.Retain()
	}
}

// header keeps a sequence header or the like. It replaces those of its kind
// whose tracks it covers.
func (c *cache) header(m *chunk.Message, kind headerKind, tracks flv.TrackSet) {
	kept := c.headers[:0]
	for _, h := range c.headers {
		if h.kind == kind && tracks.Covers(h.tracks) {
			h.msg.Release()
			continue
		}
		kept = append(kept, h)
	}
	clear(c.headers[len(kept):])
	c.headers = kept
	if len(c.headers) < maxHeaders && m.Len() <= maxHeader {
		c.headers = append(c.headers, header{m.Retain(), kind, tracks})
	}
}

// keyframe begins a new GOP with the message that is appended next.
func (c *cache) keyframe(at chunk.Timestamp) {
	c.closeGOP()
	if c.limit <= 0 {
		return
	}
	c.open, c.at = true, at
	c.start = c.current(c.start)
}

// current appends metadata and headers, with a reference each.
func (c *cache) current(dst []*chunk.Message) []*chunk.Message {
	if c.meta != nil {
		dst = append(dst, c.meta.Retain())
	}
	for _, extra := range []bool{false, true} {
		for _, h := range c.headers {
			if h.kind.extra == extra {
				dst = append(dst, h.msg.Retain())
			}
		}
	}
	return dst
}

// append keeps a message that was sent.
func (c *cache) append(m *chunk.Message) {
	if !c.open {
		return
	}
	c.bytes += m.Footprint()
	if c.bytes > c.limit {
		c.closeGOP()
		return
	}
	c.gop = append(c.gop, m.Retain())
}

// burst returns what a player gets first: metadata and headers, at the time of
// what follows, and the GOP. The messages stay the cache's.
func (c *cache) burst(fanout *send.Fanout, now chunk.Timestamp) []*chunk.Message {
	if c.open {
		if len(c.ready) == 0 {
			c.ready = restamp(c.ready, c.start, c.at, fanout)
		}
		return append(append([]*chunk.Message(nil), c.ready...), c.gop...)
	}
	current := c.current(nil)
	c.ready = restamp(chunk.ReleaseAll(c.ready), current, now, fanout)
	chunk.ReleaseAll(current)
	return c.ready
}

// restamp appends copies of list at another time, metadata at 0: ffmpeg takes
// metadata at any other time for a subtitle.
func restamp(dst, list []*chunk.Message, at chunk.Timestamp, fanout *send.Fanout) []*chunk.Message {
	for _, m := range list {
		c := m.Clone(m.StreamID)
		c.Timestamp = at
		if m.Class == chunk.ClassOrdered {
			c.Timestamp = 0
		}
		fanout.Encode(c)
		dst = append(dst, c)
	}
	return dst
}
