//go:build interop

package interop_test

import "testing"

// rtmp2sink publishes over RTMP and RTMPS; ffmpeg and rtmp2src play it. The sink's muxer moves some timestamps by milliseconds.
func TestGStreamerPublishes(t *testing.T) {
	need(t, "gst-launch-1.0", "ffmpeg")
	t.Parallel()
	s := serve(t)
	for _, in := range []string{"rtmp", "rtmps"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			stream := "sink-" + in
			players := []*player{
				playFFmpeg(t, s.url(t, "rtmp", stream)),
				playGStreamer(t, s.url(t, "rtmp", stream)),
				playGStreamer(t, s.url(t, "rtmps", stream)),
			}
			publisher := publishGStreamer(t, film.file(t), s.url(t, in, stream))
			publisher.wait(t)
			for _, p := range players {
				p.require(t, film.media(t), anywhere, retimed)
			}
		})
	}
}

// rtmp2src plays what ffmpeg publishes, from the start and from the middle.
func TestGStreamerPlays(t *testing.T) {
	need(t, "gst-launch-1.0", "ffmpeg")
	t.Parallel()
	s := serve(t)
	for _, out := range []string{"rtmp", "rtmps"} {
		t.Run(out, func(t *testing.T) {
			t.Parallel()
			stream := "src-" + out
			early := playGStreamer(t, s.url(t, out, stream))
			publisher := publishFFmpeg(t, film.file(t), s.url(t, "rtmp", stream))
			early.awaitPart(t, film, 40)
			later := playGStreamer(t, s.url(t, out, stream))
			publisher.wait(t)
			early.require(t, film.media(t), anywhere, exact)
			later.require(t, film.media(t), late, exact)
		})
	}
}
