package chunk

import "fmt"

// What a [LimitError] is about: the fields of [Limits].
const (
	LimitMessage      = "message length"
	LimitChunkStreams = "chunk streams"
	LimitPartial      = "partial bytes"
)

// LimitError says that a peer asked for more than a configured cap allows.
type LimitError struct {
	What  string // what was capped: LimitMessage and the like
	Value int64  // what the peer asked for
	Limit int64  // the cap
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("chunk: %s %d is over the limit of %d", e.What, e.Value, e.Limit)
}

// ProtocolError says that a peer broke the chunk stream's rules.
type ProtocolError struct {
	Section string // of RTMP 1.0
	Reason  string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("chunk: %s (RTMP 1.0 §%s)", e.Reason, e.Section)
}
