//go:build interop

package interop_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// clip is an FLV file that tests publish.
type clip struct {
	name     string
	input    []string // ffmpeg inputs and mapping
	codec    []string // ffmpeg encoders
	duration time.Duration

	once sync.Once
	err  error
	made media // what ffprobe sees in the file
}

const clipLength = 6 * time.Second

var (
	picture = []string{"-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"}
	sound   = []string{"-f", "lavfi", "-i", "aevalsrc=0.1*sin(2*PI*(300+40*t)*t):sample_rate=48000"} // never repeats, so no two packets are alike
	h264    = []string{"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-b:v", "800k"}
	aac     = []string{"-c:a", "aac", "-b:a", "96k"}

	// film is what most encoders send: H.264 with B-frames, a key frame per second, AAC.
	film = &clip{name: "film", input: slices.Concat(picture, sound), codec: slices.Concat(h264, aac), duration: clipLength}
	// glimpse is a shorter one, for ways that only have to work.
	glimpse = &clip{name: "glimpse", input: slices.Concat(picture, sound), codec: slices.Concat(h264, aac), duration: clipLength / 2}
	// sequel differs from film in every packet: what a publisher that comes back sends.
	sequel = &clip{
		name: "sequel", duration: clipLength, codec: slices.Concat(h264, aac),
		input: []string{"-f", "lavfi", "-i", "mandelbrot=size=640x360:rate=30", "-f", "lavfi", "-i", "aevalsrc=0.1*sin(2*PI*(900-40*t)*t):sample_rate=48000"},
	}
	silent = &clip{name: "silent", input: picture, codec: h264, duration: clipLength}
	radio  = &clip{name: "radio", input: sound, codec: aac, duration: clipLength}
	// poster has key frames far above 64 KiB (still noise) and small frames between them.
	poster = &clip{
		name: "poster", duration: clipLength, codec: slices.Concat(h264, []string{"-b:v", "6M", "-maxrate", "40M", "-bufsize", "40M"}, aac),
		input: slices.Concat([]string{
			"-f", "lavfi", "-i", "color=c=gray:size=960x540:rate=30,noise=alls=30:all_seed=1[back];color=c=red:size=60x60:rate=30[box];[back][box]overlay=x=mod(n*7\\,900):y=240",
		}, sound),
	}
	// flood is 40 Mb/s: more than the buffers of a player that stops reading can hide.
	flood = &clip{
		name: "flood", duration: 12 * time.Second, codec: slices.Concat(h264, []string{"-preset", "ultrafast", "-b:v", "40M", "-minrate", "40M", "-maxrate", "40M", "-bufsize", "8M"}, aac),
		input: slices.Concat([]string{"-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30,noise=alls=100:allf=t:all_seed=1"}, sound),
	}
)

// file returns the path of the clip, made at the first call.
func (c *clip) file(t *testing.T) string {
	t.Helper()
	need(t, "ffmpeg", "ffprobe")
	path := filepath.Join(scratch, c.name+".flv")
	c.once.Do(func() {
		args := slices.Concat([]string{"-v", "error", "-nostdin", "-y"}, c.input, c.codec,
			[]string{"-t", seconds(c.duration), "-f", "flv", path})
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput(); err != nil {
			c.err = fmt.Errorf("making %s: %w\n%s", c.name, err, out)
			return
		}
		c.made, c.err = probe(ctx, path)
	})
	if c.err != nil {
		t.Fatal(c.err)
	}
	return path
}

// media returns the packets of the clip.
func (c *clip) media(t *testing.T) media {
	t.Helper()
	c.file(t)
	return c.made
}
