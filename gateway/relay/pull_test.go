package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/gateway/app"
	"culvert/gateway/relay"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
)

// One connection brings the stream to all players; it begins with the first and ends some time after the last.
func TestPullForManyPlayers(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin := n.add("origin", nil)
		g := n.add("g", pullFrom("rtmp://origin/live/{name}?k={name}", nil))
		s := origin.broadcast("a", 7000, keyframe("one"))
		var players []*viewer
		for range 20 {
			players = append(players, g.play("a"))
		}
		for _, v := range players {
			all := v.requireStart(keyframe("one"))
			if all[3].at != 7000 {
				t.Errorf("the keyframe is at %d", all[3].at)
			}
		}
		s.video(7040, interframe("two"))
		for _, v := range players {
			v.requireGot(interframe("two"))
		}
		if calls := origin.called(); len(calls) != 1 || calls[0].t.Name != "a?k=a" || origin.connections() != 1 {
			t.Errorf("connections to the origin: %+v", calls)
		}
		if g.state() != relay.Live || g.status().Received == 0 {
			t.Errorf("%+v", g.status())
		}
		for _, v := range players {
			v.close()
		}
		time.Sleep(9 * time.Second)
		back := g.play("a")
		back.requireStart(keyframe("one"), interframe("two"))
		back.close()
		time.Sleep(9 * time.Second)
		if origin.connections() != 1 {
			t.Error("ended too early")
		}
		time.Sleep(2 * time.Second)
		if origin.connections() != 0 || g.state() != "" || g.hub.Published(key("a")) {
			t.Errorf("%d connections to the origin 11 s after the last player, state %q", origin.connections(), g.state())
		}
	})
}

// Players who may wait do; the others are told that there is no such stream, and the origin is spared.
func TestPullOfNothing(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin := n.add("origin", func(p *app.Policy, _ *relay.Config) { p.Wait = false })
		silent := n.add("silent", nil)
		waits := n.add("waits", pullFrom("rtmp://origin/live/{name}", nil))
		refuses := n.add("refuses", pullFrom("rtmp://origin/live/{name}", func(p *app.Policy, _ *relay.Pull) { p.Wait = false }))
		both := n.add("both", pullFrom("rtmp://silent/live/{name}", func(p *app.Policy, _ *relay.Pull) { p.Wait = false }))
		if _, err := refuses.tryPlay("a"); err == nil || refuses.logged("play refused", "nobody publishes") != 1 {
			t.Errorf("the player of nothing: %v", err)
		}
		began := time.Now()
		if _, err := refuses.tryPlay("a"); err == nil || time.Since(began) > time.Second || len(origin.called()) != 1 {
			t.Errorf("the second player of nothing: %v after %v", err, time.Since(began))
		}
		if _, err := both.tryPlay("a"); err == nil {
			t.Error("an origin that sends nothing is no stream")
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second || silent.connections() != 0 {
			t.Errorf("the silent origin cost the player %v; %d connections are left", took, silent.connections())
		}
		time.Sleep(time.Minute)
		if refuses.state() != "" || origin.connections() != 0 {
			t.Errorf("state %q a minute later", refuses.state())
		}
		origin.called()
		v := waits.play("a")
		time.Sleep(10 * time.Minute)
		if calls := len(origin.called()); calls < 20 || calls > 45 {
			t.Errorf("the origin was asked %d times in 10 minutes", calls)
		}
		origin.broadcast("a", 0, keyframe("one"))
		waits.await(relay.Live)
		v.requireStart(keyframe("one"))
		if _, err := refuses.tryPlay("a"); err != nil {
			t.Errorf("the player of something: %v", err)
		}
	})
}

