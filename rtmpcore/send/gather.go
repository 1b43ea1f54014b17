package send

import "time"

// GatherMode says what a Fanout waits for before it writes.
type GatherMode uint8

// Modes of gathering.
const (
	GatherVideo   GatherMode = iota // audio and data ride with the next video frame
	GatherMessage                   // nothing: every message is written at once
	GatherTime                      // all messages of a time
)

// Gather is how a Fanout gathers messages. The zero value is the default:
// GatherVideo with a window of 40 ms, the frame time of 25 frames a second.
type Gather struct {
	Mode   GatherMode
	Window time.Duration // the longest that a message waits
}

// defaultWindow is how long audio waits for a video frame. Shorter than a frame
// time it would run out between the frames of slow streams and save nothing.
const defaultWindow = 40 * time.Millisecond

func (g Gather) withDefaults() Gather {
	if g.Window <= 0 {
		g.Window = defaultWindow
	}
	return g
}

// gatherBytes is the most that a Fanout gathers, whatever the window.
const gatherBytes = 256 << 10
