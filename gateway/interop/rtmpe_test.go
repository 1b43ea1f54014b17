//go:build interop

package interop_test

import (
	"strings"
	"testing"
)

const rtmpeOn = "rtmpe: {enabled: true}"

// RTMPE and RTMPTE to and from librtmp, beside players that share the same messages in clear.
func TestRTMPE(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	s := serve(t, rtmpeOn)
	for _, in := range []string{"rtmp", "rtmpe", "rtmpte"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			stream := "enc-" + in
			plain, secure, tunnelled := s.url(t, "rtmp", stream), s.url(t, "rtmpe", stream), s.url(t, "rtmpte", stream)
			early := []*player{playFFmpeg(t, plain), playRTMPDump(t, secure), playRTMPDump(t, tunnelled), playCulvert(t, tunnelled, s.ca)}
			awaitLines(t, s, stream, "playing", len(early))
			var publisher *process
			if in == "rtmp" {
				publisher = publishFFmpeg(t, film.file(t), plain)
			} else {
				publisher = publishCulvert(t, film.file(t), s.url(t, in, stream))
			}
			early[0].awaitPart(t, film, 40)
			later := []*player{playRTMPDump(t, secure), playRTMPDump(t, tunnelled), playCulvert(t, secure, s.ca)}
			publisher.wait(t)
			for _, p := range early {
				p.require(t, film.media(t).by(in), anywhere, exact)
			}
			for _, p := range later {
				p.require(t, film.media(t).by(in), late, exact)
			}
			requireSameEnd(t, append(early, later...))
		})
	}
}

// GStreamer's way to librtmp, which connects again when a stream ends: here it is told then that there is none.
func TestRTMPEGStreamer(t *testing.T) {
	need(t, "ffmpeg", "gst-launch-1.0")
	t.Parallel()
	s := serve(t, rtmpeOn, "apps: {live: {wait: false}}")
	run(t, "GStreamer's look at its plugins", "gst-inspect-1.0", "rtmpsrc") // the first one takes longer than the clip
	publisher := publishFFmpeg(t, film.file(t), s.url(t, "rtmp", "gst"))
	awaitLines(t, s, "gst", "publishing", 1)
	p := playRTMPSrc(t, s.url(t, "rtmpe", "gst"))
	publisher.wait(t)
	p.require(t, film.media(t), anywhere, exact)
}

// awaitLines waits until the gateway has logged this message about a stream n times.
func awaitLines(t *testing.T, s *server, stream, message string, n int) {
	t.Helper()
	s.wantsLogs(t, n, `"stream":"`+stream+`"`, `"message":"`+message+`"`)
}

// Without the setting a player that asks for encryption ends at once, and the log names the setting.
func TestRTMPEOff(t *testing.T) {
	need(t, "rtmpdump")
	t.Parallel()
	s := serve(t)
	for _, transport := range []string{"rtmpe", "rtmpte"} {
		p := playRTMPDump(t, s.url(t, transport, "off"))
		p.wait(t, 3) // could not connect
	}
	s.wantsLogs(t, 2, "set rtmpe.enabled")
}

// rtmpdump with an SWF hash plays where SWF verification is on, in clear, encrypted and tunnelled; without one, or with another, it is told why not.
func TestSWFVerification(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	hash := strings.Repeat("5a", 32)
	s := serve(t, rtmpeOn, `apps: {live: {}, flash: {swf: ["`+strings.Repeat("00", 32)+`:9", "`+hash+`:1234"]}}`, "limits: {swf_timeout: 500ms}")
	flash := func(transport string) string {
		return strings.Replace(s.url(t, transport, "swf"), "/live/", "/flash/", 1)
	}
	var players []*player
	for _, transport := range []string{"rtmp", "rtmpe", "rtmpte"} {
		players = append(players, playRTMPDumpArgs(t, flash(transport), "-w", hash, "-x", "1234"))
	}
	// ffmpeg knows the question too.
	players = append(players, playFFmpegArgs(t, flash("rtmp"), "-rtmp_swfhash", hash, "-rtmp_swfsize", "1234"))
	for _, refused := range []struct {
		args       []string
		code, told string
	}{
		{nil, "NetStream.Play.Failed", "the player did not answer"},
		{[]string{"-w", hash, "-x", "1235"}, "NetConnection.Connect.Rejected", "the player is not one that this application allows"},
	} {
		p := playRTMPDumpArgs(t, flash("rtmpe"), append(refused.args, "-V")...)
		p.wait(t, 1)
		if out := p.out.String(); !strings.Contains(out, refused.code) || !strings.Contains(out, refused.told) {
			t.Errorf("rtmpdump was not told %s, %q:\n%s", refused.code, refused.told, out)
		}
	}
	awaitLines(t, s, "swf", "playing", len(players))
	publishFFmpeg(t, film.file(t), flash("rtmp")).wait(t) // is not asked
	for _, p := range players {
		p.require(t, film.media(t), anywhere, exact)
	}
}