// The origin dies and returns: players stay, and time goes on for them.
func TestPullOriginLost(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(nil)
		s := origin.broadcast("a", 0, keyframe("one"))
		v := g.play("a")
		v.requireStart(keyframe("one"))
		sent := s.frames(1, 5)
		all := v.requireGot(sent...)
		last := all[len(all)-1].at
		for round := range 3 {
			lost := time.Now()
			origin.switchOff(true)
			time.Sleep(20 * time.Second)
			s.pub.Close()
			s = origin.broadcast("a", 400, keyframe("two"))
			origin.switchOff(false)
			g.await(relay.Live)
			late := g.play("a")
			s.video(30_000, interframe("three"))
			all = v.requireStart(keyframe("two"), interframe("three"))
			gap := time.Duration(all[3].at.Sub(last)) * time.Millisecond
			if most := time.Since(lost) + 2*time.Second; gap < 20*time.Second || gap > most {
				t.Errorf("round %d: time went on by %v, want 20 s to %v", round, gap, most)
			}
			if all[4].at.Sub(all[3].at) != 29_600 {
				t.Errorf("times %v", all)
			}
			if got := late.requireStart(keyframe("two"), interframe("three")); got[3].at != all[3].at {
				t.Errorf("a later player is at %d, the first at %d", got[3].at, all[3].at)
			}
			late.close()
			last = all[4].at
		}
		if v.told() != 0 {
			t.Error("the player was told of an end")
		}
		if s := g.status(); s.Failures["lost"] != 3 || s.Failures["refused"] < 3 {
			t.Errorf("failures %v", s.Failures)
		}
		// An origin that does not return in time.
		origin.switchOff(true)
		time.Sleep(59 * time.Second)
		early := v.told()
		time.Sleep(2 * time.Second)
		if early != 0 || v.told() != 1 {
			t.Errorf("told %d times after 59 s, %d times after 61 s", early, v.told())
		}
		origin.switchOff(false)
		s.pub.Close()
		origin.broadcast("a", 0, keyframe("four"))
		g.await(relay.Live)
		v.requireStart(keyframe("four"))
	})
}

// What the origin says of the end is told at once, on a connection that stays for the next publisher.
func TestPullOriginEnds(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(nil)
		v := g.play("a")
		if g.state() != relay.Waiting {
			t.Errorf("state %v", g.state())
		}
		for range 3 {
			s := origin.broadcast("a", 0, keyframe("one"))
			v.requireStart(keyframe("one"))
			s.pub.Close()
		}
		if v.told() != 3 || len(origin.called()) != 1 {
			t.Errorf("told %d times", v.told())
		}
		time.Sleep(time.Hour) // silence is no fault while nothing is published
		if len(origin.called()) != 0 || g.state() != relay.Waiting {
			t.Errorf("state %v", g.state())
		}
	})
}

// An origin that says nothing any more is as good as lost.
func TestPullOriginSilent(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(nil)
		origin.broadcast("a", 0, keyframe("one"))
		v := g.play("a")
		v.requireStart(keyframe("one"))
		time.Sleep(25 * time.Second)
		if g.logged("relay failed", `"reason":"stalled"`) != 1 {
			t.Errorf("log:\n%s", g.log)
		}
		if v.told() != 0 {
			t.Error("the player was told of an end")
		}
	})
}

// A publisher on this gateway comes before the origin.
func TestPullGivesWay(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(nil)
		v := g.play("a")
		if origin.connections() != 1 {
			t.Error("the origin was not asked")
		}
		s := g.broadcast("a", 0, keyframe("here"))
		v.requireStart(keyframe("here"))
		if origin.connections() != 0 || g.state() != "" {
			t.Errorf("state %v", g.state())
		}
		second := g.play("a")
		if len(origin.called()) != 1 {
			t.Errorf("the origin was asked for what is published here; log:\n%s", g.log)
		}
		second.close()
		s.pub.Close()
		origin.broadcast("a", 0, keyframe("there"))
		v.requireStart(keyframe("there"))
	})
}

// No more streams are fetched than allowed, and who leaves soon costs nothing.
func TestPullLimits(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(func(_ *app.Policy, p *relay.Pull) { p.Streams = 3 })
		var players []*viewer
		for i := range 3 {
			players = append(players, g.play(fmt.Sprint("a", i)))
		}
		for range 5 {
			if _, err := g.tryPlay("b"); err == nil {
				t.Error("one stream too many")
			}
		}
		players = append(players, g.play("a0"))
		if g.status().Refused != 5 || origin.connections() != 3 {
			t.Errorf("%+v, %d connections", g.status(), origin.connections())
		}
		for _, v := range players {
			v.close()
		}
		if origin.connections() != 0 || g.state() != "" {
			t.Errorf("%d connections after the players have left, none was live", origin.connections())
		}
		g.play("b")
	})
}

