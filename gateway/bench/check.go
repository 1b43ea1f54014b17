package bench

import (
	"fmt"
	"strings"
)

// Check follows the numbers of one kind of frames at one player. The zero value
// takes any number as the first. It is for one goroutine.
type Check struct {
	FrameCounts

	begun   bool
	highest uint64 // number of the latest frame
	seen    uint64 // bit i: frame highest-i came

	reports int    // what the server has told so far
	used    int    // reports that excuse a gap
	late    uint64 // size of the latest gap, while a report may still follow
}

// FrameCounts say what became of frames.
type FrameCounts struct {
	OK        uint64 `json:"ok"`        // came in order, once, intact
	Lost      uint64 `json:"lost"`      // did not come, and the server did not say so
	Dropped   uint64 `json:"dropped"`   // did not come, and the server said so
	Repeated  uint64 `json:"repeated"`  // came again
	Reordered uint64 `json:"reordered"` // came after a later one
	Corrupt   uint64 `json:"corrupt"`   // came with other bytes
}

// Add adds what another counted.
func (c *FrameCounts) Add(o FrameCounts) {
	c.OK += o.OK
	c.Lost += o.Lost
	c.Dropped += o.Dropped
	c.Repeated += o.Repeated
	c.Reordered += o.Reordered
	c.Corrupt += o.Corrupt
}

// Fault says what is wrong with the counts, or "".
func (c *FrameCounts) Fault() string {
	var faults []string
	for _, f := range []struct {
		n    uint64
		what string
	}{
		{c.Lost, "lost without a report"},
		{c.Repeated, "repeated"},
		{c.Reordered, "out of order"},
		{c.Corrupt, "corrupt"},
	} {
		if f.n > 0 {
			faults = append(faults, fmt.Sprintf("%d frames %s", f.n, f.what))
		}
	}
	return strings.Join(faults, ", ")
}

// window is how many frames back a repeated one can be told from a late one.
const window = 64

// Frame takes the next frame that came.
func (c *Check) Frame(number uint64, intact bool) {
	switch {
	case !intact:
		c.Corrupt++
		return
	case !c.begun:
		c.begun, c.highest, c.seen = true, number, 1
		c.OK++
		return
	case number <= c.highest:
		c.old(c.highest - number)
		return
	}
	ahead := number - c.highest
	c.OK++
	if ahead > 1 {
		c.gap(ahead - 1)
	}
	c.highest = number
	c.seen = c.seen<<ahead | 1 // a shift of 64 or more leaves 1
}

// old counts a frame that is back frames behind the latest.
func (c *Check) old(back uint64) {
	if back >= window || c.seen>>back&1 == 1 {
		c.Repeated++
		return
	}
	c.seen |= 1 << back
	c.Reordered++
	switch {
	case c.Lost > 0:
		c.Lost--
		c.late = min(c.late, c.Lost)
	case c.Dropped > 0:
		c.Dropped--
	}
}

func (c *Check) gap(n uint64) {
	if c.reports > c.used {
		c.used++
		c.Dropped += n
		c.late = 0
		return
	}
	c.Lost += n
	c.late = n
}

// Reported says how often the server has told that it dropped frames,
// NetStream.Play.InsufficientBW. A report excuses one gap, the latest before it
// or the next one after.
func (c *Check) Reported(times int) {
	if times <= c.reports {
		return
	}
	c.reports = times
	if c.late > 0 {
		c.used++
		c.Lost -= c.late
		c.Dropped += c.late
		c.late = 0
	}
}

// End says that the publisher's frames before number were all there is.
func (c *Check) End(number uint64) {
	switch {
	case number == 0:
	case !c.begun:
		c.gap(number)
	case number-1 > c.highest:
		c.gap(number - 1 - c.highest)
	}
}

// Next returns the number after that of the latest frame.
func (c *Check) Next() uint64 {
	if !c.begun {
		return 0
	}
	return c.highest + 1
}
