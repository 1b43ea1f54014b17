package proxy

import (
	"slices"
	"sync"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// maxCalls is how many results a side may be waited for; beyond, the oldest call is
// given up: many servers never answer a method that they do not have.
const maxCalls = 64

// firstCall is the first transaction ID of a call that is passed on, far from those of
// commands that are the gateway's own.
const firstCall = 1 << 24

// calls are those of one direction whose results have not come yet. The zero value is
// empty. Its methods may be called by any goroutine.
type calls struct {
	mu sync.Mutex
	// guarded by mu
	open   map[float64]call
	oldest float64
	next   float64
}

// call is a caller who waits.
type call struct {
	line   *line   // the backend that was called, or calls
	id     float64 // the caller's own transaction ID
	typeID uint8   // of the message it came in
}

// add gives a call the transaction ID under which it is passed on. given is the call that
// has to be given up for it, if its line is not nil.
func (c *calls) add(from call) (id float64, given call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[float64]call)
		c.oldest, c.next = firstCall, firstCall
	}
	if len(c.open) == maxCalls {
		for given.line == nil {
			given = c.open[c.oldest]
			delete(c.open, c.oldest)
			c.oldest++
		}
	}
	id = c.next
	c.next++
	c.open[id] = from
	return id, given
}

// take returns the call that a result is for, and forgets it. l is the backend that sends
// the result, or nil.
func (c *calls) take(id float64, l *line) (from call, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, ok = c.open[id]
	if !ok || l != nil && from.line != l {
		return call{}, false
	}
	delete(c.open, id)
	return from, true
}

// drop forgets the calls of a line and returns them.
func (c *calls) drop(l *line) (lost []call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := c.oldest; id < c.next && len(c.open) > 0; id++ {
		if from := c.open[id]; from.line == l {
			lost = append(lost, from)
			delete(c.open, id)
		}
	}
	return lost
}

// failure is what a caller gets whose call has failed, nil when none waits.
func (c call) failure() *chunk.Message {
	if c.id == 0 {
		return nil
	}
	status := message.Status{Level: message.LevelError, Code: message.StatusCallFailed, Description: "The call could not be passed on."}
	answer := message.Command{
		Name: message.NameError, TransactionID: c.id, Args: []any{status.Object()}, AMF3: c.typeID == message.TypeCommandAMF3,
	}
	b, err := answer.AppendPayload(nil)
	if err != nil {
		return nil
	}
	return chunk.NewMessage(c.typeID, 0, 0, b)
}

// Opened implements [rtmpcore.Relayer].
func (s *Session) Opened() {
	s.mu.Lock()
	held, l := s.held, s.ready
	s.held, s.opened = nil, true
	if len(held) > 0 {
		_ = s.nc.Writer().Send(held...) // a failed Writer ends the connection
	}
	if l != nil {
		l.idle.Go(l.listen) // stopped by Interrupt; waited by takeReady
	}
	s.mu.Unlock()
}

// Relay passes a client's call, answer or shared object's message on to a backend: that of the
// message stream or the object, or the one that has been there longest. What finds none waits
// for one.
func (s *Session) Relay(m *chunk.Message, cmd message.Envelope) (taken bool) {
	if isAnswer(cmd) {
		to, ok := s.down.take(cmd.TransactionID, nil)
		if ok {
			s.send(to.line, m, readdressed(m, cmd, to.id))
		}
		return ok
	}
	s.mu.Lock()
	l := s.lineFor(m)
	if s.talk.releasing || l == nil && (len(s.lines) == 0 || isShared(m.TypeID)) {
		taken, full := s.wait(m)
		s.mu.Unlock()
		if full {
			s.unheard(call{id: cmd.TransactionID, typeID: m.TypeID})
		}
		return taken
	}
	s.mu.Unlock()
	return l != nil && s.pass(l, m, cmd)
}

func isAnswer(cmd message.Envelope) bool {
	return cmd.Name == message.NameResult || cmd.Name == message.NameError
}

// pass passes a client's call or shared object's message on to a line. It reports false for
// one that only the gateway can answer.
func (s *Session) pass(l *line, m *chunk.Message, cmd message.Envelope) bool {
	if cmd.Name == lengthCommand && !l.route.Rewrite.Stream.empty() {
		return false // it names a stream that has another name there
	}
	if cmd.Name != lengthCommand && cmd.Name != bandwidthCommand {
		l.spoken.Store(true)
	}
	var out *chunk.Message
	if cmd.TransactionID != 0 && cmd.Name != "" {
		id, given := s.up.add(call{l, cmd.TransactionID, m.TypeID})
		s.tell(given.failure())
		out = readdressed(m, cmd, id)
	} else {
		if isShared(m.TypeID) {
			s.noteShared(l, m)
		}
		out = chunk.NewMessage(m.TypeID, 0, m.Timestamp, m.Bytes())
	}
	s.send(l, m, out)
	return true
}

// send sends a line what was made of a client's message.
func (s *Session) send(l *line, m, out *chunk.Message) {
	if l.Writer().Queued() > highWater {
		_ = l.Flush(s.ctx) // it ends when the backend does, or its write timeout
	}
	if m.StreamID != 0 {
		out.StreamID = l.streamID
	}
	out.Class = chunk.ClassOrdered
	_ = l.Send(out) // whoever reads the line learns of it
}

// bandwidthCommand is what clients send after onBWDone.
const bandwidthCommand = "_checkbw"