// Gateways that pull from each other find out.
func TestPullLoops(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		refuse := func(p *app.Policy, _ *relay.Pull) { p.Wait = false }
		a := n.add("a", pullFrom("rtmp://b/live/{name}", refuse))
		b := n.add("b", pullFrom("rtmp://c/live/{name}", refuse))
		c := n.add("c", pullFrom("rtmp://a/live/{name}", refuse))
		if _, err := a.tryPlay("x"); err == nil {
			t.Error("a loop brought a stream")
		}
		if c.logged("relay failed", "relay loop") == 0 || len(a.called()) != 1 || len(b.called()) != 1 {
			t.Errorf("log of c:\n%s", c.log)
		}
		self := n.add("self", func(p *app.Policy, cfg *relay.Config) {
			pullFrom("rtmp://self/live/{name}", nil)(p, cfg)
			cfg.Self = isAddr("self")
		})
		self.play("x")
		time.Sleep(4 * time.Minute)
		if self.logged("relay failed", `"level":"error"`, "relay loop") != 1 || len(self.called()) != 0 {
			t.Errorf("log:\n%s", self.log)
		}
	})
}

// What a client claims to have come through is refused or cut, but never gets a stream refused that others share.
func TestPullClaims(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(nil)
		via := func(hops int) amf.Pair {
			return amf.Pair{Key: rtmpcore.ViaProperty, Value: strings.Repeat("x,", hops-1) + "x"}
		}
		if _, err := g.tryPlay("a", via(17)); err == nil || g.logged("connect refused", "more than 16 gateways") != 1 {
			t.Errorf("a chain of 17: %v", err)
		}
		if _, err := g.tryPlay("a", amf.Pair{Key: rtmpcore.ViaProperty, Value: strings.Repeat("x", 1025)}); err == nil {
			t.Error("a chain of 1025 bytes was taken")
		}
		if _, err := g.tryPlay("a", via(16)); err != nil {
			t.Errorf("a chain of 16: %v", err)
		}
		v := g.play("a")
		origin.broadcast("a", 0, keyframe("one"))
		v.requireStart(keyframe("one"))
		// A line of gateways is no loop, however long.
		last := n.add("n0", pullFrom("rtmp://g/live/{name}", nil))
		for i := range 20 {
			last = n.add(fmt.Sprint("n", i+1), pullFrom(fmt.Sprintf("rtmp://n%d/live/{name}", i), nil))
		}
		last.play("a").requireStart(keyframe("one"))
		if via := n.nodes["n0"].called()[0].via; via != "id-n8,id-n7,id-n6,id-n5,id-n4,id-n3,id-n2,id-n1" {
			t.Errorf("a line of 20 gateways names %q", via)
		}
	})
}

// A stream that is pulled can be pushed; the push is nobody who keeps the pull.
func TestPullAndPush(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, target := n.add("origin", nil), n.add("target", nil)
		g := n.add("g", func(p *app.Policy, c *relay.Config) {
			pullFrom("rtmp://origin/live/{name}", nil)(p, c)
			pushTo("rtmp://target/live/{name}")(p, c)
		})
		origin.broadcast("a", 0, keyframe("one"))
		v := g.play("a")
		there := target.play("a")
		v.requireStart(keyframe("one"))
		there.requireStart(keyframe("one"))
		v.close()
		time.Sleep(11 * time.Second)
		if origin.connections() != 0 {
			t.Error("the push keeps the pull")
		}
		time.Sleep(15 * time.Second)
		if there.told() != 1 {
			t.Errorf("the target was told %d times", there.told())
		}
	})
}

// Close ends players that wait for an answer, and tells those that play.
func TestPullClose(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		origin, g := n.originAndPuller(func(p *app.Policy, _ *relay.Pull) { p.Wait = false })
		origin.broadcast("a", 0, keyframe("one"))
		v := g.play("a")
		v.requireStart(keyframe("one"))
		waited := make(chan time.Duration)
		go func() {
			began := time.Now()
			_, _ = g.tryPlay("b")
			waited <- time.Since(began)
		}()
		time.Sleep(time.Second)
		g.relay.Close()
		if took := <-waited; took != time.Second {
			t.Errorf("a player waited %v", took)
		}
		if v.told() != 1 || origin.connections() != 0 {
			t.Errorf("told %d times", v.told())
		}
	})
}
