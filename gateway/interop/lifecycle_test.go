//go:build interop

package interop_test

import (
	"strings"
	"syscall"
	"testing"
)

func TestAudioOnly(t *testing.T) { oneTrack(t, radio) }
func TestVideoOnly(t *testing.T) { oneTrack(t, silent) }

// oneTrack plays a stream that has only audio or only video.
func oneTrack(t *testing.T, c *clip) {
	t.Helper()
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	s := serve(t)
	for _, transport := range []string{"rtmp", "rtmpt"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			url := s.url(t, transport, "one-"+transport)
			players := []*player{playFFmpeg(t, url), playRTMPDump(t, url)}
			publisher := publishFFmpeg(t, c.file(t), url)
			players[0].awaitPart(t, c, 30)
			players = append(players, playFFmpeg(t, url), playRTMPDump(t, url))
			publisher.wait(t)
			for _, p := range players {
				p.require(t, c.media(t).by(transport), anywhere, exact)
			}
			requireSameEnd(t, players)
		})
	}
}

// A player that came before the publisher gets the first frame and all others.
func TestPlayerFirst(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for name, play := range map[string]play{"ffmpeg": playFFmpeg, "rtmpdump": playRTMPDump} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := s.url(t, "rtmp", "first-"+name)
			wire, through := newTap(t, url)
			p := play(t, through)
			awaitPlaying(t, wire)
			publishFFmpeg(t, film.file(t), url).wait(t)
			p.require(t, film.media(t), fromStart, exact)
		})
	}
}

// awaitPlaying waits until the gateway knows of a player: its play command was sent and something came back for it.
func awaitPlaying(t *testing.T, wire *tap) {
	t.Helper()
	wire.await(t, c2s, "\x02\x00\x04play")
	wire.await(t, s2c, "NetStream.Play.")
}

// Who comes late starts at a key frame, at once: the last key frame before, or the next one, but not frames between them.
func TestLateJoin(t *testing.T) {
	need(t, "rtmpdump", "ffmpeg")
	t.Parallel()
	s := serve(t)
	url := s.url(t, "rtmp", "late")
	early := playFFmpeg(t, url)
	publisher := publishFFmpeg(t, film.file(t), url)
	var players []*player
	for _, percent := range []int64{25, 50, 70} {
		early.awaitPart(t, film, percent)
		players = append(players, playRTMPDump(t, url), playFFmpeg(t, url))
	}
	publisher.wait(t)
	for _, p := range players {
		p.require(t, film.media(t), late, exact)
	}
	early.require(t, film.media(t), anywhere, exact)
}

// A publisher ends, in good order or by being killed, and another one takes the name: a player that waits meanwhile gets the second stream from its start.
func TestPublisherComesBack(t *testing.T) {
	t.Parallel()
	// A publisher that dies in the tunnel has no connection that breaks: its session has to run out.
	s := serve(t, `limits: {tunnel: {idle_timeout: 3s, open_timeout: 3s}}`)
	for _, transport := range []string{"rtmp", "rtmpt"} {
		for name, end := range map[string]func(*process){
			"after its end":   func(p *process) { p.wait(t) },
			"after its death": func(p *process) { p.kill() },
		} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				url := s.url(t, transport, transport+strings.ReplaceAll(name, " ", "-"))
				plain := s.url(t, "rtmp", transport+strings.ReplaceAll(name, " ", "-"))
				before := playRTMPDump(t, url)
				publisher := publishFFmpeg(t, film.file(t), url)
				before.awaitPart(t, film, 40)
				end(publisher)
				before.wait(t, before.codes...)

				wire, through := newTap(t, plain)
				waiting := playFFmpeg(t, through)
				awaitPlaying(t, wire)
				publishFFmpeg(t, sequel.file(t), url).wait(t)
				waiting.require(t, sequel.media(t).by(transport), fromStart, exact)
			})
		}
	}
}

// Two publishers want one name: the second is refused by name and cut off, the first and its player notice nothing.
func TestSecondPublisherRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	url := s.url(t, "rtmp", "taken")
	p := playFFmpeg(t, url)
	first := publishLoopFFmpeg(t, film.file(t), url)
	p.awaitPart(t, film, 20)
	for _, transport := range transports {
		wire, through := newTap(t, s.url(t, transport, "taken"))
		second := publishFFmpeg(t, sequel.file(t), through)
		// What ffmpeg calls an error, and which of its codes it then ends with, differs from transport to transport.
		second.requireRefused(t)
		if transport == "rtmp" || transport == "rtmpt" {
			if !wire.saw(s2c, "NetStream.Publish.BadName") {
				t.Errorf("over %s the second publisher was not told NetStream.Publish.BadName", transport)
			}
		}
		if transport == "rtmp" && !wire.endedByGateway() {
			t.Error("the gateway did not end the second publisher's connection")
		}
	}
	first.requireRunning(t)
	first.signal(t, syscall.SIGTERM) // ffmpeg then ends its stream in good order, with exit code 255
	first.wait(t, 255)
	p.wait(t, p.codes...)
	requireLoop(t, p.file, film.media(t))
}

// SIGTERM while streams run: the gateway ends by itself with 0, players end by themselves and have all until then without a gap.
func TestGracefulStop(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	s := serve(t)
	var players []*player
	for _, transport := range transports {
		url := s.url(t, transport, "stop-"+transport)
		players = append(players, playFFmpeg(t, url), playRTMPDump(t, url))
		publishLoopFFmpeg(t, film.file(t), url)
	}
	for _, p := range players {
		p.awaitPart(t, film, 30)
	}
	s.signal(t, syscall.SIGTERM)
	for _, p := range players {
		p.wait(t, p.codes...)
		requireLoop(t, p.file, film.media(t))
	}
	s.wait(t)
}
