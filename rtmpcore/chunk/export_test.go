package chunk

// Lent reports whether the Reader holds a buffer.
func (r *Reader) Lent() bool { return r.in.buf != nil }
