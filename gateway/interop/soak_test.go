//go:build interop

package interop_test

import (
	"os"
	"testing"
	"time"
)

// A long run through the tunnel, over HTTP and HTTPS: no gap and no reconnect for as long as CULVERT_SOAK says (10m before a release).
func TestSoak(t *testing.T) {
	text := os.Getenv("CULVERT_SOAK")
	if text == "" {
		t.Skip("only with CULVERT_SOAK=10m or another duration (and -timeout beyond it)")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	need(t, "ffmpeg", "rtmpdump")
	file, sent := film.file(t), film.media(t)
	s := serve(t)
	var publishers []*process
	var players []*player
	for _, transport := range []string{"rtmpt", "rtmpts"} {
		url := s.url(t, transport, "soak-"+transport)
		publishers = append(publishers, publishLoopFFmpeg(t, file, url))
		players = append(players, playFFmpeg(t, url), playRTMPDump(t, url))
	}
	first := s.memory(t)
	end := time.NewTimer(length)
	defer end.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for running := true; running; {
		select {
		case <-end.C:
			running = false
		case <-minute.C:
			t.Logf("gateway: %d KiB, %d at the start; recorded %d bytes by %s", s.memory(t)>>10, first>>10, players[0].received(), players[0].name)
		}
		for _, p := range publishers {
			p.requireRunning(t)
		}
		for _, p := range players {
			p.requireRunning(t)
		}
	}
	s.stop(t)
	for _, p := range players {
		p.wait(t, p.codes...)
		requireLoop(t, p.file, sent)
		got, err := probe(t.Context(), p.file)
		if err != nil {
			t.Fatal(err)
		}
		frames := got.video.frames
		if played := time.Duration(frames[len(frames)-1].dts-frames[0].dts) * time.Millisecond; played < length-10*time.Second {
			t.Errorf("%s played %v of %v", p.name, played, length)
		}
	}
}