// lengthCommand asks how long a recording is, by its name.
const lengthCommand = "getStreamLength"

func readdressed(m *chunk.Message, cmd message.Envelope, id float64) *chunk.Message {
	return chunk.NewMessage(m.TypeID, 0, m.Timestamp, cmd.Readdress(m.Bytes(), id))
}

// lineFor returns the line for a client's message, nil when it has none at the moment. mu is
// held.
func (s *Session) lineFor(m *chunk.Message) *line {
	if len(s.shared) > 0 && isShared(m.TypeID) {
		if sub := s.shared[sharedName(m)]; sub != nil {
			return sub.line
		}
	}
	for _, l := range s.lines {
		if m.StreamID == 0 || l.asked && l.stream.ns.ID() == m.StreamID {
			return l
		}
	}
	return nil
}

// heard passes a backend's call, answer or shared object's message on to the client. It
// takes none that the gateway has to obey itself. It is called on the goroutine that
// reads the line.
func (s *Session) heard(l *line, m *chunk.Message) (taken bool) {
	switch m.TypeID {
	case message.TypeSharedObjectAMF0, message.TypeSharedObjectAMF3:
		if !s.nc.Hushed() {
			m.StreamID = 0
			if first := s.cleared(l, m); first != nil {
				s.forward(l, first)
			}
			s.forward(l, m)
			return true
		}
	case message.TypeCommandAMF0, message.TypeCommandAMF3:
		if cmd, ok := message.ReadEnvelope(m.TypeID, m.Bytes()); ok {
			return s.heardCommand(l, m, cmd)
		}
	}
	return false
}

func (s *Session) heardCommand(l *line, m *chunk.Message, cmd message.Envelope) (taken bool) {
	var streamID uint32
	if l.stream != nil && m.StreamID != 0 && m.StreamID == l.streamID {
		streamID = l.stream.ns.ID()
	}
	var out *chunk.Message
	switch cmd.Name {
	case message.NameResult, message.NameError:
		to, ok := s.up.take(cmd.TransactionID, l)
		if !ok {
			return false
		}
		out = readdressed(m, cmd, to.id)
	case message.NameOnStatus, "close", "onFCPublish", "onFCUnpublish", "onFCSubscribe", "onFCUnsubscribe":
		return false // about the gateway's own streams
	default:
		from := call{l, cmd.TransactionID, m.TypeID}
		switch {
		case s.nc.Hushed():
			l.answer(from.failure())
		case cmd.TransactionID == 0:
			out = m.Retain()
		default:
			id, given := s.down.add(from)
			if given.line != nil {
				given.line.answer(given.failure())
			}
			out = readdressed(m, cmd, id)
		}
	}
	m.Release()
	if out != nil {
		out.StreamID = streamID
		s.forward(l, out)
	}
	return true
}

// forward sends a backend's message behind what it sent before. A client that takes less
// than that is waited for before the next message is read; with no stream yet, the Writer's
// limits hold.
func (s *Session) forward(l *line, m *chunk.Message) {
	if l.before != nil && l.before() != nil {
		m.Release()
		return // it comes again
	}
	s.tell(m)
}

// Limits of what is kept for a client whose connect has not been answered.
const (
	maxHeld      = 16
	maxHeldBytes = 64 << 10
)

// tell sends a message to the client, or keeps it until its connect has been answered.
func (s *Session) tell(m *chunk.Message) {
	if m == nil {
		return
	}
	m.Class = chunk.ClassOrdered
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opened:
		_ = s.nc.Writer().Send(m) // a failed Writer ends the connection
	case len(s.held) == maxHeld || s.heldBytes+m.Len() > maxHeldBytes:
		m.Release()
	default:
		s.held = append(s.held, m)
		s.heldBytes += m.Len()
	}
}

// answer sends a backend the end of a call that did not reach the client.
func (l *line) answer(m *chunk.Message) {
	if m != nil {
		_ = l.Send(m) // whoever reads the line learns of it
	}
}

// adopt makes a line one of the session's, and gives it what waited for one.
func (s *Session) adopt(l *line) {
	s.mu.Lock()
	s.lines = append(s.lines, l)
	again := s.useAgain(l)
	if s.talk.found != nil {
		close(s.talk.found)
		s.talk.found = nil
	}
	release := len(s.talk.early) > 0 && !s.talk.releasing
	s.talk.releasing = s.talk.releasing || release
	s.mu.Unlock()
	if len(again) > 0 {
		_ = l.Send(again...) // whoever reads the line learns of it
	}
	if release {
		s.release()
	}
}

// forget ends what a line and the client wait for of each other. Its shared objects go to
// another line.
func (s *Session) forget(l *line) {
	s.mu.Lock()
	if i := slices.Index(s.lines, l); i >= 0 {
		s.lines = slices.Delete(s.lines, i, i+1)
	}
	var (
		lost  *Route
		other *line
		again []*chunk.Message
	)
	for _, sub := range s.shared {
		if sub.line == l {
			sub.line, lost = nil, sub.route
		}
	}
	if lost != nil {
		if i := slices.IndexFunc(s.lines, func(l *line) bool { return l.route == lost }); i >= 0 {
			other = s.lines[i]
			again = s.useAgain(other)
		} else {
			s.seekLine()
		}
	}
	s.mu.Unlock()
	if len(again) > 0 {
		_ = other.Send(again...) // whoever reads the line learns of it
	}
	s.down.drop(l)
	for _, c := range s.up.drop(l) {
		s.tell(c.failure())
	}
}
