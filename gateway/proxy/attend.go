package proxy

import (
	"errors"
	"sync"
	"syscall"
)

// attendant reads what a stream's backends say, without a goroutine of its own where the
// connection to one can wait without.
type attendant struct {
	// set before attend
	pass func(l *line) error            // obeys what a line says until there is an error
	wait func() error                   // comes before each wait for a line
	next func(l *line, err error) *line // the line to go on with, or nil; it may wait

	// owned by whoever reads
	line  *line
	err   error // what ended the last turn
	brief bool  // the turn is a step of a parked line: it must not wait

	ended sync.WaitGroup // done when there is no line any more
}

// attend begins with a line. It is to be called once.
func (st *stream) attend(l *line) {
	st.reader.line = l
	st.reader.ended.Add(1)
	l.OnWait(st.reader.wait)
	if !l.Park(st.turn, st.left) {
		go st.serve() // stopped by the end of its lines; waited by Close of the stream
	}
}

// turn is a step of the parked line.
func (st *stream) turn() (stay bool) {
	r := &st.reader
	r.brief = true
	r.err = r.pass(r.line)
	r.brief = false
	return errors.Is(r.err, syscall.EAGAIN)
}

func (st *stream) left() {
	go st.serve() // stopped by the end of its lines, or as one is parked; waited by Close of the stream
}

// serve goes on until a line is parked, or there is none any more.
func (st *stream) serve() {
	r := &st.reader
	for {
		if errors.Is(r.err, errFull) {
			r.err = st.relieve()
		}
		if r.err != nil {
			r.line = r.next(r.line, r.err)
			r.err = nil
			if r.line == nil {
				r.ended.Done()
				return
			}
			r.line.OnWait(r.wait)
		}
		if r.line.Park(st.turn, st.left) {
			return
		}
		r.err = r.pass(r.line)
	}
}

// relieve waits while the client takes less than its backend sends. In a step it says
// errFull instead.
func (st *stream) relieve() error {
	w := st.ns.Writer()
	switch {
	case w.Queued() <= highWater:
		return nil
	case st.reader.brief:
		return errFull
	}
	return w.Flush(st.ctx)
}
