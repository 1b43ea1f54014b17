//go:build interop

package interop_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/gateway/admin"
	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
)

// inApp is a stream's address in another application.
func inApp(url, app string) string { return strings.Replace(url, "/live/", "/"+app+"/", 1) }

// relays asks a gateway for its pushes and pulls, by target.
func (s *server) relays(t *testing.T) map[string]admin.Relay {
	t.Helper()
	var list struct{ Relays []admin.Relay }
	if err := json.Unmarshal([]byte(s.get(t, "/api/v1/relays")), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]admin.Relay{}
	for _, r := range list.Relays {
		out[r.Target] = r
	}
	return out
}

// awaitRelay waits until a target has a stream in a state.
func (s *server) awaitRelay(t *testing.T, target, state string) {
	t.Helper()
	eventually(t, target+" to be "+state, func() bool {
		for _, one := range s.relays(t)[target].Streams {
			if one.State == state {
				return true
			}
		}
		return false
	})
}

// From gateway to gateway over every transport, pushed and then pulled: the same packets with the same times at the far end.
func TestRelayChain(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	middle := serve(t)
	var push, pull strings.Builder
	for _, transport := range transports {
		fmt.Fprintf(&push, "{to: %q, linger: 0s, ca: %q}, ", middle.url(t, transport, "{name}-"+transport), middle.ca)
		fmt.Fprintf(&pull, "\n  by-%s: {pull: {from: %q, ca: %q}}", transport, middle.url(t, transport, "{name}"), middle.ca)
	}
	first := serve(t, "apps: {live: {push: ["+push.String()+"]}}")
	last := serve(t, "apps:"+pull.String())
	var players []*player
	for i, transport := range transports {
		for _, pushed := range []string{transport, transports[(i+1)%len(transports)]} {
			play := playFFmpeg
			if pushed == "rtmps" {
				play = playRTMPDump
			}
			players = append(players, play(t, inApp(last.url(t, "rtmp", "film-"+pushed), "by-"+transport)))
		}
	}
	// The pulls are there before the publisher, so that its end finds nobody who still comes.
	eventually(t, "all pulls", func() bool {
		waiting := 0
		for _, r := range last.relays(t) {
			for _, one := range r.Streams {
				if one.State == "waiting" {
					waiting++
				}
			}
		}
		return waiting == len(players)
	})
	publishFFmpeg(t, film.file(t), first.url(t, "rtmp", "film")).wait(t)
	for _, p := range players {
		p.require(t, film.media(t), anywhere, exact)
	}
}

func TestPushToNginx(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	n := serveNginx(t)
	s := serve(t, fmt.Sprintf(`apps: {live: {push: [{name: nginx, to: "rtmp://%s/live/{name}-copy", linger: 1s}]}}`, n.addr))
	there := "rtmp://" + n.addr + "/live/"
	p := playFFmpeg(t, there+"film-copy")
	publisher := publishFFmpeg(t, film.file(t), s.url(t, "rtmp", "film"))
	s.awaitRelay(t, "nginx", "live")
	late := playFFmpeg(t, there+"film-copy")
	publisher.wait(t)
	p.require(t, film.media(t), anywhere, exact)
	late.require(t, film.media(t), anywhere, exact)
	s.wantsLog(t, `"message":"relay connected"`, `"target":"nginx"`)
	s.wantsLog(t, `"message":"relay ended"`)
	if r := s.relays(t)["nginx"]; r.SentBytes < 500_000 || r.LastError != "" || len(r.Streams) != 0 {
		t.Errorf("%+v", r)
	}
}

