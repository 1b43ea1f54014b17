package proxy

import (
	"encoding/binary"
	"slices"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Events of shared objects that are looked at (RTMP 1.0 §7.1.3).
const (
	eventUse     = 1
	eventRelease = 2
	eventClear   = 8
)

// Limits of what is remembered of a client's shared objects; those beyond are not made
// again at another backend.
const (
	maxShared     = 64
	maxSharedName = 1 << 10
)

// subscription is a shared object that a client uses.
type subscription struct {
	route *Route
	line  *line // nil: lost
	flags uint32
	amf3  bool
	fresh bool // made again, and nothing of it has come yet
}

func isShared(typeID uint8) bool {
	return typeID == message.TypeSharedObjectAMF0 || typeID == message.TypeSharedObjectAMF3
}

// sharedName returns the name in a shared object's message, "" when there is none.
func sharedName(m *chunk.Message) string {
	b := m.Bytes()
	if m.TypeID == message.TypeSharedObjectAMF3 && len(b) > 2 && b[0] == 0 && b[1] == 0 {
		b = b[1:] // the leading 0, before a name shorter than 256
	}
	if len(b) < 2 {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return ""
	}
	return string(b[2 : 2+n])
}

// uses reports whether the client uses the shared object of a message. mu is held.
func (s *Session) uses(m *chunk.Message) bool {
	return len(s.shared) > 0 && isShared(m.TypeID) && s.shared[sharedName(m)] != nil
}

// noteShared remembers which shared objects a client uses, and where.
func (s *Session) noteShared(l *line, m *chunk.Message) {
	object, err := message.DecodeSharedObject(m.TypeID, m.Bytes(), s.router.cfg.AMF)
	if err != nil {
		return // it is for the backend to complain
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range object.Events {
		switch e.Type {
		case eventUse:
			if len(object.Name) > maxSharedName || len(s.shared) == maxShared && s.shared[object.Name] == nil {
				continue
			}
			if s.shared == nil {
				s.shared = make(map[string]*subscription)
			}
			s.shared[object.Name] = &subscription{route: l.route, line: l, flags: object.Flags, amf3: object.AMF3}
		case eventRelease:
			delete(s.shared, object.Name)
		}
	}
}

// useAgain makes a line that of the shared objects which have lost theirs. The result says
// so to the backend: version 0 makes it send all there is. mu is held.
func (s *Session) useAgain(l *line) []*chunk.Message {
	var out []*chunk.Message
	for name, sub := range s.shared {
		if sub.line != nil || sub.route != l.route {
			continue
		}
		sub.line, sub.fresh = l, true
		use := message.SharedObject{AMF3: sub.amf3, Name: name, Flags: sub.flags, Events: []message.SharedObjectEvent{{Type: eventUse}}}
		if m := sharedMessage(use); m != nil {
			out = append(out, m)
			l.spoken.Store(true)
		}
	}
	return out
}

func sharedMessage(object message.SharedObject) *chunk.Message {
	b, err := object.AppendPayload(nil)
	if err != nil {
		return nil // it has come with this name
	}
	m := chunk.NewMessage(object.TypeID(), 0, 0, b)
	m.Class = chunk.ClassOrdered
	return m
}

// cleared returns what a client must be told before the first message about a shared object
// that was made again: that what it knew no longer holds. It is nil when the backend says
// so itself, which not all do for persistent objects.
func (s *Session) cleared(l *line, m *chunk.Message) *chunk.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := sharedName(m)
	sub := s.shared[name]
	if sub == nil || !sub.fresh || sub.line != l {
		return nil
	}
	sub.fresh = false
	object, err := message.DecodeSharedObject(m.TypeID, m.Bytes(), s.router.cfg.AMF)
	if err != nil || slices.ContainsFunc(object.Events, func(e message.SharedObjectEvent) bool { return e.Type == eventClear }) {
		return nil
	}
	return sharedMessage(message.SharedObject{
		AMF3: m.TypeID == message.TypeSharedObjectAMF3, Name: name, Flags: sub.flags,
		Events: []message.SharedObjectEvent{{Type: eventClear}},
	})
}
