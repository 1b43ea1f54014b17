package send

import (
	"slices"
	"time"

	"culvert/rtmpcore/chunk"
)

// queue holds what a draining connection has not taken yet. The batch is
// committed: its slices go out in their order. Everything behind it may still
// be dropped or overtaken.
type queue struct {
	entries []entry
	bytes   int // on the wire: entries, large and batch
	answers int // those of entries that are neither audio nor video
	allow   int // bytes over the limit that a joining player's burst may use

	batch [][]byte    // what goes out next
	sent  []committed // whose bytes are in the batch
	gone  int         // slices that have left the batch

	large *chunk.Message // a message of several chunks that is being sent
	next  int            // its next chunk
}

// entry is a queued message, with the subscription it belongs to, if any.
type entry struct {
	msg *chunk.Message
	sub *Subscriber
	at  time.Time
}

// committed is a message that is released when its bytes are written. A batch that is
// topped up again and again may never be empty.
type committed struct {
	msg *chunk.Message
	end int // slices up to its end, those that have left counted
}

// A batch ends after this much, so that audio need not wait for long behind the
// chunks of a large frame.
const (
	batchBytes  = 2 * chunk.SegmentSize
	batchSlices = 64
)

func (q *queue) push(m *chunk.Message, sub *Subscriber, at time.Time) {
	q.entries = append(q.entries, entry{m.Retain(), sub, at})
	q.bytes += m.WireLen()
	if isAnswer(m) {
		q.answers += m.WireLen()
	}
}

// pushRest queues a message of which the first n bytes were written.
func (q *queue) pushRest(m *chunk.Message, n int) {
	q.bytes += m.WireLen() - n
	m.Retain()
	for i := range m.Chunks() {
		c := m.Chunk(i)
		if n >= len(c) {
			n -= len(c)
			continue
		}
		if n == 0 && m.Interruptible() {
			q.large, q.next = m, i
			return
		}
		q.batch = append(q.batch, c[n:])
		n = 0
	}
	q.commitEnd(m)
}

// fill tops up the batch.
func (q *queue) fill() {
	size := 0
	for _, b := range q.batch {
		size += len(b)
	}
	for size < batchBytes && len(q.batch) < batchSlices {
		switch {
		case q.large != nil:
			if i := q.overtaking(); i >= 0 {
				size += q.commit(q.remove(i))
				continue
			}
			c := q.large.Chunk(q.next)
			q.batch = append(q.batch, c)
			size += len(c)
			if q.next++; q.next == q.large.Chunks() {
				q.commitEnd(q.large)
				q.large = nil
			}
		case len(q.entries) > 0:
			m := q.remove(0)
			if m.Interruptible() {
				q.large, q.next = m, 0
				continue
			}
			size += q.commit(m)
		default:
			return
		}
	}
}

// commit appends a whole message to the batch.
func (q *queue) commit(m *chunk.Message) int {
	q.batch = m.AppendWire(q.batch)
	q.commitEnd(m)
	return m.WireLen()
}

// commitEnd notes that the last bytes of a message are in the batch.
func (q *queue) commitEnd(m *chunk.Message) {
	q.sent = append(q.sent, committed{m, q.gone + len(q.batch)})
}

// overtaking returns the position of the first entry that may go between the
// chunks of the large message, or -1.
func (q *queue) overtaking() int {
	for i, e := range q.entries {
		if e.msg.Class == chunk.ClassUrgent || e.msg.Class == chunk.ClassAudio {
			return i
		}
	}
	return -1
}

// isAnswer reports whether a message is one that a peer can ask for as often as
// it likes.
func isAnswer(m *chunk.Message) bool {
	return m.Class == chunk.ClassUrgent || m.Class == chunk.ClassOrdered
}

// remove takes an entry's message out; the caller has its reference.
func (q *queue) remove(i int) *chunk.Message {
	m := q.entries[i].msg
	if isAnswer(m) {
		q.answers -= m.WireLen()
	}
	copy(q.entries[i:], q.entries[i+1:])
	q.entries[len(q.entries)-1] = entry{}
	q.entries = q.entries[:len(q.entries)-1]
	return m
}

// advance notes that n bytes of the batch were written.
func (q *queue) advance(n int) {
	q.bytes -= n
	i := 0
	for ; i < len(q.batch) && n >= len(q.batch[i]); i++ {
		n -= len(q.batch[i])
	}
	rest := append(q.batch[:0], q.batch[i:]...)
	clear(q.batch[len(rest):])
	q.batch = rest
	if len(q.batch) > 0 {
		q.batch[0] = q.batch[0][n:]
	}
	q.gone += i
	k := 0
	for ; k < len(q.sent) && q.sent[k].end <= q.gone; k++ {
		q.sent[k].msg.Release()
	}
	q.sent = slices.Delete(q.sent, 0, k)
}

// shed drops the subscription's queued video up to its last queued keyframe or,
// with all, that too. It returns the number of frames dropped.
func (q *queue) shed(sub *Subscriber, all bool) int {
	keep := -1
	if !all {
		for i, e := range q.entries {
			if e.sub == sub && e.msg.Class == chunk.ClassKeyframe {
				keep = i
			}
		}
		if keep < 0 {
			return 0
		}
	}
	kept, dropped := q.entries[:0], 0
	for i, e := range q.entries {
		if e.sub == sub && e.msg.Class.IsVideoFrame() && (all || i < keep) {
			q.bytes -= e.msg.WireLen()
			e.msg.Release()
			dropped++
			continue
		}
		kept = append(kept, e)
	}
	clear(q.entries[len(kept):])
	q.entries = kept
	return dropped
}

// oldest returns how long the first entry has waited.
func (q *queue) oldest(now time.Time) time.Duration {
	if len(q.entries) == 0 {
		return 0
	}
	return now.Sub(q.entries[0].at)
}

func (q *queue) release() {
	for _, e := range q.entries {
		e.msg.Release()
	}
	if q.large != nil {
		q.large.Release()
	}
	for _, c := range q.sent {
		c.msg.Release()
	}
	*q = queue{}
}
