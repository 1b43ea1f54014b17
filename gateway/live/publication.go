package live

import (
	"sync"
	"time"

	"culvert/rtmpcore/chunk"
)

// Publication is a publisher's hold on a stream.
type Publication struct {
	// set at construction
	stream    *Stream
	publisher Publisher
	source    Source
	since     time.Time

	closed sync.Once

	// guarded by stream.mu
	started bool
	offset  chunk.Timestamp // added to the publisher's timestamps
}

// WriteMessage sends an audio, video or data message to all players, taking
// over a reference. The message must be fresh: its class, time and chunk headers
// are set here. The error is [ErrReplaced].
func (p *Publication) WriteMessage(m *chunk.Message) error { return p.stream.write(p, m) }

// Interrupt says that the publisher's source was lost and will go on with metadata,
// sequence headers, a keyframe and a time line of its own. Players stay, and for them
// time goes on.
func (p *Publication) Interrupt() { p.stream.interrupt(p) }

// lightPlayers is how many players a message may have and still be light: writing to
// them takes less than a tenth of a millisecond.
const lightPlayers = 16

// Light reports whether a message costs so little that the publisher may be served in
// turn with others. Any goroutine may call it.
func (p *Publication) Light() bool { return p.stream.size.Load() <= lightPlayers }

// Close ends the publication and tells the players.
func (p *Publication) Close() {
	p.closed.Do(func() {
		p.stream.unpublish(p)
		p.stream.hub.release(p.stream)
	})
}
