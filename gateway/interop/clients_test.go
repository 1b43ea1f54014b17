//go:build interop

package interop_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The command lines of the clients, one function for each client and direction.

// publishFFmpeg sends a file at its own speed; extra are output options.
func publishFFmpeg(t *testing.T, file, url string, extra ...string) *process {
	t.Helper()
	need(t, "ffmpeg")
	return start(t, "ffmpeg publisher "+url, slices.Concat(
		[]string{"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-re", "-i", file, "-c", "copy"},
		extra, []string{"-f", "flv", "-flvflags", "no_duration_filesize", url}))
}

// publishLoopFFmpeg sends a file again and again until it is ended.
func publishLoopFFmpeg(t *testing.T, file, url string) *process {
	t.Helper()
	need(t, "ffmpeg")
	return start(t, "ffmpeg looping publisher "+url, []string{
		"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-re", "-stream_loop", "-1", "-i", file, "-c", "copy",
		"-f", "flv", "-flvflags", "no_duration_filesize", url,
	})
}

// publishGStreamer sends a file with rtmp2sink.
func publishGStreamer(t *testing.T, file, url string) *process {
	t.Helper()
	need(t, "gst-launch-1.0")
	line := "gst-launch-1.0 -q filesrc location=" + file + " ! flvdemux name=d" +
		" d.video ! queue ! h264parse ! clocksync ! mux. d.audio ! queue ! aacparse ! clocksync ! mux." +
		" flvmux streamable=true name=mux ! rtmp2sink location=" + url + unverified(url)
	return start(t, "rtmp2sink "+url, strings.Fields(line))
}

// player is a client that records a stream to a file.
type player struct {
	*process
	file  string
	codes []int // exit codes of a play that went well
	lost  int   // packets of each track that the client throws away when it learns of the end
}

// play is one of the players below.
type play func(t *testing.T, url string) *player

// playFFmpeg keeps every packet it gets (ffmpeg by itself throws away what comes before a key frame) and its timestamp.
func playFFmpeg(t *testing.T, url string) *player {
	t.Helper()
	return playFFmpegArgs(t, url)
}

// playFFmpegArgs takes input options as well.
func playFFmpegArgs(t *testing.T, url string, input ...string) *player {
	t.Helper()
	need(t, "ffmpeg")
	file := recording(t)
	return &player{start(t, "ffmpeg player "+url, slices.Concat(
		[]string{"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-copyts"}, input, []string{"-i", url},
		[]string{"-c", "copy", "-copyinkf", "-flush_packets", "1", "-f", "flv", file})), file, []int{0}, 0}
}

// playRTMPDump writes the tags as they come. It ends with 2 when the stream ended before the duration it guesses at.
func playRTMPDump(t *testing.T, url string) *player {
	t.Helper()
	return playRTMPDumpArgs(t, url)
}

// playRTMPDumpArgs takes more options.
func playRTMPDumpArgs(t *testing.T, url string, extra ...string) *player {
	t.Helper()
	need(t, "rtmpdump")
	file := recording(t)
	return &player{start(t, "rtmpdump "+url, append([]string{"rtmpdump", "-v", "-m", "60", "-r", url, "-o", file}, extra...)), file, []int{0, 2}, 0}
}

// playGStreamer records with rtmp2src, which ends at StreamEOF and throws away the message it has not passed on by then.
func playGStreamer(t *testing.T, url string) *player {
	t.Helper()
	need(t, "gst-launch-1.0")
	file := recording(t)
	line := "gst-launch-1.0 -q rtmp2src location=" + url + unverified(url) + " ! filesink buffer-mode=unbuffered location=" + file
	return &player{start(t, "rtmp2src "+url, strings.Fields(line)), file, []int{0}, 1}
}

// playRTMPSrc records with rtmpsrc, GStreamer's way to librtmp.
func playRTMPSrc(t *testing.T, url string) *player {
	t.Helper()
	need(t, "gst-launch-1.0")
	file := recording(t)
	return &player{start(t, "rtmpsrc "+url, []string{
		"gst-launch-1.0", "-q", "rtmpsrc", "location=" + url + " live=1", "!", "filesink", "buffer-mode=unbuffered", "location=" + file,
	}), file, []int{0, 1}, 0}
}

// publishCulvert sends a file with `culvert publish`.
func publishCulvert(t *testing.T, file, url string) *process {
	t.Helper()
	return start(t, "culvert publish "+url, []string{culvert(t), "publish", file, url})
}

// playCulvert records with `culvert play`; ca is the authority it trusts.
func playCulvert(t *testing.T, url, ca string) *player {
	t.Helper()
	file := recording(t)
	return &player{start(t, "culvert play "+url, []string{culvert(t), "play", url, "-o", file, "--ca", ca}), file, []int{0}, 0}
}

// unverified is what GStreamer needs to accept a certificate of our own making.
func unverified(url string) string {
	if strings.HasPrefix(url, "rtmps:") {
		return " tls-validation-flags=0"
	}
	return ""
}

// recording returns the path of a file that does not exist yet.
func recording(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "recording.flv")
}

// received returns how many bytes the player has recorded.
func (p *player) received() int64 {
	info, err := os.Stat(p.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// awaitBytes waits until the player has recorded n bytes.
func (p *player) awaitBytes(t *testing.T, n int64) {
	t.Helper()
	eventually(t, p.name+" to record", func() bool {
		p.requireRunning(t)
		return p.received() >= n
	})
}

// awaitPart waits until the player has recorded about this part (of 100) of a clip.
func (p *player) awaitPart(t *testing.T, c *clip, percent int64) {
	t.Helper()
	info, err := os.Stat(c.file(t))
	if err != nil {
		t.Fatal(err)
	}
	p.awaitBytes(t, info.Size()*percent/100)
}

// require waits for the player's own end, which the end of the stream brings about, and checks what it recorded.
func (p *player) require(t *testing.T, sent media, from join, when timing) {
	t.Helper()
	p.wait(t, p.codes...)
	requireRecording(t, p.file, sent, from, when, p.lost)
}
