package bench_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/gateway/bench"
	"culvert/gateway/client"
)

// listen serves until the end of the test and returns the address.
func listen(t *testing.T, serve func(ctx context.Context, ln net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln) }() // stopped by cancel, waited by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("floor: %v", err)
		}
	})
	return ln.Addr().String()
}

func floor(t *testing.T, kind string) string {
	t.Helper()
	return listen(t, func(ctx context.Context, ln net.Listener) error { return bench.Floor(ctx, kind, ln) })
}

// load runs a scenario for a short time with few clients.
func load(t *testing.T, scenario, transport, addr string, change func(*bench.Config)) (*bench.Result, error) {
	t.Helper()
	target, err := client.ParseTarget(transport + "://" + addr + "/live/bench?key=x")
	if err != nil {
		t.Fatal(err)
	}
	cfg := bench.Config{
		Scenario: scenario, Target: target, Count: 5, Time: 400 * time.Millisecond, PID: os.Getpid(), MinIdle: -1, Poll: 5 * time.Millisecond,
		Options: client.Options{TLS: &tls.Config{InsecureSkipVerify: true}},
	}
	if change != nil {
		change(&cfg)
	}
	return bench.Run(t.Context(), cfg)
}

// faults returns why a run is invalid, but for a load generator that got too
// little of a machine that runs other tests too.
func faults(r *bench.Result) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(r.Invalid), func(reason string) bool {
		return strings.Contains(reason, "could be sent") || strings.Contains(reason, "behind its schedule")
	}), "; ")
}

func TestScenarios(t *testing.T) {
	for name, test := range map[string]struct {
		scenario, transport, floor string
		figures                    []string // that must be there and above zero
	}{
		"fanout":         {bench.Fanout, "rtmp", bench.FloorWrite, []string{bench.Mbit, bench.VideoP50, bench.AudioP99, bench.SetupP95, bench.RSSEmpty}},
		"fanout video":   {bench.Fanout, "rtmp", bench.FloorVideo, []string{bench.Mbit, bench.VideoP99}},
		"fanout merged":  {bench.Fanout, "rtmp", bench.FloorMerge, []string{bench.Mbit, bench.VideoP99}},
		"fanout tls":     {bench.Fanout, "rtmps", bench.FloorTLS, []string{bench.Mbit, bench.VideoP99}},
		"fanout canned":  {bench.Fanout, "rtmpt", bench.FloorCanned, []string{bench.Mbit, bench.VideoP99}},
		"fanout rtmpts":  {bench.Fanout, "rtmpts", bench.FloorTLS, []string{bench.Mbit, bench.VideoP99}},
		"publishers":     {bench.Publishers, "rtmp", bench.FloorWrite, []string{bench.Mbit}},
		"storm":          {bench.Storm, "rtmp", bench.FloorWrite, []string{bench.Connections, bench.ConnectP50, bench.ConnectP99}},
		"storm tls":      {bench.Storm, "rtmps", bench.FloorTLS, []string{bench.Connections}},
		"polls":          {bench.Polls, "rtmpt", bench.FloorCanned, []string{bench.Requests, bench.RequestP50, bench.RequestP99}},
		"polls net/http": {bench.Polls, "rtmpt", bench.FloorNetHTTP, []string{bench.Requests}},
		"goodput":        {bench.Goodput, "rtmp", bench.FloorWrite, []string{bench.Mbit, bench.VideoP99}},
		"goodput canned": {bench.Goodput, "rtmpt", bench.FloorCanned, []string{bench.Mbit}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := load(t, test.scenario, test.transport, floor(t, test.floor), nil)
			if err != nil {
				t.Fatal(err)
			}
			if reasons := faults(r); reasons != "" {
				t.Errorf("invalid: %s", reasons)
			}
			for _, key := range test.figures {
				if r.Figures[key] <= 0 {
					t.Errorf("%s is %v", key, r.Figures[key])
				}
			}
			if test.scenario == bench.Fanout && r.Frames.OK < 100 {
				t.Errorf("%d frames", r.Frames.OK)
			}
		})
	}
}

// Streams without audio may be next to nothing: a frame now and then.
func TestSilentStreams(t *testing.T) {
	for _, scenario := range []string{bench.Fanout, bench.Publishers} {
		r, err := load(t, scenario, "rtmp", floor(t, bench.FloorWrite), func(c *bench.Config) { c.Silent, c.Rate, c.FPS = true, 5000, 10 })
		if err != nil || faults(r) != "" {
			t.Fatalf("%s: %v, %+v", scenario, err, r)
		}
		if _, ok := r.Figures[bench.AudioP50]; ok || r.Frames.OK == 0 {
			t.Errorf("%s: %+v", scenario, r)
		}
	}
}

// Floors with a goroutine per connection do what those with epoll do.
func TestNetFloor(t *testing.T) {
	for kind, transport := range map[string]string{bench.FloorWrite: "rtmp", bench.FloorVideo: "rtmp", bench.FloorCanned: "rtmpt"} {
		addr := listen(t, func(ctx context.Context, ln net.Listener) error { return bench.NetFloor(ctx, kind, ln) })
		r, err := load(t, bench.Fanout, transport, addr, nil)
		if err != nil || faults(r) != "" {
			t.Errorf("%s: %v, %+v", kind, err, r)
		}
	}
}