// A publisher that returns in time goes on in the same broadcast: players of nginx stay, and see time go on.
func TestPushSurvivesThePublishersReturn(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	n := serveNginx(t)
	s := serve(t, fmt.Sprintf(`apps: {live: {push: [{name: nginx, to: "rtmp://%s/live/{name}-copy", linger: 4s}]}}`, n.addr))
	there := "rtmp://" + n.addr + "/live/"
	again := sequel.file(t) // made now: it takes longer than the target is kept
	staying := playFFmpeg(t, there+"returns-copy")
	publisher := publishFFmpeg(t, film.file(t), s.url(t, "rtmp", "returns"))
	staying.awaitPart(t, film, 40)
	publisher.kill()
	s.awaitRelay(t, "nginx", "waiting")
	publishFFmpeg(t, again, s.url(t, "rtmp", "returns")).wait(t)
	staying.wait(t, staying.codes...)
	n.logged(t, "PUBLISH", `"returns-copy"`)
	if log, err := os.ReadFile(n.log); err != nil || strings.Count(string(log), "PUBLISH") != 1 {
		t.Errorf("nginx saw other broadcasts than one (%v):\n%s", err, log)
	}
	got, err := probe(t.Context(), staying.file)
	if err != nil {
		t.Fatal(err)
	}
	problems := rising("video", got.video, exact)
	at := -1
	for i, f := range got.video.frames {
		if f.hash == sequel.media(t).video.frames[0].hash {
			at = i
		}
	}
	if at < 60 || len(got.video.frames)-at != len(sequel.media(t).video.frames) || len(problems) > 0 {
		t.Errorf("the second publisher begins at frame %d of %d; %v", at, len(got.video.frames), problems)
	}
}

// One connection to nginx for twenty players and two real ones, who begin with the first frame that nginx sends and end with the stream.
func TestPullFromNginx(t *testing.T) {
	need(t, "ffmpeg", "rtmpdump")
	t.Parallel()
	n := serveNginx(t)
	way := newPassage(t, n.addr)
	s := serve(t, fmt.Sprintf(`apps: {live: {pull: {from: "rtmp://%s/live/{name}", idle: 1s}}}`, way.addr()))
	url := s.url(t, "rtmp", "film")
	players := []*player{playFFmpeg(t, url), playRTMPDump(t, s.url(t, "rtmpt", "film"))}
	var many []*light
	for range 20 {
		many = append(many, joined(t, playLight, url))
	}
	publisher := publishFFmpeg(t, film.file(t), "rtmp://"+n.addr+"/live/film")
	var counting sync.WaitGroup
	counts := make([]int, len(many))
	for i, l := range many {
		counting.Go(func() { // ends with the stream; waited below
			for {
				if _, err := l.next(); err != nil {
					return
				}
				counts[i]++
			}
		})
	}
	players[0].awaitPart(t, film, 30)
	if n := way.count(); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
	late := playFFmpeg(t, url)
	publisher.wait(t)
	for _, p := range append(players, late) {
		p.require(t, film.media(t), anywhere, exact)
	}
	counting.Wait()
	for _, c := range counts {
		if c != counts[0] || c < 300 {
			t.Errorf("the twenty players got %d messages", counts)
			break
		}
	}
	if taken := way.taken.Load(); taken != 1 {
		t.Errorf("%d connections to the origin in all", taken)
	}
	for _, l := range many {
		l.Close()
	}
	eventually(t, "the end of the connection to the origin", func() bool { return way.count() == 0 })
}

