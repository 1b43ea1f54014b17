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

// Close ends the publication and tells the players.
func (p *Publication) Close() {
	p.closed.Do(func() {
		p.stream.unpublish(p)
		p.stream.hub.release(p.stream)
	})
}
