//go:build interop

package interop_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// postcard is small enough to keep what clients say about it in the repository.
var postcard = &clip{
	name: "postcard", duration: time.Second,
	input: []string{
		"-f", "lavfi", "-i", "testsrc2=size=160x90:rate=15",
		"-f", "lavfi", "-i", "aevalsrc=0.1*sin(2*PI*440*t):sample_rate=44100",
	},
	codec: []string{"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "15", "-crf", "35", "-c:a", "aac", "-b:a", "24k"},
}

// TestCapture records both directions of each client, over the transports that can be read on the wire, as
// DIR/<client>/<scenario>.{c2s,s2c}.bin: the raw bytes of one TCP connection.
func TestCapture(t *testing.T) {
	if *captureFlag == "" {
		t.Skip("only with -capture DIR")
	}
	s := serve(t)
	for _, transport := range []string{"rtmp", "rtmpt"} {
		t.Run(transport, func(t *testing.T) {
			type client struct {
				name      string
				publish   func(t *testing.T, file, url string, extra ...string) *process
				play      play
				available bool
			}
			for _, c := range []client{
				{"ffmpeg", publishFFmpeg, playFFmpeg, true},
				{"rtmpdump", nil, playRTMPDump, true},
				{"gstreamer", func(t *testing.T, file, url string, _ ...string) *process {
					t.Helper()
					return publishGStreamer(t, file, url)
				}, playGStreamer, transport == "rtmp"},
			} {
				if !c.available {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					stream := c.name + "-" + transport
					url := s.url(t, transport, stream)
					wire, through := newTap(t, url)
					p := c.play(t, through)
					wire.await(t, c2s, "\x02\x00\x04play")
					if c.publish == nil {
						publishFFmpeg(t, postcard.file(t), url).wait(t)
					} else {
						publisher, publishThrough := newTap(t, url)
						c.publish(t, postcard.file(t), publishThrough).wait(t)
						publisher.save(t, c.name, transport+"-publish")
					}
					p.wait(t, p.codes...)
					wire.save(t, c.name, transport+"-play")
				})
			}
		})
	}
}

// save writes what has passed to the capture folder.
func (tp *tap) save(t *testing.T, client, scenario string) {
	t.Helper()
	tp.close()
	dir := filepath.Join(*captureFlag, client)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for direction, suffix := range []string{c2s: "c2s", s2c: "s2c"} {
		if err := os.WriteFile(filepath.Join(dir, scenario+"."+suffix+".bin"), tp.sent[direction].Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
