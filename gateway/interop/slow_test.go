//go:build interop

package interop_test

import (
	"syscall"
	"testing"
)

// Players that stop reading, over each kind of connection, cost the others no frame, the publisher no time and the gateway a bounded amount of memory.
func TestStoppedPlayersHarmNobody(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	file, sent := flood.file(t), flood.media(t)
	s := serve(t, `limits: {queue: 4MiB, queue_close: 6MiB}`)
	const stream = "flood"
	good := []*player{
		playFFmpeg(t, s.url(t, "rtmp", stream)),
		playRTMPDump(t, s.url(t, "rtmpt", stream)),
		playFFmpeg(t, s.url(t, "rtmps", stream)),
	}
	bad := []*player{
		playCulvert(t, s.url(t, "rtmp", stream), s.ca),
		playRTMPDump(t, s.url(t, "rtmps", stream)),
		playFFmpeg(t, s.url(t, "rtmpts", stream)),
	}
	publisher := publishFFmpeg(t, file, s.url(t, "rtmp", stream))
	for _, p := range bad {
		p.awaitPart(t, flood, 20) // the cache for late players is full from here on
		p.signal(t, syscall.SIGSTOP)
	}
	before := s.memory(t)
	most := before
	eventually(t, "the end of the publisher", func() bool {
		most = max(most, s.memory(t))
		return !publisher.running()
	})
	publisher.wait(t)
	for _, p := range good {
		p.require(t, sent, anywhere, exact)
	}
	// Three queues of up to 6 MiB share most of their blocks, garbage collection needs some more, and about 40 MB were sent meanwhile.
	// The race detector multiplies what the program itself uses.
	allowed := int64(16 << 20)
	if raceEnabled {
		allowed *= 4
	}
	t.Logf("the gateway grew from %d to %d KiB", before>>10, most>>10)
	if most-before > allowed {
		t.Errorf("the gateway grew by %d KiB while three players were stopped, allowed are %d", (most-before)>>10, allowed>>10)
	}
}
