//go:build interop

package interop_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A recording is compared with what was published, packet by packet, as ffprobe sees both files: the same bytes (a hash of each packet), the same order,
// none missing between the first packet recorded and the last one published, timestamps as far apart as the publisher's.

type frame struct {
	key      bool
	pts, dts int64 // milliseconds
	size     int
	hash     string
}

// track is one stream of a file.
type track struct {
	codec  string // h264, aac
	frames []frame
}

// media is what is in a file; a track that is not there has no frames.
type media struct {
	video, audio track
	unsent       int // when published: how many of its last packets the publisher may have kept to itself
}

// by returns the media as ffmpeg publishes it over a transport. Its RTMPT flushes every 10 packets and throws away what is
// not flushed when it closes (rtmp_http_close), FCUnpublish and deleteStream too.
func (m media) by(transport string) media {
	if strings.HasPrefix(transport, "rtmpt") {
		m.unsent = 9
	}
	return m
}

// probe reads the packets of a file.
func probe(ctx context.Context, path string) (media, error) {
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "ffprobe", "-v", "error", "-show_packets", "-show_streams", "-show_data_hash", "MD5", "-of", "json",
		"-show_entries", "packet=stream_index,pts,dts,flags,size,data_hash:stream=index,codec_name,codec_type", path)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return media{}, fmt.Errorf("ffprobe %s: %w\n%s", path, err, &stderr)
	}
	var found struct {
		Streams []struct {
			Index int
			Type  string `json:"codec_type"`
			Codec string `json:"codec_name"`
		}
		Packets []struct {
			Stream   int `json:"stream_index"`
			PTS, DTS int64
			Flags    string
			Size     int    `json:",string"`
			Hash     string `json:"data_hash"`
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return media{}, fmt.Errorf("ffprobe %s: %w", path, err)
	}
	var m media
	tracks := map[int]*track{}
	for _, s := range found.Streams {
		switch s.Type {
		case "video":
			tracks[s.Index], m.video.codec = &m.video, s.Codec
		case "audio":
			tracks[s.Index], m.audio.codec = &m.audio, s.Codec
		}
	}
	for _, p := range found.Packets {
		if tr := tracks[p.Stream]; tr != nil {
			tr.frames = append(tr.frames, frame{key: strings.HasPrefix(p.Flags, "K"), pts: p.PTS, dts: p.DTS, size: p.Size, hash: p.Hash})
		}
	}
	return m, nil
}

// join says where a recording has to begin.
type join int

const (
	anywhere  join = iota // at some key frame
	fromStart             // with the first packet published
	late                  // at a key frame that is not the first
)

// timing says how close to the publisher's the timestamps have to be.
type timing int

const (
	exact   timing = iota // the same differences, to the millisecond
	retimed               // the publisher's tool changes some: not falling is enough
)

// requireRecording checks a recording that lasted until the end of the stream.
// lost is how many packets of each track the client itself may have thrown away when it learned of the end.
func requireRecording(t *testing.T, path string, sent media, from join, when timing, lost int) {
	t.Helper()
	got, err := probe(t.Context(), path)
	if err != nil {
		t.Error(err)
		return
	}
	lost = max(lost, sent.unsent)
	sent.video.frames = withoutLost(got.video.frames, sent.video.frames, lost)
	sent.audio.frames = withoutLost(got.audio.frames, sent.audio.frames, lost)
	for _, problem := range differences(got, sent, from, when) {
		t.Errorf("%s: %s", path, problem)
	}
	requireDecodes(t, path, when)
}

// withoutLost cuts at most lost packets off the end of sent, if got ends there.
func withoutLost(got, sent []frame, lost int) []frame {
	for n := 0; n <= lost && n < len(sent); n++ {
		if end := len(sent) - n; len(got) > 0 && got[len(got)-1].hash == sent[end-1].hash {
			return sent[:end]
		}
	}
	return sent
}

// repeated is what ffmpeg's output, not its decoders, says of a timestamp that is used twice.
var repeated = regexp.MustCompile(`(?m)^(\[null @ .*non monotonically increasing dts to muxer.*| *Last message repeated \d+ times)\n`)

// requireDecodes runs all packets through the decoders, which must have nothing to complain about.
func requireDecodes(t *testing.T, path string, when timing) {
	t.Helper()
	// The time base of the recording keeps ffmpeg from rounding two frames into one tick of a guessed frame rate.
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-i", path, "-enc_time_base", "1:1000", "-f", "null", "-").CombinedOutput()
	if when == retimed {
		out = repeated.ReplaceAll(out, nil)
	}
	if err != nil || len(out) > 0 {
		t.Errorf("%s: decoding complains (%v):\n%s", path, err, out)
	}
}

// differences lists what is wrong with a recording of sent that went on to its end.
func differences(got, sent media, from join, when timing) []string {
	var all []string
	video := ending(&all, "video", got.video, sent.video)
	audio := ending(&all, "audio", got.audio, sent.audio)
	if len(all) > 0 {
		return all
	}
	all = append(all, rising("video", got.video, when)...)
	all = append(all, rising("audio", got.audio, when)...)
	first := video
	if len(sent.video.frames) == 0 {
		first = audio
	} else if !got.video.frames[0].key {
		all = append(all, fmt.Sprintf("video begins with frame %d, which is no key frame", video))
	}
	switch {
	case from == fromStart && (video > 0 || audio > 0):
		all = append(all, fmt.Sprintf("begins with video frame %d and audio frame %d, want the first of both", video, audio))
	case from == late && first == 0:
		all = append(all, "has the first frame of the stream, although the player came late")
	}
	if when == exact {
		all = append(all, shifts(got, sent, video, audio)...)
	}
	return all
}

