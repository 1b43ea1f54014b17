package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// refusalLine is a line about refused clients.
type refusalLine struct {
	Level, Reason, Setting, Address, Remote, Error, Message string
	Refused                                                 int
}

// refusing runs f with the lines about refusals in a bubble. said returns what has been written since the last call.
func refusing(t *testing.T, f func(t *testing.T, r gateway.Refusals, said func() []refusalLine, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		r := gateway.NewRefusals(zerolog.New(&log))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		stop := func() { cancel(); running.Wait() }
		defer stop()
		read := 0
		f(t, r, func() []refusalLine {
			synctest.Wait()
			text := log.String()[read:]
			read += len(text)
			var out []refusalLine
			for line := range strings.Lines(text) {
				var l refusalLine
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatal(err)
				}
				out = append(out, l)
			}
			slices.SortFunc(out, func(a, b refusalLine) int { return strings.Compare(a.Reason+a.Address, b.Reason+b.Address) })
			return out
		}, stop)
	})
}

func wantLines(t *testing.T, got []refusalLine, want ...refusalLine) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the lines are\n%+v\nwant\n%+v", got, want)
	}
}

// TestRefusalsAreSaidOnceAMinute: the first one at once, those after it by their number, also when no further one comes.
func TestRefusalsAreSaidOnceAMinute(t *testing.T) {
	refusing(t, func(t *testing.T, r gateway.Refusals, said func() []refusalLine, _ func()) {
		line := func(n int, port string) refusalLine {
			return refusalLine{
				Level: "warn", Reason: "tunnel_head", Setting: "limits.tunnel.head", Remote: "192.0.2.1:" + port, Error: "too large",
				Refused: n, Message: "limit reached: clients are refused",
			}
		}
		why := errors.New("too large")
		r.Note("tunnel_head", "192.0.2.1:1", why)
		wantLines(t, said(), line(1, "1"))
		for range 1000 {
			r.Note("tunnel_head", "192.0.2.1:2", why)
		}
		r.Note("tunnel_head", "192.0.2.1:3", why)
		time.Sleep(time.Minute - 1)
		wantLines(t, said())
		time.Sleep(time.Nanosecond)
		wantLines(t, said(), line(1001, "3"))
		// Quiet for less than a minute: one that comes has to wait.
		time.Sleep(30 * time.Second)
		r.Note("tunnel_head", "192.0.2.1:4", why)
		wantLines(t, said())
		time.Sleep(30 * time.Second)
		wantLines(t, said(), line(1, "4"))
		// For more: at once again, and nothing is remembered.
		time.Sleep(2 * time.Minute)
		wantLines(t, said())
		if n := r.Held(); n != 0 {
			t.Errorf("%d counters are kept for nothing", n)
		}
		r.Note("tunnel_head", "192.0.2.1:5", why)
		wantLines(t, said(), line(1, "5"))
	})
}

// TestRefusalsOfSeveralReasons do not wait for each other, and what is no limit is no warning.
func TestRefusalsOfSeveralReasons(t *testing.T) {
	refusing(t, func(t *testing.T, r gateway.Refusals, said func() []refusalLine, stop func()) {
		r.Note("connections", "192.0.2.1:1", nil)
		wantLines(t, said(), refusalLine{Level: "warn", Reason: "connections", Setting: "limits.connections", Remote: "192.0.2.1:1", Refused: 1, Message: "limit reached: clients are refused"})
		time.Sleep(10 * time.Second)
		unknown := refusalLine{Level: "info", Reason: "unknown_protocol", Remote: "192.0.2.1:2", Refused: 1, Message: "clients are refused"}
		r.Note("unknown_protocol", "192.0.2.1:2", nil)
		wantLines(t, said(), unknown)
		r.Note("empty", "192.0.2.1:3", nil) // a health check
		r.Note("connections", "192.0.2.1:4", nil)
		r.Note("unknown_protocol", "192.0.2.1:2", nil)
		time.Sleep(50 * time.Second)
		wantLines(t, said(), refusalLine{Level: "warn", Reason: "connections", Setting: "limits.connections", Remote: "192.0.2.1:4", Refused: 1, Message: "limit reached: clients are refused"})
		stop() // which says the rest
		wantLines(t, said(), unknown)
	})
}

