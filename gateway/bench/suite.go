package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"culvert/gateway/client"
)

// SuiteConfig says how to run the suite. Zero fields take the values that are
// named.
type SuiteConfig struct {
	Culvert  string        // path of the binary, which is also the floors'
	Nginx    string        // path of nginx with nginx-rtmp-module; "": its columns stay empty
	Time     time.Duration // window of each run; default 10 s
	Scale    float64       // of the number of players, publishers and sessions; default 1
	Only     []string      // goals to measure, by GoalNames; default all
	MinIdle  float64       // see [Config.MinIdle]
	Progress func(string)  // may be nil
}

// load is a run that goals refer to. Servers are "culvert", "nginx", or a
// floor's kind; env configures culvert.
type load struct {
	server    string
	scenario  string
	transport string
	count     int
	rate      int
	poll      time.Duration
	joinPoll  time.Duration // of players that have not joined; 0: poll
	fps       int           // 0: as usual
	silent    bool          // without audio
	env       string        // NAME=VALUE, several with blanks between them
}

const (
	perMessage = "CULVERT_APPS_DEFAULT_GATHER=message"
	merged     = "CULVERT_APPS_DEFAULT_GATHER=350ms"
	noHold     = "CULVERT_LIMITS_TUNNEL_HOLD_SETUP=0s"
)

const (
	gatewayName = "culvert"
	nginxName   = "nginx"
	pollPause   = 500 * time.Millisecond

	mbit = 1_000_000
	kbit = 1_000
)

func fanout(server string, count int, env string) load {
	return load{server: server, scenario: Fanout, transport: "rtmp", count: count, rate: mbit, env: env}
}

func (l load) on(transport string) load {
	l.transport = transport
	if transport == "rtmpt" || transport == "rtmpts" {
		l.poll = 20 * time.Millisecond
	}
	return l
}

func simple(server, scenario string, count int) load {
	return load{server: server, scenario: scenario, transport: "rtmp", count: count, rate: 500 * kbit}
}

func polling(server string, count int, pause time.Duration) load {
	l := load{server: server, scenario: Polls, transport: "rtmpt", count: count, poll: pause}
	if server == gatewayName {
		l.env = noHold
	}
	return l
}

// goal is a line of the table: a figure of one run, as it is or as a ratio to
// that of another.
type goal struct {
	name   string // for SuiteConfig.Only
	what   string
	figure string
	run    load
	base   *load // nil: the figure itself
	added  bool  // how much it is above the other's, not the ratio
	least  bool  // the figure must be at least the limit, not at most
	limit  float64
	none   bool // no goal, only a figure
}

func per(l load) *load { return &l }

// goals are the lines of the table, in its order.
var goals = slices.Concat(serverGoals, proxyGoals, tunnelGoals)

