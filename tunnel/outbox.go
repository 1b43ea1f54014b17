package tunnel

// maxPieces is the number of blocks that one message body consists of at most.
const maxPieces = 32

// outbox holds bytes on their way out. Groups stay whole: a body is made of the
// first ones that fit it together. The zero value is empty and has no room; limit and
// cut are set at construction.
type outbox struct {
	q     []*block
	n     int
	limit int     // bytes held at most
	cut   int     // payload of one body at most
	twins *groups // where equal groups are found; may be nil
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
	o.n += total
	if o.twins != nil && total >= leastShared {
		for at := 0; at < total; at += o.cut {
			o.q = append(o.q, o.twins.block(bufs, at, min(total-at, o.cut)))
		}
		return
	}
	if t := o.tail(); t == nil || total <= o.cut && (len(t.b)-t.w < total || t.len()+total > o.cut) {
		o.q = append(o.q, newBlock(min(total, o.cut)))
	}
	for _, b := range bufs {
		b = b[:min(len(b), total)]
		total -= len(b)
		for len(b) > 0 {
			k := o.tail()
			room := min(len(k.b)-k.w, o.cut-k.len())
			if room == 0 {
				o.q = append(o.q, newBlock(min(len(b)+total, o.cut)))
				continue
			}
			n := copy(k.b[k.w:k.w+room], b)
			k.w += n
			b = b[n:]
		}
	}
}

// tail returns the last block if it may be written to.
func (o *outbox) tail() *block {
	if len(o.q) == 0 || o.q[len(o.q)-1].shared {
		return nil
	}
	return o.q[len(o.q)-1]
}

// pop appends the blocks of the first body to dst, none if the box is empty. The
// caller owns them.
func (o *outbox) pop(dst []*block) []*block {
	i, size := 0, 0
	for i < len(o.q) && i < maxPieces && (i == 0 || size+o.q[i].len() <= o.cut) {
		size += o.q[i].len()
		i++
	}
	dst = append(dst, o.q[:i]...)
	rest := copy(o.q, o.q[i:])
	clear(o.q[rest:])
	o.q = o.q[:rest]
	o.n -= size
	return dst
}

func (o *outbox) drop() {
	freeAll(o.q)
	o.q, o.n = nil, 0
}

func freeAll(blocks []*block) {
	for i, k := range blocks {
		k.free()
		blocks[i] = nil
	}
}

// sizeOf is the number of bytes in blocks.
func sizeOf(blocks []*block) (n int) {
	for _, k := range blocks {
		n += k.len()
	}
	return n
}
