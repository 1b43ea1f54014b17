package live

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// cache keeps what a player needs who comes late: metadata, sequence headers and
// the messages since the last keyframe. Its owner's lock guards it.
type cache struct {
	limit int // bytes of messages since the last keyframe

	headers send.Headers

	open  bool             // the messages since the last keyframe are complete
	gop   []*chunk.Message // they
	bytes int              // their memory
	start []*chunk.Message // metadata and headers as they were at the keyframe
	ready []*chunk.Message // copies of start at the keyframe's time, for players; nil until one comes
	at    chunk.Timestamp  // of the keyframe
}

func (c *cache) clear() {
	c.closeGOP()
	c.headers.Clear()
}

// closeGOP drops the messages since the last keyframe.
func (c *cache) closeGOP() {
	c.open, c.bytes = false, 0
	c.gop = chunk.ReleaseAll(c.gop)
	c.start = chunk.ReleaseAll(c.start)
	c.ready = chunk.ReleaseAll(c.ready)
}

// keyframe begins a new GOP with the message that is appended next.
func (c *cache) keyframe(at chunk.Timestamp) {
	c.closeGOP()
	if c.limit <= 0 {
		return
	}
	c.open, c.at = true, at
	c.start = c.headers.Append(c.start)
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
	current := c.headers.Append(nil)
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