// serverGoals are the lines about the gateway as a server.
var serverGoals = []goal{
	{name: "fanout500", what: "fan-out to 500, default mode, CPU/Gbit ÷ write", figure: CPUPerGbit, run: fanout(gatewayName, 500, ""), base: per(fanout(FloorWrite, 500, "")), limit: 0.70},
	{name: "fanout500", what: "the same ÷ nginx-rtmp", figure: CPUPerGbit, run: fanout(gatewayName, 500, ""), base: per(fanout(nginxName, 500, "")), limit: 1},
	{name: "fanout500", what: "its p99 latency ÷ nginx-rtmp's", figure: VideoP99, run: fanout(gatewayName, 500, ""), base: per(fanout(nginxName, 500, "")), limit: 1},
	{name: "fanout500", what: "its CPU/Gbit ÷ video", figure: CPUPerGbit, run: fanout(gatewayName, 500, ""), base: per(fanout(FloorVideo, 500, "")), none: true},
	{name: "fanout500", what: "nginx-rtmp, CPU/Gbit ÷ write", figure: CPUPerGbit, run: fanout(nginxName, 500, ""), base: per(fanout(FloorWrite, 500, "")), none: true},
	{name: "fanout1000", what: "fan-out to 1,000, default mode, CPU/Gbit ÷ write", figure: CPUPerGbit, run: fanout(gatewayName, 1000, ""), base: per(fanout(FloorWrite, 1000, "")), limit: 0.70},
	{name: "fanout1000", what: "the same ÷ nginx-rtmp", figure: CPUPerGbit, run: fanout(gatewayName, 1000, ""), base: per(fanout(nginxName, 1000, "")), limit: 1},
	{name: "fanout1000", what: "its p99 latency ÷ nginx-rtmp's", figure: VideoP99, run: fanout(gatewayName, 1000, ""), base: per(fanout(nginxName, 1000, "")), limit: 1},
	{name: "fanout1000", what: "1,000 players joining, first frame p95, ms", figure: SetupP95, run: fanout(gatewayName, 1000, ""), limit: 100},
	{name: "message", what: "one write per message to 500, CPU/Gbit ÷ write", figure: CPUPerGbit, run: fanout(gatewayName, 500, perMessage), base: per(fanout(FloorWrite, 500, "")), limit: 1.2},
	{name: "merge", what: "merged 350 ms to 500, CPU/Gbit ÷ merge", figure: CPUPerGbit, run: fanout(gatewayName, 500, merged), base: per(fanout(FloorMerge, 500, "")), limit: 2.0},
	{name: "publishers", what: "200 publishers of 500 kbit/s, CPU/Gbit ÷ write", figure: CPUPerGbit, run: simple(gatewayName, Publishers, 200), base: per(simple(FloorWrite, Publishers, 200)), limit: 1.5},
	{name: "publishers", what: "nginx-rtmp, the same", figure: CPUPerGbit, run: simple(nginxName, Publishers, 200), base: per(simple(FloorWrite, Publishers, 200)), none: true},
	{name: "storm", what: "connect storm, CPU per connection ÷ write", figure: CPUPerConnect, run: simple(gatewayName, Storm, 32), base: per(simple(FloorWrite, Storm, 32)), limit: 2.0},
	{name: "storm", what: "nginx-rtmp, the same", figure: CPUPerConnect, run: simple(nginxName, Storm, 32), base: per(simple(FloorWrite, Storm, 32)), none: true},
	{name: "goodput", what: "goodput without loss ÷ write", figure: Mbit, run: simple(gatewayName, Goodput, 1), base: per(simple(FloorWrite, Goodput, 1)), least: true, limit: 0.6},
	{name: "rtmps", what: "RTMPS fan-out to 200, CPU/Gbit ÷ tls", figure: CPUPerGbit, run: fanout(gatewayName, 200, "").on("rtmps"), base: per(fanout(FloorTLS, 200, "").on("rtmps")), limit: 0.9},
	{name: "rtmpt", what: "RTMPT fan-out to 100, polling 20 ms, CPU/Gbit ÷ own RTMP", figure: CPUPerGbit, run: fanout(gatewayName, 100, "").on("rtmpt"), base: per(fanout(gatewayName, 100, perMessage)), limit: 2.1},
	{name: "rtmpt500", what: "RTMPT fan-out to 500, polling 20 ms, CPU/Gbit ÷ own RTMP", figure: CPUPerGbit, run: fanout(gatewayName, 500, "").on("rtmpt"), base: per(fanout(gatewayName, 500, perMessage)), limit: 2.1},
	{name: "rtmpts", what: "RTMPTS fan-out to 100, polling 20 ms, CPU/Gbit ÷ own RTMP", figure: CPUPerGbit, run: fanout(gatewayName, 100, "").on("rtmpts"), base: per(fanout(gatewayName, 100, perMessage)), none: true},
	{name: "fanout500", what: "memory per player, RTMP, KiB", figure: RSSPerSession, run: fanout(gatewayName, 500, ""), limit: 16},
	{name: "rtmps", what: "memory per player, RTMPS, KiB", figure: RSSPerSession, run: fanout(gatewayName, 200, "").on("rtmps"), limit: 60},
	{name: "rtmpt500", what: "memory per player, RTMPT, KiB", figure: RSSPerSession, run: fanout(gatewayName, 500, "").on("rtmpt"), limit: 40},
	{name: "rtmpt", what: "the same with 100 players", figure: RSSPerSession, run: fanout(gatewayName, 100, "").on("rtmpt"), none: true},
	{name: "rtmpts", what: "memory per player, RTMPTS, KiB", figure: RSSPerSession, run: fanout(gatewayName, 100, "").on("rtmpts"), none: true},
}

// GoalNames returns the names that [SuiteConfig.Only] takes.
func GoalNames() []string {
	var names []string
	for _, g := range goals {
		if !slices.Contains(names, g.name) {
			names = append(names, g.name)
		}
	}
	return names
}

// Line is one line of the suite's table.
type Line struct {
	What    string  `json:"what"`
	Goal    string  `json:"goal"`   // "" where there is none
	Figure  float64 `json:"figure"` // meaningless unless Verdict is met, missed or ""
	Verdict string  `json:"verdict"`
}

// Verdicts.
const (
	Met     = "met"
	Missed  = "missed"
	Invalid = "invalid" // a run behind the figure was
	Absent  = "absent"  // a server was not there
)

// SuiteResult is the table and the runs behind it. Its figures count when the
// machine was quiet, which the footer of the table is about.
type SuiteResult struct {
	Scale float64   `json:"scale"` // see [SuiteConfig.Scale]
	Lines []Line    `json:"lines"`
	Runs  []*Result `json:"runs"`
}

// OK reports whether every goal was met by valid runs.
func (s *SuiteResult) OK() bool {
	return !slices.ContainsFunc(s.Lines, func(l Line) bool { return l.Verdict == Missed || l.Verdict == Invalid })
}

