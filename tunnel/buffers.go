package tunnel

import "sync"

// headroom is the space kept free in front of the payload of an outgoing
// block. The answer head and the poll byte are written there, so that an
// answer is one contiguous run of bytes and goes out with one write.
const headroom = 192

// inputSize is the size of the buffers that connections read requests into. A
// head (8 KiB at most) and the body of an ordinary send fit.
const inputSize = 16 << 10

// The sizes that blocks come in. Larger ones are made to measure and left to
// the garbage collector.
var blockSizes = [...]int{512, 4 << 10, 16 << 10, 64<<10 + headroom}

const maxBlock = 64<<10 + headroom

var blockPools [len(blockSizes)]sync.Pool

var inputPool = sync.Pool{New: func() any { b := make([]byte, inputSize); return &b }}

// block is a piece of a byte stream: b[r:w] is what it holds.
type block struct {
	b    []byte
	r, w int
	next *block
}

func newBlock(size int) *block {
	for i, s := range blockSizes {
		if size > s {
			continue
		}
		if k, ok := blockPools[i].Get().(*block); ok {
			return k
		}
		return &block{b: make([]byte, s)}
	}
	return &block{b: make([]byte, size)}
}

// free gives the block back. Nobody may hold bytes of it afterwards.
func (k *block) free() {
	k.r, k.w, k.next = 0, 0, nil
	for i, s := range blockSizes {
		if len(k.b) == s {
			blockPools[i].Put(k)
			return
		}
	}
}

func (k *block) len() int { return k.w - k.r }

// chain is a first-in first-out run of bytes in blocks: what was received and
// not read yet. The zero value is empty.
type chain struct {
	head, tail *block
	n          int
}

func (c *chain) append(k *block) {
	if c.tail == nil {
		c.head = k
	} else {
		c.tail.next = k
	}
	c.tail = k
	c.n += k.len()
}

// take moves everything from d to the end of c.
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
	*d = chain{}
}

// space returns room for at least one byte at the end of the chain. The room
// grows with what the chain already holds and never with what a peer merely
// announced; hint, the number of bytes still expected, only bounds it.
func (c *chain) space(hint int) []byte {
	if k := c.tail; k != nil && k.w < len(k.b) {
		return k.b[k.w:]
	}
	size := min(max(4<<10, 2*c.n), max(hint, 1), maxBlock)
	c.append(newBlock(size))
	return c.tail.b
}

// grown notes that n bytes were put into what space returned.
func (c *chain) grown(n int) {
	c.tail.w += n
	c.n += n
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
	c.n -= n
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
	c.n -= k.len()
	return k
}

func (c *chain) drop() {
	for k := c.head; k != nil; {
		next := k.next
		k.free()
		k = next
	}
	*c = chain{}
}

// outbox holds bytes on their way out as ready-made message bodies: a block is
// the payload of one answer (or of one send), with headroom in front. The zero
// value is empty and has no room; limit and cut are set at construction.
type outbox struct {
	head, tail *block
	n          int
	limit      int // bytes held at most
	cut        int // payload of one body at most
}

// fits says how many bytes of a group of the given size are taken now. A group
// is taken whole or not at all unless it is larger than the whole box.
func (o *outbox) fits(total int) int {
	switch room := o.limit - o.n; {
	case total <= room:
		return total
	case total <= o.limit || room <= 0:
		return 0
	default:
		return room
	}
}

// add takes the first total bytes of a group. They stay together in one block
// if they fit into one body.
func (o *outbox) add(bufs [][]byte, total int) {
	whole := total <= o.cut
	if !whole || o.tail == nil || o.tail.len()+total > o.cut {
		o.start(min(total, o.cut))
	} else {
		o.widen(total)
	}
	for _, b := range bufs {
		b = b[:min(len(b), total)]
		total -= len(b)
		for len(b) > 0 {
			k := o.tail
			room := min(len(k.b)-k.w, o.cut-k.len())
			if room == 0 {
				o.start(min(len(b)+total, o.cut))
				continue
			}
			n := copy(k.b[k.w:k.w+room], b)
			k.w += n
			o.n += n
			b = b[n:]
		}
	}
}

func (o *outbox) start(payload int) {
	k := newBlock(headroom + payload)
	k.r, k.w = headroom, headroom
	if o.tail == nil {
		o.head = k
	} else {
		o.tail.next = k
	}
	o.tail = k
}

// widen makes sure that the last block takes extra more bytes.
func (o *outbox) widen(extra int) {
	k := o.tail
	if k.w+extra <= len(k.b) {
		return
	}
	big := newBlock(max(k.w+extra, min(2*len(k.b), headroom+o.cut)))
	big.r = k.r
	big.w = k.r + copy(big.b[big.r:], k.b[k.r:k.w])
	if o.head == k {
		o.head = big
	} else {
		before := o.head
		for before.next != k {
			before = before.next
		}
		before.next = big
	}
	o.tail = big
	k.free()
}

// pop takes the first body out, nil if there is none. The caller owns it.
func (o *outbox) pop() *block {
	k := o.head
	if k == nil {
		return nil
	}
	o.head = k.next
	if o.head == nil {
		o.tail = nil
	}
	k.next = nil
	o.n -= k.len()
	return k
}

func (o *outbox) drop() {
	for k := o.pop(); k != nil; k = o.pop() {
		k.free()
	}
}
