package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/gateway/app"
	"culvert/gateway/relay"
)

// A push begins with metadata, sequence headers and the last keyframe, and is written to the server as a publisher would.
func TestPushFromKeyframe(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		target := n.add("target", nil)
		target.switchOff(true)
		g := n.add("g", pushTo("rtmp://target/live/{name}-copy?key={name}"))
		v := target.play("a b-copy")
		s := g.broadcast("a b", 0, keyframe("one"))
		s.audio(10, sound("lost with the frames before the last keyframe"))
		s.video(40, keyframe("two"))
		s.video(80, interframe("three"))
		time.Sleep(10 * time.Second)
		target.switchOff(false)
		time.Sleep(time.Minute)
		all := v.requireStart(keyframe("two"), interframe("three"))
		if all[1].at != 40 || all[4].at != 80 {
			t.Errorf("times %v", all)
		}
		s.video(120, interframe("four"))
		s.audio(121, sound("five"))
		v.requireGot(interframe("four"), sound("five"))
		calls := target.called()
		if last := calls[len(calls)-1].t; last.Name != "a b-copy?key=a+b" || last.App != "live" {
			t.Errorf("published as %+v", last)
		}
		if g.state() != relay.Live || g.logged("relay connected", `"target":"rtmp://target:1935/live"`) != 1 {
			t.Errorf("state %v, log:\n%s", g.state(), g.log)
		}
		if s := g.status(); s.Sent == 0 || s.Received == 0 || s.Failures["refused"] != uint64(len(calls)-1) || s.Retries != uint64(len(calls)-1) || s.LastReason != "refused" {
			t.Errorf("%+v", s)
		}
		s.pub.Close()
		time.Sleep(14 * time.Second)
		if v.told() != 0 || g.state() != relay.Waiting {
			t.Errorf("the target was told of the end at once; state %v", g.state())
		}
		time.Sleep(2 * time.Second)
		if v.told() != 1 || g.state() != "" || target.hub.Published(key("a b-copy")) {
			t.Errorf("the target was told of the end %d times; state %v", v.told(), g.state())
		}
	})
}

// A publisher that returns goes on in the same broadcast, on one time line.
func TestPushSurvivesThePublishersReturn(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		target := n.add("target", nil)
		g := n.add("g", pushTo("rtmp://target/live/{name}"))
		v := target.play("a")
		s := g.broadcast("a", 5000, keyframe("one"))
		v.requireStart(keyframe("one"))
		s.pub.Close()
		time.Sleep(10 * time.Second)
		s = g.broadcast("a", 0, keyframe("two"))
		all := v.requireStart(keyframe("two"))
		if at := all[3].at; at < 15_000 || at > 15_100 {
			t.Errorf("time goes on at %d ms", at)
		}
		if calls := target.called(); len(calls) != 1 || v.told() != 0 {
			t.Errorf("%d connections, the end was told %d times", len(calls), v.told())
		}
		// A target that was lost while nobody publishes is left alone until somebody does.
		s.pub.Close()
		target.switchOff(true)
		time.Sleep(8 * time.Second)
		failed := len(target.called())
		target.switchOff(false)
		g.broadcast("a", 0, keyframe("three"))
		time.Sleep(30 * time.Second)
		if calls := len(target.called()); failed != 0 || calls != 1 || g.state() != relay.Live {
			t.Errorf("%d connections while nobody published, then %d; state %v", failed, calls, g.state())
		}
	})
}

// Each target has its own fate; pauses grow, with jitter, and are logged.
func TestPushBackOff(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		good, bad := n.add("good", nil), n.add("bad", nil)
		bad.switchOff(true)
		g := n.add("g", pushTo("rtmp://bad/live/{name}", "rtmp://nowhere/live/{name}", "rtmp://good/live/{name}"))
		s := g.broadcast("a", 0, keyframe("one"))
		v := good.play("a")
		v.requireStart(keyframe("one"))
		time.Sleep(5 * time.Minute)
		calls := bad.called()
		if len(calls) < 10 || len(calls) > 30 {
			t.Fatalf("%d attempts in 5 minutes", len(calls))
		}
		want, early := time.Second, 0
		for i := 1; i < len(calls); i++ {
			pause := calls[i].at.Sub(calls[i-1].at)
			if pause < want/2 || pause > want+time.Millisecond {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, want/2, want)
			}
			if pause < want-time.Millisecond {
				early++
			}
			want = min(2*want, 30*time.Second)
		}
		if early == 0 {
			t.Error("no jitter")
		}
		if lines := g.logged("relay failed", `"reason":"refused"`, `"retry":`); lines != len(calls) {
			t.Errorf("%d lines for %d failures", lines, len(calls))
		}
		if g.logged("relay failed", `"reason":"dns"`) == 0 {
			t.Error("the name without an address is not in the log")
		}
		s.video(40, interframe("two"))
		v.requireGot(interframe("two"))
	})
}

// The pauses begin anew after a connection that has held.
func TestPushBackOffBeginsAnew(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		target := n.add("target", nil)
		target.switchOff(true)
		g := n.add("g", pushTo("rtmp://target/live/{name}"))
		g.broadcast("a", 0, keyframe("one"))
		for _, tt := range []struct {
			held time.Duration
			anew bool
		}{{29 * time.Second, false}, {31 * time.Second, true}} {
			time.Sleep(5 * time.Minute)
			target.switchOff(false)
			g.await(relay.Live)
			time.Sleep(tt.held)
			target.called()
			lost := time.Now()
			target.switchOff(true)
			time.Sleep(40 * time.Second)
			if pause := target.called()[0].at.Sub(lost); (pause <= time.Second) != tt.anew {
				t.Errorf("a connection that held for %v was tried again after %v", tt.held, pause)
			}
		}
	})
}

