//go:build interop

package interop_test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// rate returns a clip of 8 Mb/s: six seconds, or as long as CULVERT_RATE says.
var rate = sync.OnceValue(func() *clip {
	length := clipLength
	if d, err := time.ParseDuration(os.Getenv("CULVERT_RATE")); err == nil {
		length = d
	}
	return &clip{
		name: "rate", duration: length, codec: slices.Concat(h264, []string{"-preset", "ultrafast", "-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "8M"}, aac),
		input: slices.Concat([]string{"-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30,noise=alls=60:allf=t:all_seed=1"}, sound),
	}
})

// TestCase29_EightMegabits publishes and plays 8 Mb/s over RTMPT and RTMPTS with ffmpeg: no loss, no reconnect. The full length of
// the case is CULVERT_RATE=60s.
func TestCase29_EightMegabits(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	c := rate()
	file, sent := c.file(t), c.media(t)
	s := serve(t)
	for _, transport := range []string{"rtmpt", "rtmpts"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			url := s.url(t, transport, "rate-"+transport)
			p := playFFmpeg(t, url)
			publisher := publishFFmpeg(t, file, url)
			publisher.waitWithin(t, c.duration+patience)
			p.require(t, sent.by(transport), anywhere, exact)
		})
	}
}