// The origin is killed and comes back elsewhere: players stay and see one time line.
func TestPullOriginRestarted(t *testing.T) {
	t.Parallel()
	origin := serveNginx(t)
	way := newPassage(t, origin.addr)
	s := serve(t, fmt.Sprintf(`apps: {live: {pull: "rtmp://%s/live/{name}"}}`, way.addr()))
	feed := publishLoopFFmpeg(t, film.file(t), "rtmp://"+origin.addr+"/live/a")
	v := joined(t, playLight, s.url(t, "rtmp", "a"))
	last := chunk.Timestamp(0)
	read := func(n int) (first chunk.Timestamp, key bool) {
		t.Helper()
		for i := 0; i < n; {
			m, err := v.ReadMessage()
			if err != nil {
				t.Fatalf("the player: %v", err)
			}
			if m.TypeID == videoType {
				if m.Timestamp.Sub(last) < 0 && last > 0 {
					t.Fatalf("time goes from %d to %d", last, m.Timestamp)
				}
				h := flv.ParseVideo(m.Head())
				if i == 0 && h.IsFrame() {
					first, key = m.Timestamp, h.IsKeyframe()
				}
				last = m.Timestamp
				if h.IsFrame() {
					i++
				}
			}
			m.Release()
		}
		return first, key
	}
	read(60)
	began, before := time.Now(), last
	origin.kill()
	feed.kill()
	way.lead("")
	s.wantsLog(t, `"message":"relay failed"`, `"relay":"pull"`, `"retry":`)
	again := serveNginx(t)
	publishLoopFFmpeg(t, film.file(t), "rtmp://"+again.addr+"/live/a")
	way.lead(again.addr)
	// What was on its way comes first.
	for {
		first, key := read(1)
		if key && first.Sub(before) > 1000 {
			break
		}
		if time.Since(began) > patience {
			t.Fatal("the stream does not come back")
		}
	}
	if gap, passed := time.Duration(last.Sub(before))*time.Millisecond, time.Since(began); gap > passed+5*time.Second {
		t.Errorf("time went on by %v in %v", gap, passed)
	}
	read(60)
	if r := s.relays(t)["rtmp://"+way.addr()+"/live"]; r.Retries == 0 || r.LastError == "" {
		t.Errorf("%+v", r)
	}
}

// A target that never answers, one that stops in the middle of the stream, and a healthy one: that one, a player and the publisher notice nothing.
func TestPushStalledTarget(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	healthy, stopped := serve(t), serve(t)
	s := serve(t, fmt.Sprintf(`apps: {live: {push: [{name: deaf, to: "rtmp://%s/live/{name}"}, {name: stopped, to: %q}, {name: healthy, to: %q}]}}
limits: {queue: 1MiB, queue_close: 4MiB, write_timeout: 4s}`, deaf.Addr(), stopped.url(t, "rtmp", "{name}"), healthy.url(t, "rtmp", "{name}")))
	ctx := background(t)
	publisher := joined(t, publishLight, s.url(t, "rtmp", "a"))
	frame := make([]byte, 64<<10)
	sent := 0
	send := func(n int) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range n {
			copy(frame, []byte{0x27, 1, 0, 0, 0})
			if sent%20 == 0 {
				frame[0] = 0x17
			}
			binary.BigEndian.PutUint64(frame[5:], uint64(sent))
			began := time.Now()
			if err := errors.Join(publisher.Send(chunk.NewMessage(videoType, publisher.id, chunk.Timestamp(10*sent), frame)), publisher.Flush(ctx)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the publisher waited %v", took)
			}
			sent++
			<-tick.C
		}
	}
	send(5)
	s.awaitRelay(t, "healthy", "live")
	s.awaitRelay(t, "stopped", "live")
	player := joined(t, playLight, healthy.url(t, "rtmp", "a"))
	watched := make(chan error, 1)
	go func() { watched <- consecutive(player) }() // ends with the stream; waited below
	stopped.signal(t, syscall.SIGSTOP)
	send(400) // 25 MB
	if r := s.relays(t)["stopped"]; r.Dropped == 0 {
		t.Errorf("the stopped target lost nothing: %+v", r)
	}
	s.wantsLog(t, `"message":"relay failed"`, `"target":"stopped"`, `"reason":"stalled"`)
	s.wantsLog(t, `"message":"relay failed"`, `"target":"deaf"`, `"reason":"timeout"`)
	stopped.signal(t, syscall.SIGCONT)
	s.awaitRelay(t, "stopped", "live")
	send(20)
	if err := errors.Join(publisher.Unpublish(publisher.id, "a"), publisher.Flush(ctx)); err != nil {
		t.Fatal(err)
	}
	s.awaitRelay(t, "healthy", "waiting")
	if r := s.relays(t)["healthy"]; r.Dropped != 0 || r.LastError != "" {
		t.Errorf("the healthy target: %+v", r)
	}
	s.signal(t, syscall.SIGTERM) // tells the targets
	s.wait(t)
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// consecutive reads frames with numbers until the end of the stream; none may be missing.
func consecutive(player *light) error {
	next := int64(-1)
	for {
		b, err := player.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			if next < 400 {
				return fmt.Errorf("the stream ended after frame %d", next)
			}
			return nil
		}
		if err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint64(b[5:]))
		if next >= 0 && n != next {
			return fmt.Errorf("frame %d came instead of %d", n, next)
		}
		next = n + 1
	}
}