// ending checks that got is the end of sent and returns how many packets of sent came before it.
func ending(problems *[]string, what string, got, sent track) int {
	say := func(format string, args ...any) {
		*problems = append(*problems, what+": "+fmt.Sprintf(format, args...))
	}
	if got.codec != sent.codec {
		say("codec %q, want %q", got.codec, sent.codec)
		return 0
	}
	if len(sent.frames) == 0 {
		return 0
	}
	skipped := len(sent.frames) - len(got.frames)
	if len(got.frames) == 0 || skipped < 0 {
		say("%d packets, %d were sent", len(got.frames), len(sent.frames))
		return 0
	}
	for i := len(got.frames) - 1; i >= 0; i-- {
		if got.frames[i].hash != sent.frames[skipped+i].hash {
			say("packet %d of %d is not packet %d of the %d sent%s", i, len(got.frames), skipped+i, len(sent.frames), explain(got.frames, sent.frames))
			return skipped
		}
	}
	return skipped
}

// explain finds out what became of the packets, for the message.
func explain(got, sent []frame) string {
	position := map[string]int{}
	for i, f := range sent {
		position[f.hash] = i
	}
	var runs []string
	for i := 0; i < len(got) && len(runs) < 8; {
		at, ok := position[got[i].hash]
		n := 1
		for i+n < len(got) {
			next, known := position[got[i+n].hash]
			if known != ok || ok && next != at+n {
				break
			}
			n++
		}
		if ok {
			runs = append(runs, fmt.Sprintf("%d-%d", at, at+n-1))
		} else {
			runs = append(runs, fmt.Sprintf("%d never sent", n))
		}
		i += n
	}
	return fmt.Sprintf(" (got %s of 0-%d)", strings.Join(runs, ", "), len(sent)-1)
}

// rising checks that the decode times rise (do not fall, if retimed) and no frame is shown before it is decoded.
func rising(what string, tr track, when timing) []string {
	for i, f := range tr.frames {
		if f.pts < f.dts {
			return []string{fmt.Sprintf("%s packet %d: pts %d before dts %d", what, i, f.pts, f.dts)}
		}
		if i == 0 {
			continue
		}
		if before := tr.frames[i-1].dts; f.dts < before || f.dts == before && when == exact {
			return []string{fmt.Sprintf("%s packet %d: dts %d after %d", what, i, f.dts, before)}
		}
	}
	return nil
}

// shifts checks that all timestamps, of both tracks, are those that were sent plus one number.
func shifts(got, sent media, video, audio int) []string {
	type shift struct {
		what string
		i    int
		by   int64
	}
	var all []shift
	for _, tr := range []struct {
		what      string
		got, sent []frame
	}{{"video", got.video.frames, sent.video.frames[video:]}, {"audio", got.audio.frames, sent.audio.frames[audio:]}} {
		for i, f := range tr.got {
			all = append(all, shift{tr.what, i, f.dts - tr.sent[i].dts}, shift{tr.what, i, f.pts - tr.sent[i].pts})
		}
	}
	if len(all) == 0 {
		return nil
	}
	byShift := func(a, b shift) int { return cmp.Compare(a.by, b.by) }
	low, high := slices.MinFunc(all, byShift), slices.MaxFunc(all, byShift)
	if low.by != high.by {
		return []string{fmt.Sprintf("timestamps: %s packet %d came with %+d ms, %s packet %d with %+d ms", low.what, low.i, low.by, high.what, high.i, high.by)}
	}
	return nil
}

// requireSameEnd checks that no player lost what another one got at the end of the stream.
func requireSameEnd(t *testing.T, players []*player) {
	t.Helper()
	ends := map[string][]string{}
	for _, p := range players {
		got, err := probe(t.Context(), p.file)
		if err != nil {
			t.Error(err)
			return
		}
		end := ""
		for _, tr := range []track{got.video, got.audio} {
			if n := len(tr.frames); n > 0 {
				end += " " + tr.frames[n-1].hash
			}
		}
		ends[end] = append(ends[end], p.name)
	}
	if len(ends) > 1 {
		t.Errorf("players of one stream have different last packets: %v", ends)
	}
}

// requireLoop checks a recording of a clip that was sent again and again: one packet after the other, round after round, from a key frame on.
func requireLoop(t *testing.T, path string, sent media) {
	t.Helper()
	got, err := probe(t.Context(), path)
	if err != nil {
		t.Error(err)
		return
	}
	for _, tr := range []struct {
		what      string
		got, sent track
	}{{"video", got.video, sent.video}, {"audio", got.audio, sent.audio}} {
		for _, problem := range gaps(tr.what, tr.got, tr.sent) {
			t.Errorf("%s: %s", path, problem)
		}
	}
	requireDecodes(t, path, exact)
}

func gaps(what string, got, sent track) []string {
	if len(got.frames) == 0 || len(sent.frames) == 0 {
		return []string{fmt.Sprintf("%s: %d packets, the clip has %d", what, len(got.frames), len(sent.frames))}
	}
	all := rising(what, got, exact)
	if !got.frames[0].key {
		all = append(all, what+": begins with no key frame")
	}
	at := slices.IndexFunc(sent.frames, func(f frame) bool { return f.hash == got.frames[0].hash })
	for i, f := range got.frames {
		if at < 0 || f.hash != sent.frames[(at+i)%len(sent.frames)].hash {
			return append(all, fmt.Sprintf("%s: packet %d is not the one that follows%s", what, i, explain(got.frames, sent.frames)))
		}
	}
	return all
}
