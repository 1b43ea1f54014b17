package tunnel

import (
	"sync"
	"time"
)

// deadline is one of the two deadlines of a Conn. Its fields are guarded by
// the Conn's mutex, which is also the locker of the condition it signals.
// Moving a deadline later does not touch the timer: a timer that fires early
// arms itself again.
type deadline struct {
	at      time.Time
	armed   time.Time
	timer   *time.Timer
	expired bool
}

func (d *deadline) set(t time.Time, cond *sync.Cond) {
	d.at, d.expired = t, false
	if t.IsZero() {
		d.disarm()
		return
	}
	wait := time.Until(t)
	switch {
	case wait <= 0:
		d.expired = true
		cond.Broadcast()
	case d.timer == nil:
		d.armed = t
		d.timer = time.AfterFunc(wait, func() { d.fire(cond) })
	case d.armed.IsZero() || t.Before(d.armed):
		d.armed = t
		d.timer.Reset(wait)
	}
}

func (d *deadline) fire(cond *sync.Cond) {
	cond.L.Lock()
	defer cond.L.Unlock()
	d.armed = time.Time{}
	if d.at.IsZero() || d.expired {
		return
	}
	if wait := time.Until(d.at); wait > 0 {
		d.armed = d.at
		d.timer.Reset(wait)
		return
	}
	d.expired = true
	cond.Broadcast()
}

// disarm stops the timer: firing in vain starts a goroutine, for each of the sessions
// that were connected a while ago.
func (d *deadline) disarm() {
	if d.timer != nil && !d.armed.IsZero() && d.timer.Stop() {
		d.armed = time.Time{}
	}
}

// stop is called when the Conn is closed: no timer stays behind.
func (d *deadline) stop() {
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
}
