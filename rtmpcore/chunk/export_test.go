package chunk

// Lent reports whether the Reader holds a buffer.
func (r *Reader) Lent() bool { return r.in.buf != nil }

// Held is the memory of the messages that are not complete, and what the Reader
// counts for them.
func (r *Reader) Held() (memory, counted int) {
	for _, s := range r.streams {
		if s.msg != nil {
			memory += s.msg.Footprint()
		}
	}
	return memory, r.partial
}
