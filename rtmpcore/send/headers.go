package send

import (
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
)

// Headers keeps what a receiver must have before a stream's frames: metadata, and
// the latest sequence header and the like of each kind and track. The zero value is
// empty. It is for one goroutine at a time.
type Headers struct {
	meta *chunk.Message
	list []header
}

// header is a message that a decoder must see before frames.
type header struct {
	msg    *chunk.Message
	kind   HeaderKind
	tracks flv.TrackSet
}

// HeaderKind tells apart headers that do not replace each other.
type HeaderKind struct {
	Audio bool
	Extra bool // colour information, multichannel configuration
}

// What a publisher can make be kept by inventing tracks and long sequence headers, of
// which real ones have some hundred bytes. What is beyond is not kept.
const (
	MaxHeaders    = 64
	MaxHeaderSize = 64 << 10
)

// Metadata replaces the metadata; nil clears it. The caller keeps its reference.
func (h *Headers) Metadata(m *chunk.Message) {
	if h.meta != nil {
		h.meta.Release()
	}
	h.meta = m
	if m != nil {
		m.Retain()
	}
}

// Keep keeps a sequence header or the like in place of those of its kind whose tracks
// it covers. The caller keeps its reference.
func (h *Headers) Keep(m *chunk.Message, kind HeaderKind, tracks flv.TrackSet) {
	rest := h.list[:0]
	for _, k := range h.list {
		if k.kind == kind && tracks.Covers(k.tracks) {
			k.msg.Release()
			continue
		}
		rest = append(rest, k)
	}
	clear(h.list[len(rest):])
	h.list = rest
	if len(h.list) < MaxHeaders && m.Len() <= MaxHeaderSize {
		h.list = append(h.list, header{m.Retain(), kind, tracks})
	}
}

// Append appends all to dst, in the order in which a receiver wants them, with a
// reference each.
func (h *Headers) Append(dst []*chunk.Message) []*chunk.Message {
	if h.meta != nil {
		dst = append(dst, h.meta.Retain())
	}
	for _, extra := range []bool{false, true} {
		for _, k := range h.list {
			if k.kind.Extra == extra {
				dst = append(dst, k.msg.Retain())
			}
		}
	}
	return dst
}

// Clear forgets all.
func (h *Headers) Clear() {
	h.Metadata(nil)
	for _, k := range h.list {
		k.msg.Release()
	}
	clear(h.list)
	h.list = h.list[:0]
}