// Everything that can be wrong with the other side is said once for each attempt, with a reason and without a secret, and disturbs nobody.
func TestRelayFailures(t *testing.T) {
	t.Parallel()
	ctx := background(t)
	guarded := serve(t, `apps: {live: {publish: {keys: [the-right-k3y]}, play: "off"}}`)
	garbage := answer(t, func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("garbage ", 1000))) })
	absurd := answer(t, func(c net.Conn) {
		hello := make([]byte, 1537)
		if _, err := io.ReadFull(c, hello); err != nil {
			return
		}
		answer := append([]byte{3}, make([]byte, 2*1536)...)
		_, _ = c.Write(append(answer, header0(6, 0xFFFFFF, 9, 1)...)) // a frame of 16 MiB
		_, _ = io.Copy(io.Discard, c)
	})
	hangsUp := answer(t, func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 100)) })
	web := answer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	})
	nobody := reserve(t)
	wants := map[string]struct{ to, reason, word string }{
		"wrong-key":   {guarded.url(t, "rtmp", "{name}?key=the-wr0ng-key"), "rejected", "publish key is wrong"},
		"garbage":     {"rtmp://" + garbage + "/live/{name}", "protocol", "does not speak RTMP"},
		"absurd":      {"rtmp://" + absurd + "/live/{name}", "limit", "16777215"},
		"hangs-up":    {"rtmp://" + hangsUp + "/live/{name}", "lost", ""},
		"web":         {"rtmpt://" + web + "/live/{name}", "lost", "404"},
		"nobody":      {"rtmp://" + nobody + "/live/{name}", "refused", "nothing listens"},
		"no-name":     {"rtmp://no-such-host.invalid/live/{name}", "dns", "has no address"},
		"no-tls":      {"rtmps://" + guarded.addr(t, "rtmp") + "/live/{name}", "", ""},
		"unknown-ca":  {guarded.url(t, "rtmps", "{name}"), "tls", "not trusted"},
		"no-password": {"rtmp://user:s3cret-w0rd@" + guarded.addr(t, "rtmp") + "/live/{name}", "rejected", ""},
	}
	var push, pulls strings.Builder
	for name, w := range wants {
		fmt.Fprintf(&push, "{name: %s, to: %q}, ", name, w.to)
		fmt.Fprintf(&pulls, "\n  pull-%s: {wait: false, pull: %q}", name, w.to)
	}
	s := serve(t, "apps:\n  \"*\": {}\n  pushed: {push: ["+push.String()+"]}"+pulls.String())
	joined(t, publishLight, inApp(s.url(t, "rtmp", "a"), "pushed"))
	for name, w := range wants {
		t.Run(name, func(t *testing.T) {
			eventually(t, "the second failure", func() bool { return s.relays(t)[name].Retries >= 1 })
			r := s.relays(t)[name]
			if w.reason != "" && r.LastReason != w.reason || !strings.Contains(r.LastError, w.word) {
				t.Errorf("%s: %s", r.LastReason, r.LastError)
			}
			_, err := playLight(ctx, inApp(s.url(t, "rtmp", "a"), "pull-"+name))
			var refused *rtmpcore.StatusError
			if !errors.As(err, &refused) || refused.Code != "NetStream.Play.StreamNotFound" {
				t.Errorf("the player was told %v", err)
			}
		})
	}
	checkFresh(t, s.url(t, "rtmp", "beside"))
	metrics := s.get(t, "/metrics")
	for _, want := range []string{
		`culvert_relay_failures_total{app="pushed",kind="push",reason="dns",target="no-name"}`,
		`culvert_relay_streams{app="pushed",kind="push",state="live",target="garbage"} 0`,
		`culvert_relay_last_error_timestamp_seconds{app="pushed",kind="push",reason="limit",target="absurd"}`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	for _, text := range []string{metrics, s.get(t, "/api/v1/relays"), s.out.String()} {
		for _, secret := range []string{"the-wr0ng-key", "s3cret-w0rd"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows in %.200s", secret, text)
			}
		}
	}
}

