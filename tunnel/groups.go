package tunnel

import (
	"bytes"
	"sync"
)

// leastShared is the size from which a group is worth looking for.
const leastShared = 1024

// groups finds groups that were written a moment ago, so that the players of a stream,
// who are written the same bytes one after the other, hold them in one block: what a
// session keeps, for its next answer and for repetitions of the last ones, would be
// most of what a player costs. Groups are compared by their bytes, which is as fast as
// copying them.
type groups [16]struct {
	mu  sync.Mutex
	blk *block // the last group; holds a reference
}

// block returns a block with total bytes of a group, from the byte at on, and a
// reference to it.
func (g *groups) block(bufs [][]byte, at, total int) *block {
	for at >= len(bufs[0]) {
		at -= len(bufs[0])
		bufs = bufs[1:]
	}
	first, bufs := bufs[0][at:], bufs[1:]
	slot := &g[place(first, total)%uint32(len(g))]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if k := slot.blk; k != nil && k.len() == total && k.equal(first, bufs) {
		k.refs.Add(1)
		return k
	}
	k := newBlock(total)
	k.w = copy(k.b[:total], first)
	for _, b := range bufs {
		k.w += copy(k.b[k.w:total], b)
	}
	k.shared = true
	k.refs.Add(1)
	if slot.blk != nil {
		slot.blk.free()
	}
	slot.blk = k
	return k
}

// place spreads groups by their length and their first bytes, in which there are
// timestamps.
func place(first []byte, total int) uint32 {
	h := uint32(total)
	for _, c := range first[:min(len(first), 16)] {
		h = (h ^ uint32(c)) * 16777619
	}
	return h ^ h>>16
}

// equal reports whether the block holds what first and bufs begin with.
func (k *block) equal(first []byte, bufs [][]byte) bool {
	rest := k.bytes()
	first = first[:min(len(first), len(rest))]
	if !bytes.Equal(first, rest[:len(first)]) {
		return false
	}
	rest = rest[len(first):]
	for _, b := range bufs {
		b = b[:min(len(b), len(rest))]
		if !bytes.Equal(b, rest[:len(b)]) {
			return false
		}
		rest = rest[len(b):]
	}
	return true
}

// drop forgets all groups.
func (g *groups) drop() {
	for i := range g {
		g[i].mu.Lock()
		if g[i].blk != nil {
			g[i].blk.free()
			g[i].blk = nil
		}
		g[i].mu.Unlock()
	}
}
