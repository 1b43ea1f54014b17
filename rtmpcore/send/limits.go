package send

import (
	"cmp"
	"errors"
	"time"
)

// Limits bounds what a Writer keeps for a connection that does not take its
// bytes. Zero fields take the defaults of [DefaultLimits].
type Limits struct {
	Queue        int           // bytes queued before video is dropped to the next keyframe
	QueueTime    time.Duration // age of the oldest queued message that has the same effect
	QueueClose   int           // bytes queued at which the connection is ended
	WriteTimeout time.Duration // a connection that takes no byte for this long is ended
}

// DefaultLimits are the values for zero fields of [Limits].
var DefaultLimits = Limits{
	Queue:        4 << 20,
	QueueTime:    5 * time.Second,
	QueueClose:   16 << 20,
	WriteTimeout: 10 * time.Second,
}

// patience is how many QueueTimes the oldest queued message may wait before the
// connection is ended although it still takes a byte now and then.
const patience = 4

// maxAnswers is the most that may be queued of what a peer asked for and does
// not read, in bytes: answers to its commands and pings.
const maxAnswers = 1 << 20

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		Queue:        cmp.Or(l.Queue, d.Queue),
		QueueTime:    cmp.Or(l.QueueTime, d.QueueTime),
		QueueClose:   cmp.Or(l.QueueClose, d.QueueClose),
		WriteTimeout: cmp.Or(l.WriteTimeout, d.WriteTimeout),
	}
}

// ErrStalled ends a connection that takes no byte for the write timeout. The
// error is an os.ErrDeadlineExceeded too.
var ErrStalled = errors.New("send: the peer reads nothing")

// ErrTooSlow ends a connection whose queue reached its second limit.
var ErrTooSlow = errors.New("send: the peer reads too slowly")
