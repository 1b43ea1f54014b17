package tunnel

import (
	"sync"
	"sync/atomic"
)

// inputSize is the size of the buffers that connections read requests into. A
// head (8 KiB at most) and the body of an ordinary send fit.
const inputSize = 16 << 10

// The sizes that blocks come in, size classes of Go's allocator. Larger blocks are
// made to measure and left to the garbage collector.
var blockSizes = [...]int{512, 1024, 2048, 3072, 4096, 5376, 6784, 8192, 10240, 13568, 16384, 20480, 27264, 32768, 49152, maxBlock}

const maxBlock = 64 << 10

// leastRoom is the room at the end of a block that is worth a read of its own.
const leastRoom = 1 << 10

var blockPools [len(blockSizes)]sync.Pool

var inputPool = sync.Pool{New: func() any { b := make([]byte, inputSize); return &b }}

// block is a piece of a byte stream: b[r:w] is what it holds.
type block struct {
	b      []byte
	r, w   int
	next   *block       // in a chain
	refs   atomic.Int32 // who holds it
	shared bool         // others may hold it, now or later: it is not written to
	class  int          // its size's place in blockSizes, -1: made to measure
}

func newBlock(size int) *block {
	lend(1)
	for i, s := range blockSizes {
		if size > s {
			continue
		}
		k, ok := blockPools[i].Get().(*block)
		if !ok {
			k = &block{b: make([]byte, s), class: i}
		}
		k.refs.Store(1)
		return k
	}
	k := &block{b: make([]byte, size), class: -1}
	k.refs.Store(1)
	return k
}

// free gives a reference to the block up, and with the last one the block.
func (k *block) free() {
	if k.refs.Add(-1) > 0 {
		return
	}
	lend(-1)
	k.r, k.w, k.next, k.shared = 0, 0, nil, false
	if k.class >= 0 {
		blockPools[k.class].Put(k)
	}
}

func (k *block) len() int { return k.w - k.r }

func (k *block) bytes() []byte { return k.b[k.r:k.w] }

// chain is a first-in first-out run of bytes in blocks: what was received and
// not read yet. The zero value is empty.
type chain struct {
	head, tail *block
	n          int
	meter      *meter // counts the bytes too; may be nil
}

// meter counts the bytes of many chains.
type meter struct {
	n     atomic.Int64
	limit int64
}

// full reports that no more bytes are to be put into the chains.
func (m *meter) full() bool { return m.n.Load() >= m.limit }

func (c *chain) count(n int) {
	c.n += n
	if c.meter != nil && n != 0 {
		c.meter.n.Add(int64(n))
	}
}

func (c *chain) append(k *block) {
	if c.tail == nil {
		c.head = k
	} else {
		c.tail.next = k
	}
	c.tail = k
	c.count(k.len())
}

// take moves everything from d to the end of c, which has the same meter.
func (c *chain) take(d *chain) {
	if d.head == nil {
		return
	}
	if c.tail == nil {
		c.head = d.head
	} else {
		c.tail.next = d.head
	}
	c.tail = d.tail
	c.n += d.n
	*d = chain{meter: d.meter}
}

// space returns room for at least one byte at the end of the chain. The room
// grows with what the chain already holds and never with what a peer merely
// announced; hint, the number of bytes still expected, only bounds it.
func (c *chain) space(hint int) []byte {
	if k := c.tail; k != nil && len(k.b)-k.w >= min(leastRoom, max(hint, 1)) {
		return k.b[k.w:]
	}
	size := min(max(4<<10, 2*c.n), max(hint, 1), maxBlock)
	c.append(newBlock(size))
	return c.tail.b
}

// grown notes that n bytes were put into what space returned.
func (c *chain) grown(n int) {
	c.tail.w += n
	c.count(n)
}

// write copies b to the end of the chain.
func (c *chain) write(b []byte) {
	for len(b) > 0 {
		n := copy(c.space(len(b)), b)
		c.grown(n)
		b = b[n:]
	}
}

// read moves bytes from the front of the chain into b.
func (c *chain) read(b []byte) (n int) {
	for n < len(b) && c.n > 0 {
		m := copy(b[n:], c.head.b[c.head.r:c.head.w])
		n += m
		c.skip(m)
	}
	return n
}

// skip drops n bytes of the first block.
func (c *chain) skip(n int) {
	c.head.r += n
	c.count(-n)
	if c.head.r == c.head.w {
		c.shift().free()
	}
}

// shift takes the first block out. The caller owns it.
func (c *chain) shift() *block {
	k := c.head
	c.head = k.next
	if c.head == nil {
		c.tail = nil
	}
	k.next = nil
	c.count(-k.len())
	return k
}

func (c *chain) drop() {
	for k := c.head; k != nil; {
		next := k.next
		k.free()
		k = next
	}
	c.count(-c.n)
	c.head, c.tail = nil, nil
}