// A server that does something to frames is caught.
func TestBadServers(t *testing.T) {
	// Players must have begun before something happens, and the end must be quiet.
	from := func(n uint64) bool { return n > 60 && n%40 == 0 }
	for name, test := range map[string]struct {
		tamper func() func(n uint64, b []byte) [][]byte
		want   string // in the reason; "" for a valid run
	}{
		"loses": {func() func(uint64, []byte) [][]byte {
			return func(n uint64, b []byte) [][]byte {
				if from(n) {
					return nil
				}
				return [][]byte{b}
			}
		}, "lost without a report"},
		"drops and says so": {func() func(uint64, []byte) [][]byte {
			return func(n uint64, b []byte) [][]byte {
				if from(n) {
					return [][]byte{bench.DropReport()}
				}
				return [][]byte{b}
			}
		}, ""},
		"repeats": {func() func(uint64, []byte) [][]byte {
			return func(n uint64, b []byte) [][]byte {
				if from(n) {
					return [][]byte{b, b}
				}
				return [][]byte{b}
			}
		}, "repeated"},
		"changes a byte": {func() func(uint64, []byte) [][]byte {
			return func(n uint64, b []byte) [][]byte {
				b = slices.Clone(b)
				if from(n) {
					b[len(b)-1] ^= 1
				}
				return [][]byte{b}
			}
		}, "corrupt"},
		"swaps": {func() func(uint64, []byte) [][]byte {
			held := [][]byte{}
			return func(n uint64, b []byte) [][]byte {
				// Three messages turned round are never all of different kinds.
				if held = append(held, slices.Clone(b)); from(n) || len(held) > 1 && len(held) < 3 {
					return nil
				}
				out := held
				held = nil
				slices.Reverse(out)
				return out
			}
		}, "out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tamper := test.tamper()
			addr := listen(t, func(ctx context.Context, ln net.Listener) error { return bench.BadFloor(ctx, ln, tamper) })
			r, err := load(t, bench.Fanout, "rtmp", addr, func(c *bench.Config) { c.Time = time.Second })
			if err != nil {
				t.Fatal(err)
			}
			reasons := faults(r)
			if test.want == "" && (reasons != "" || r.Frames.Dropped == 0) || !strings.Contains(reasons, test.want) {
				t.Errorf("invalid for %q, want %q; %+v", reasons, test.want, r.Frames)
			}
		})
	}
}

// The server's memory is read all through a window, of sessions that stay.
func TestMemory(t *testing.T) {
	for scenario, transport := range map[string]string{bench.Polls: "rtmpt", bench.Storm: "rtmp"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			kind := map[string]string{"rtmpt": bench.FloorCanned, "rtmp": bench.FloorWrite}[transport]
			r, err := load(t, scenario, transport, floor(t, kind), func(c *bench.Config) { c.Time = 3200 * time.Millisecond })
			if err != nil {
				t.Fatal(err)
			}
			want := 4 // both ends, and each second between that is not close to the end
			if scenario == bench.Storm {
				want = 0
			}
			if len(r.Memory) != want || slices.ContainsFunc(r.Memory, func(m float64) bool { return m < 1 || m > 10_000 }) {
				t.Errorf("memory %v", r.Memory)
			}
			if _, ok := r.Figures[bench.RSSGrowth]; ok != (want > 0) {
				t.Errorf("figures %v", r.Figures)
			}
		})
	}
}

// A machine without idle time makes a run invalid, unless full speed was asked for.
func TestBusyMachine(t *testing.T) {
	addr := floor(t, bench.FloorWrite)
	busy := func(c *bench.Config) {
		c.Proc, c.MinIdle, c.Time, c.PID = machine(t, "500"), 101, 100*time.Millisecond, 10
	}
	r, err := load(t, bench.Fanout, "rtmp", addr, func(c *bench.Config) { busy(c); c.Proc = bench.Proc{} })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Figures[bench.IdlePercent]; ok && !strings.Contains(strings.Join(r.Invalid, ""), "idle") {
		t.Errorf("invalid for %q", r.Invalid)
	}
	r, err = load(t, bench.Goodput, "rtmp", addr, func(c *bench.Config) { c.MinIdle, c.Time = 0, 100*time.Millisecond })
	if err != nil || len(r.Invalid) > 0 {
		t.Errorf("at full speed: %v, %+v", err, r)
	}
}

func TestUnmeasuredServer(t *testing.T) {
	for name, change := range map[string]func(*bench.Config){
		"no process id": func(c *bench.Config) { c.PID = 0 },
		"no /proc":      func(c *bench.Config) { c.Proc = bench.Proc{Root: t.TempDir()} },
	} {
		r, err := load(t, bench.Storm, "rtmp", floor(t, bench.FloorWrite), change)
		if err != nil || len(r.Invalid) > 0 || r.Figures[bench.Connections] == 0 {
			t.Errorf("%s: %v, %+v", name, err, r)
			continue
		}
		if _, ok := r.Figures[bench.ServerCores]; ok || !strings.Contains(strings.Join(r.Notes, ""), "not available") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	for _, s := range bench.Scenarios {
		transport := "rtmp"
		if s.Name == bench.Polls {
			transport = "rtmpt"
		}
		r, err := load(t, s.Name, transport, addr, nil)
		if err == nil && len(r.Invalid) == 0 {
			t.Errorf("%s: a server that is not there gave %+v", s.Name, r)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for name, change := range map[string]func(*bench.Config){
		"unknown scenario":      func(c *bench.Config) { c.Scenario = "flood" },
		"polls without tunnel":  func(c *bench.Config) { c.Scenario = bench.Polls },
		"rate too low":          func(c *bench.Config) { c.Rate = 5000 },
		"rate too high":         func(c *bench.Config) { c.Rate, c.FPS = 2_000_000_000, 1 },
		"negative count":        func(c *bench.Config) { c.Count = -1 },
		"frames below a stamp":  func(c *bench.Config) { c.Size = 10 },
		"frame rate of a laser": func(c *bench.Config) { c.FPS = 100_000 },
	} {
		if _, err := load(t, bench.Fanout, "rtmp", "127.0.0.1:1", change); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
