package send

// Held returns how many messages the queue keeps.
func (w *Writer) Held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.queue
	if q == nil {
		return 0
	}
	n := len(q.entries) + len(q.sent)
	if q.large != nil {
		n++
	}
	return n
}
