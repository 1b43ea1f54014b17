package configs

import (
	"fmt"
	"strings"
	"time"
)

// Gather says how long messages of a stream wait so that one write to a player carries more of them. As text it is video, message, or a
// duration.
type Gather struct {
	Mode   GatherMode
	Window time.Duration // longest wait; only with GatherWindow
}

// GatherMode is the kind of a [Gather].
type GatherMode string

// The kinds of gathering.
const (
	GatherVideo   GatherMode = "video"   // audio rides with the next video frame, at most 40 ms
	GatherMessage GatherMode = "message" // every message is sent at once: least delay, most system calls
	GatherWindow  GatherMode = "window"  // messages wait up to Gather.Window: fewest system calls
)

// UnmarshalText reads video, message or a duration.
func (g *Gather) UnmarshalText(text []byte) error {
	switch t := strings.TrimSpace(string(text)); GatherMode(t) {
	case GatherVideo, GatherMessage:
		*g = Gather{Mode: GatherMode(t)}
	default:
		var d Duration
		if d.UnmarshalText([]byte(t)) != nil {
			return fmt.Errorf("%q is neither video nor message nor a duration such as 350ms", t)
		}
		*g = Gather{Mode: GatherWindow, Window: time.Duration(d)}
	}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (g Gather) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// String writes what UnmarshalText reads.
func (g Gather) String() string {
	if g.Mode == GatherWindow {
		return Duration(g.Window).String()
	}
	return string(g.Mode)
}