// A gateway that is its own target, by its own address and behind another address, says so.
func TestRelayLoop(t *testing.T) {
	t.Parallel()
	port := reserve(t)
	way := newPassage(t, port)
	config := filepath.Join(t.TempDir(), "culvert.yaml")
	write(t, config, fmt.Sprintf(`log: {format: json}
listen: {rtmp: %q, http: "", https: "", admin: "127.0.0.1:0"}
tls: {mode: "off"}
apps:
  live:
    push: [{name: direct, to: "rtmp://%s/live/{name}-again"}, {name: detour, to: "rtmp://%s/live/{name}-again"}]
  mirror: {wait: false, pull: "rtmp://%s/mirror/{name}"}
`, port, port, way.addr(), way.addr()))
	s := serveArgs(t, "serve", "-c", config)
	joined(t, publishLight, s.url(t, "rtmp", "a"))
	s.wantsLog(t, `"level":"error"`, `"target":"direct"`, `"reason":"loop"`, "this gateway's own")
	s.wantsLog(t, `"target":"detour"`, `"reason":"rejected"`, "a relay loop")
	if _, err := playLight(background(t), inApp(s.url(t, "rtmp", "x"), "mirror")); err == nil {
		t.Error("a mirror of nothing was played")
	}
	s.wantsLog(t, `"relay":"pull"`, "a relay loop")
	if streams := s.get(t, "/api/v1/streams"); strings.Contains(streams, "again") {
		t.Errorf("streams: %s", streams)
	}
}

// The ways to prove user and password, as a client: what ffmpeg is let in with lets the gateway in, and nothing else does.
func TestAuthmods(t *testing.T) {
	need(t, "ffmpeg")
	for _, authmod := range []string{"adobe", "llnw"} {
		for _, app := range []string{"live", "live/studio-1"} {
			t.Run(authmod+"/"+app, func(t *testing.T) {
				t.Parallel()
				testAuthmod(t, authmod, app)
			})
		}
	}
}

func testAuthmod(t *testing.T, authmod, app string) {
	t.Helper()
	addr := serveAsking(t, asking{authmod, "studio", "pa55-word"})
	url := "rtmp://studio:pa55-word@" + addr + "/" + app + "/film"
	publishFFmpeg(t, film.file(t), url, "-rtmp_app", app, "-rtmp_playpath", "film", "-t", "1").wait(t)
	for name, test := range map[string]struct {
		user, password string
		want           error
	}{
		"right":          {"studio", "pa55-word", nil},
		"wrong password": {"studio", "guess", client.ErrLogin},
		"wrong user":     {"nobody", "pa55-word", client.ErrLogin},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := client.ParseTarget("rtmp://" + addr + "/" + app + "/a")
			if err != nil {
				t.Fatal(err)
			}
			target.User, target.Password = test.user, test.password
			c, err := client.Connect(background(t), target, client.Options{})
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%v", err)
			}
			if err == nil {
				c.Close()
			} else if strings.Contains(err.Error(), test.password) {
				t.Errorf("the password shows: %v", err)
			}
		})
	}
	s := serve(t, fmt.Sprintf(`apps: {live: {push: [{name: there, to: %q}]}, pulled: {pull: {from: %q}}}`, url, strings.Replace(url, "/film", "/{name}", 1)))
	joined(t, publishLight, s.url(t, "rtmp", "a"))
	s.awaitRelay(t, "there", "live")
	v := joined(t, playLight, inApp(s.url(t, "rtmp", "a"), "pulled"))
	for {
		b, err := v.next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(b), "let in") {
			return
		}
	}
}