// Write writes the table, and below it why runs were invalid.
func (s *SuiteResult) Write(w io.Writer) error {
	rows := [][]string{{"what", "goal", "figure", "verdict"}}
	for _, l := range s.Lines {
		figure := short(l.Figure)
		if l.Verdict == Invalid || l.Verdict == Absent {
			figure = "-"
		}
		rows = append(rows, []string{l.What, l.Goal, figure, l.Verdict})
	}
	if err := WriteRows(w, rows); err != nil {
		return err
	}
	others, stolen := 0.0, 0.0
	for _, r := range s.Runs {
		others, stolen = max(others, r.Figures[OtherCores]), max(stolen, r.Figures[StealPercent])
	}
	if _, err := fmt.Fprintf(w, "noisiest run: %.2f cores of other work, %.0f %% stolen\n", others, stolen); err != nil {
		return err
	}
	if s.Scale != 1 {
		if _, err := fmt.Fprintf(w, "numbers of players, publishers and sessions are %.3g of those named: this is no measurement\n", s.Scale); err != nil {
			return err
		}
	}
	for _, r := range s.Runs {
		for _, reason := range r.Invalid {
			if _, err := fmt.Fprintf(w, "%s, %s over %s, %d: INVALID: %s\n", r.Server, r.Scenario, r.Transport, r.Count, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// errAbsent says that a server cannot be measured here.
var errAbsent = errors.New("bench: the server is not there")

// Suite measures culvert, nginx-rtmp and the floors one after the other, each
// load once with a fresh server, and returns the table. Runs that lines compare
// follow each other closely, because what else the machine does changes.
func Suite(ctx context.Context, cfg SuiteConfig) (*SuiteResult, error) {
	if cfg.Time == 0 {
		cfg.Time = 10 * time.Second
	}
	if cfg.Scale == 0 {
		cfg.Scale = 1
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	out, done := &SuiteResult{Scale: cfg.Scale}, map[load]*Result{}
	measure := func(l load) (*Result, error) {
		if r, ok := done[l]; ok {
			return r, nil
		}
		r, err := cfg.run(ctx, l)
		if errors.Is(err, errAbsent) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s, %s over %s: %w", l.server, l.scenario, l.transport, err)
		}
		done[l] = r
		out.Runs = append(out.Runs, r)
		return r, nil
	}
	for _, g := range goals {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, g.name) {
			continue
		}
		result, err := measure(g.run)
		var base *Result
		if err == nil && g.base != nil {
			base, err = measure(*g.base)
		}
		if err != nil {
			return out, err
		}
		out.Lines = append(out.Lines, g.line(result, base))
	}
	return out, nil
}

// line judges a goal.
func (g *goal) line(result, base *Result) Line {
	l := Line{What: g.what}
	sign := "<="
	if g.least {
		sign = ">="
	}
	if !g.none {
		l.Goal = sign + " " + short(g.limit)
	}
	if result == nil || g.base != nil && base == nil {
		l.Verdict = Absent
		return l
	}
	if len(result.Invalid) > 0 || base != nil && len(base.Invalid) > 0 {
		l.Verdict = Invalid
		return l
	}
	value, ok := result.Figures[g.figure]
	if base != nil {
		other := base.Figures[g.figure]
		ok = ok && other > 0
		if g.added {
			value -= other
		} else {
			value /= other
		}
	}
	switch {
	case !ok:
		l.Verdict = Absent
		return l
	case g.none:
	case g.least && value < g.limit, !g.least && value > g.limit:
		l.Verdict = Missed
	case g.figure == Mbit && result.Frames.Dropped > 0: // without loss is what was asked for
		l.Verdict = Missed
	default:
		l.Verdict = Met
	}
	l.Figure = value
	return l
}

// run starts a server, loads it and stops it.
func (cfg *SuiteConfig) run(ctx context.Context, l load) (*Result, error) {
	count := l.count
	if l.scenario != Storm && l.scenario != Goodput {
		count = max(int(float64(count)*cfg.Scale), 1)
	}
	var (
		s    *Server
		stop func()
		err  error
	)
	switch {
	case isProxy(l.server):
		s, stop, err = cfg.spawnProxy(ctx, l.server, strings.Fields(l.env)...)
	case l.server == gatewayName:
		s, err = SpawnGateway(ctx, cfg.Culvert, "", strings.Fields(l.env)...)
	case l.server == nginxName:
		if cfg.Nginx == "" {
			return nil, errAbsent
		}
		s, err = SpawnNginx(ctx, cfg.Nginx)
	default:
		s, err = SpawnFloor(ctx, cfg.Culvert, l.server)
	}
	if err != nil {
		return nil, err
	}
	if stop == nil {
		stop = s.Stop
	}
	defer stop()
	target, err := client.ParseTarget(s.URL(l.transport, "bench"))
	if err != nil {
		return nil, err
	}
	label := s.Name
	if l.env != "" {
		label += " " + l.env
	}
	return Run(ctx, Config{
		Scenario: l.scenario, Target: target, Label: label, Count: count, Rate: l.rate, FPS: l.fps, Silent: l.silent, Poll: l.poll, JoinPoll: l.joinPoll, Time: cfg.Time, PID: s.PID, MinIdle: cfg.MinIdle,
		Options: client.Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}, //nolint:gosec // its own server on loopback
		Progress: func(state string) {
			cfg.Progress(fmt.Sprintf("%s, %s over %s x %d: %s", label, l.scenario, l.transport, count, state))
		},
	})
}