// A target that never answers, and one that stops reading in the middle: the healthy one and the source notice nothing.
func TestPushStalledTargets(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		good, deaf, slow := n.add("good", nil), n.add("deaf", nil), n.add("slow", nil)
		deaf.deaf = true
		g := n.add("g", func(p *app.Policy, c *relay.Config) {
			pushTo("rtmp://deaf/live/{name}", "rtmp://slow/live/{name}", "rtmp://good/live/{name}")(p, c)
			c.Client.Send.Queue, c.Client.Send.QueueClose = 64<<10, 128<<10
		})
		v := good.play("a")
		s := g.broadcast("a", 0, keyframe("one"))
		v.requireStart(keyframe("one"))
		slow.mu.Lock()
		slow.deaf = true // for the connections to come
		slow.mu.Unlock()
		stop := slow.freeze()
		big := strings.Repeat("x", 20_000)
		began := time.Now()
		for i := range 20 {
			s.video(40*i, interframe(fmt.Sprint(i, big)))
			time.Sleep(40 * time.Millisecond)
		}
		if took := time.Since(began); took != 800*time.Millisecond {
			t.Errorf("the source waited %v", took)
		}
		if all := v.take(); len(all) != 20 {
			t.Errorf("the healthy target got %d frames of 20", len(all))
		}
		if slowStatus := g.relay.Status()[1]; slowStatus.Dropped == 0 {
			t.Errorf("nothing dropped: %+v", slowStatus)
		}
		if g.logged("warn", "target reads too slowly: frames are dropped", "slow") != 1 || g.logged("target has missed frames") != 0 {
			t.Errorf("log:\n%s", g.log)
		}
		dropped := g.relay.Status()[1].Dropped
		time.Sleep(40 * time.Second)
		if g.logged("target reads too slowly") != 1 || g.logged(fmt.Sprintf(`"dropped":%d,"message":"target has missed frames"`, dropped)) != 1 {
			t.Errorf("%d dropped, log:\n%s", dropped, g.log)
		}
		statuses := g.relay.Status()
		if statuses[0].Failures["timeout"] < 2 || statuses[1].Failures["stalled"] != 1 || statuses[1].Failures["timeout"] == 0 {
			t.Errorf("failures: %v, %v", statuses[0].Failures, statuses[1].Failures)
		}
		s.video(60_000, interframe("late"))
		v.requireGot(interframe("late"))
		stop()
	})
}

// A gateway does not push to itself: by address, and by way of another gateway.
func TestPushLoops(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		self := n.add("self", func(p *app.Policy, c *relay.Config) {
			pushTo("rtmp://self/live/{name}")(p, c)
			c.Self = isAddr("self")
		})
		self.publish("a").begin()
		time.Sleep(4 * time.Minute)
		if self.logged("relay failed", `"level":"error"`, "relay loop") != 1 || len(self.called()) != 0 {
			t.Errorf("log:\n%s", self.log)
		}
		// a → b → c → a
		a, b, c := n.add("a", pushTo("rtmp://b/live/{name}")), n.add("b", pushTo("rtmp://c/live/{name}")), n.add("c", pushTo("rtmp://a/live/{name}"))
		a.publish("x").begin()
		time.Sleep(10 * time.Second)
		if a.state() != relay.Live || b.state() != relay.Live || c.state() != relay.Retrying {
			t.Errorf("states %v %v %v", a.state(), b.state(), c.state())
		}
		if c.logged("relay failed", `"reason":"rejected"`, "relay loop") == 0 {
			t.Errorf("log of c:\n%s", c.log)
		}
	})
}

// What servers repeat of an address is hidden.
func TestPushHidesSecrets(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.add("target", func(p *app.Policy, _ *relay.Config) { p.Publish.Keys = nil }).publish("s3cret-name")
		g := n.add("g", pushTo("rtmp://target/live/s3cret-name?key=s3cret-value"))
		g.publish("a").begin()
		time.Sleep(10 * time.Second)
		if g.logged("relay failed", "***", "has a publisher already") == 0 || g.logged("s3cret") != 0 {
			t.Errorf("log:\n%s", g.log)
		}
		if s := g.status(); strings.Contains(fmt.Sprintf("%+v", s), "s3cret") || s.LastError == "" {
			t.Errorf("%+v", s)
		}
	})
}

// Close tells the targets at once.
func TestPushClose(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		target := n.add("target", nil)
		g := n.add("g", pushTo("rtmp://target/live/{name}"))
		v := target.play("a")
		s := g.publish("a")
		s.begin()
		v.requireStart()
		s.audio(10, sound("last"))
		g.relay.Close()
		v.requireGot(sound("last"))
		if v.told() != 1 {
			t.Error("the target was not told")
		}
		s.pub.Close()
		g.publish("b").pub.Close()
		time.Sleep(time.Minute)
		if calls := target.called(); len(calls) != 1 {
			t.Errorf("%d connections", len(calls))
		}
	})
}
