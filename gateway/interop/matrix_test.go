//go:build interop

package interop_test

import (
	"testing"
)

// Every way in against every way out: ffmpeg publishes over each transport; ffmpeg and rtmpdump play it over each.
func TestMatrix(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	s := serve(t)
	for _, in := range transports {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			matrix(t, s, in, film, playFFmpeg, playRTMPDump)
		})
	}
}

// The same while the timestamps cross 0xFFFFFF ms (from where on they are extended ones) with key frames of more than 64 KiB, one of
// which is in many chunks when it happens. This time rtmpdump is there from the start and ffmpeg comes late.
func TestMatrixExtendedTimestamps(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	big := 0
	for _, f := range poster.media(t).video.frames {
		if f.key && f.size > 64<<10 {
			big++
		}
	}
	if big < 5 {
		t.Fatalf("the clip has %d key frames above 64 KiB", big)
	}
	s := serve(t)
	for _, in := range transports {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			// 0xFFFFFF ms is 16777.215 s: half way through the clip.
			matrix(t, s, in, poster, playRTMPDump, playFFmpeg, "-output_ts_offset", "16774.2")
		})
	}
}

// matrix publishes a clip over one transport and plays it over all four, with one client from about the beginning and with another from the middle on.
func matrix(t *testing.T, s *server, in string, c *clip, early, later play, extra ...string) {
	t.Helper()
	file, sent := c.file(t), c.media(t).by(in)
	stream := t.Name()[len("TestMatrix"):]
	stream = "m" + stream[len(stream)-len(in):] + c.name
	var players []*player
	for _, out := range transports {
		players = append(players, early(t, s.url(t, out, stream)))
	}
	publisher := publishFFmpeg(t, file, s.url(t, in, stream), extra...)
	players[0].awaitPart(t, c, 40)
	for _, out := range transports {
		players = append(players, later(t, s.url(t, out, stream)))
	}
	publisher.wait(t)
	for i, p := range players {
		from := anywhere
		if i >= len(transports) {
			from = late
		}
		p.require(t, sent, from, exact)
	}
	requireSameEnd(t, players)
}
