//go:build interop

package interop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The comparison itself: each way in which a recording can be wrong is found, and a right one passes.
func TestDifferences(t *testing.T) {
	t.Parallel()
	sent := media{video: track{codec: "h264"}, audio: track{codec: "aac"}}
	for i := range 30 {
		sent.video.frames = append(sent.video.frames, frame{key: i%10 == 0, dts: int64(i) * 33, pts: int64(i)*33 + 66, hash: fmt.Sprint("v", i)})
		sent.audio.frames = append(sent.audio.frames, frame{key: true, dts: int64(i) * 21, pts: int64(i) * 21, hash: fmt.Sprint("a", i)})
	}
	from := func(video, audio int, shift int64) media {
		got := media{video: track{codec: "h264", frames: slices.Clone(sent.video.frames[video:])}, audio: track{codec: "aac", frames: slices.Clone(sent.audio.frames[audio:])}}
		for _, frames := range [][]frame{got.video.frames, got.audio.frames} {
			for i := range frames {
				frames[i].dts += shift
				frames[i].pts += shift
			}
		}
		return got
	}
	change := func(f func(*media)) media {
		got := from(10, 12, 5)
		f(&got)
		return got
	}
	for name, test := range map[string]struct {
		got  media
		from join
		when timing
		want string // part of a difference, empty for none
	}{
		"whole":            {got: from(0, 0, 0), from: fromStart},
		"moved as a whole": {got: from(0, 0, 16774200), from: fromStart},
		"late":             {got: from(20, 25, -40), from: late},
		"a frame missing":  {got: change(func(m *media) { m.video.frames = slices.Delete(m.video.frames, 5, 6) }), want: "got 10-14, 16-29 of 0-29"},
		"a frame twice": {
			got:  change(func(m *media) { m.audio.frames = slices.Insert(m.audio.frames, 4, m.audio.frames[4]) }),
			want: "audio: packet 4 of 19 is not packet 15",
		},
		"order":            {got: change(func(m *media) { f := m.audio.frames; f[3], f[4] = f[4], f[3] }), want: "audio: packet 4"},
		"a bit changed":    {got: change(func(m *media) { m.video.frames[7].hash = "x" }), want: "1 never sent"},
		"the end missing":  {got: change(func(m *media) { m.video.frames = m.video.frames[:15] }), want: "video: packet 14"},
		"no audio":         {got: change(func(m *media) { m.audio = track{} }), want: `audio: codec "", want "aac"`},
		"other codec":      {got: change(func(m *media) { m.video.codec = "hevc" }), want: `video: codec "hevc"`},
		"nothing":          {got: media{video: track{codec: "h264"}, audio: track{codec: "aac"}}, want: "0 packets"},
		"no key frame":     {got: from(11, 12, 0), want: "which is no key frame"},
		"not from start":   {got: from(10, 12, 0), from: fromStart, want: "want the first of both"},
		"not late":         {got: from(0, 12, 0), from: late, want: "although the player came late"},
		"time moved":       {got: change(func(m *media) { m.video.frames[9].dts++ }), want: "timestamps: video packet 0 came with +5 ms, video packet 9 with +6 ms"},
		"tracks apart":     {got: change(func(m *media) { m.audio = from(0, 12, 7).audio }), want: "timestamps:"},
		"time falls":       {got: change(func(m *media) { m.video.frames[9].dts = 0 }), want: "dts 0 after"},
		"shown too early":  {got: change(func(m *media) { m.video.frames[9].pts = 0 }), want: "before dts"},
		"time moved a bit": {got: change(func(m *media) { m.video.frames[9].dts++ }), when: retimed},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(differences(test.got, sent, test.from, test.when), "; ")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}
