package tunnel

import (
	"container/heap"
	"sync"
	"time"
)

// sweeper calls session.tick at the times that sessions asked for. There is
// one timer for all of them and one entry per session: a session that moves
// its time later keeps its entry and is asked again when that comes up, so
// that in the steady state a request does not touch the sweeper at all.
//
// Lock order: a session's mutex, then mu.
type sweeper struct {
	srv *Server

	running sync.Mutex // held while sessions are ticked; before a session's mutex

	mu     sync.Mutex
	closed bool
	queue  sweepQueue
	timer  *time.Timer
	armed  int64 // when timer fires, 0 if it does not
}

// add makes sure that the session is ticked at or before the given time.
func (w *sweeper) add(s *session, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return
	case s.slot < 0:
		s.slotTime = at
		heap.Push(&w.queue, s)
	case at < s.slotTime:
		s.slotTime = at
		heap.Fix(&w.queue, s.slot)
	default:
		return
	}
	w.arm()
}

func (w *sweeper) arm() {
	if len(w.queue) == 0 {
		return
	}
	at := w.queue[0].slotTime
	if w.armed != 0 && w.armed <= at {
		return
	}
	w.armed = at
	wait := time.Duration(at - w.srv.clock())
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, w.run) // stopped by stop, which waits for run
	} else {
		w.timer.Reset(wait)
	}
}

// run ticks the sessions whose time has come.
func (w *sweeper) run() {
	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	w.armed = 0
	for !w.closed && len(w.queue) > 0 && w.queue[0].slotTime <= w.srv.clock() {
		s := heap.Pop(&w.queue).(*session)
		w.mu.Unlock()
		if next := s.tick(); next > 0 {
			w.add(s, next)
		}
		w.mu.Lock()
	}
	if !w.closed {
		w.arm()
	}
	w.mu.Unlock()
}

// stop returns when no session is being ticked and none will be.
func (w *sweeper) stop() {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
}

// sweepQueue is a heap of sessions by slotTime.
type sweepQueue []*session

func (q sweepQueue) Len() int           { return len(q) }
func (q sweepQueue) Less(i, j int) bool { return q[i].slotTime < q[j].slotTime }
func (q sweepQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot, q[j].slot = i, j
}

func (q *sweepQueue) Push(x any) {
	s := x.(*session)
	s.slot = len(*q)
	*q = append(*q, s)
}

func (q *sweepQueue) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	s.slot = -1
	*q = old[:len(old)-1]
	return s
}