// TestRefusalsByAddress: where the limit is one for each address, so are the lines, up to a number; an IPv6 network is one.
func TestRefusalsByAddress(t *testing.T) {
	const most = 16
	refusing(t, func(t *testing.T, r gateway.Refusals, said func() []refusalLine, _ func()) {
		r.Note("tunnel_guesses", "[2001:db8::1]:1", nil)
		r.Note("tunnel_guesses", "[2001:db8::ffff:2]:1", nil)
		r.Note("connections_per_address", "192.0.2.1:1", nil)
		r.Note("connections_per_address", "[::ffff:192.0.2.1]:2", nil)
		got := said()
		if len(got) != 2 || got[0].Address != "192.0.2.1" || got[0].Refused != 2 || got[1].Address != "2001:db8::/64" || got[1].Refused != 2 {
			t.Errorf("got %+v", got)
		}
		time.Sleep(2 * time.Minute)
		for i := range 10_000 {
			for range 2 {
				r.Note("tunnel_address", fmt.Sprintf("10.0.%d.%d:80", i/256, i%256), nil)
			}
		}
		if n := r.Held(); n != most+1 {
			t.Errorf("%d counters are kept", n)
		}
		lines, refused := said(), make(map[string]int) // the first line of each may come in the middle
		time.Sleep(time.Minute)
		lines = append(lines, said()...)
		for _, l := range lines {
			refused[l.Address] += l.Refused
			if l.Level != "warn" || l.Setting != "limits.tunnel.sessions_per_address" {
				t.Errorf("got %+v", l)
			}
		}
		if len(lines) > 2*(most+1) || len(refused) != most+1 {
			t.Errorf("%d lines, about %d addresses", len(lines), len(refused))
		}
		for address, n := range refused {
			want := 2
			if address == "others" {
				want *= 10_000 - most
			}
			if n != want {
				t.Errorf("%s: %d were refused, want %d", address, n, want)
			}
		}
		time.Sleep(2 * time.Minute)
		if n := r.Held(); n != 0 {
			t.Errorf("%d counters are kept for nothing", n)
		}
		r.Note("tunnel_address", "10.1.0.1:80", nil) // there is room for lines again
		if got := said(); len(got) != 1 || got[0].Address != "10.1.0.1" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestEveryRefusalIsSaid: each reason in the metrics has its line, and each limit is named in one, or there is a reason not to.
func TestEveryRefusalIsSaid(t *testing.T) {
	unsaid := map[string]string{
		"empty":               "health checks do that",
		"interrupted":         "the client left",
		"proxy_not_trusted":   "has a line of its own (findings)",
		"idle_timeout":        "the end of a session, at info",
		"tunnel_idle_timeout": "the end of a session, at info",
		"tunnel_stopping":     "the operator has stopped the gateway",
		"backend":             "has a line of its own (proxy)",
		"max_time":            "the end of a session, at info",
		"swf":                 "the end of a session, at info",
	}
	g, _ := start(t, config(t), gateway.Options{})
	var named []string
	for reason := range g.Snapshot().Rejected {
		settings, said := gateway.SaidOf(reason)
		if _, not := unsaid[reason]; said == not {
			t.Errorf("%s: is said: %v", reason, said)
		}
		named = append(named, settings...)
	}
	unnamed := []string{
		"limits.idle_timeout", "limits.tunnel.idle_timeout", "limits.swf_timeout", // as above
		"limits.queue", // has a line of its own for each player (app)
		// Nobody is refused:
		"limits.tunnel.answer", "limits.tunnel.guess_delay", "limits.tunnel.keep_alive",
		"limits.tunnel.hold", "limits.tunnel.hold_setup", "limits.tunnel.coalesce",
	}
	var settings []string
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			name := path + "." + field.Tag.Get("yaml")
			if field.Type.Kind() == reflect.Struct {
				walk(field.Type, name)
				continue
			}
			settings = append(settings, name)
			if slices.Contains(named, name) == slices.Contains(unnamed, name) {
				t.Errorf("%s: is named in a line: %v", name, slices.Contains(named, name))
			}
		}
	}
	walk(reflect.TypeFor[configs.Limits](), "limits")
	for _, name := range named {
		if !slices.Contains(settings, name) {
			t.Errorf("there is no setting %s", name)
		}
	}
}

// TestLinesOfOneClientAreBounded: one connection cannot fill the log, however often it is refused; its end is said in any case. Connections
// whose connect is refused have a line together.
func TestLinesOfOneClientAreBounded(t *testing.T) {
	g, log := quiet(t)
	c := g.dial(t, "rtmp")
	c.session()
	c.write(encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}))
	play := encode(t, 1, message.Command{Name: "play", TransactionID: 3, Args: []any{"nobody"}})
	for range 1000 {
		c.write(play)
	}
	waitForRejected(t, g.Gateway, "rules", 1000)
	c.Close()
	waitForLog(t, log, `"message":"closed"`)
	if n := strings.Count(log.String(), `"message":"play refused"`); n < 60 || n > 120 { // a minute may begin meanwhile
		t.Errorf("%d lines about one client", n)
	}

	for range 3 {
		c := g.dial(t, "rtmp")
		if _, err := handshake.Client(c, handshake.ClientConfig{}); err != nil {
			t.Fatal(err)
		}
		connect := message.Command{Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: "secret"}, {Key: "tcUrl", Value: "rtmp://h/secret"}}}
		b, err := connect.AppendPayload(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.write(chunks(3, message.TypeCommandAMF0, b))
		c.ends()
	}
	waitForRejected(t, g.Gateway, "rules", 1003)
	waitForLog(t, log, `"level":"info","reason":"rules","refused":`)
	if n := strings.Count(log.String(), "secret"); n != 1 {
		t.Errorf("%d lines about the application:\n%s", n, log)
	}
}

// quiet is a gateway with the default log level, one application and players who do not wait.
func quiet(t *testing.T) (limited, *logBuffer) {
	t.Helper()
	cfg, log := config(t), new(logBuffer)
	live := cfg.Apps["*"]
	live.Wait = false
	cfg.Apps = map[string]configs.App{"live": live}
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log).Level(zerolog.InfoLevel)})
	return limited{g, log}, log
}
