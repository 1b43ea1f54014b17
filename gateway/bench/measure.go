package bench

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// run is one scenario under way.
type run struct {
	// set at construction
	cfg   Config
	clock clock
	empty Usage // of the server before the load
	res   *Result

	// moments of the window on clock, in nanoseconds; shared by all goroutines
	from, to atomic.Int64

	video, audio Histogram // latency of frames made in the window
	setup        Histogram // from dialling to the first video frame
	calls        Histogram // polls or connects that ended in the window

	mu       sync.Mutex
	failures int   // guarded by mu: connections that the server ended
	failure  error // guarded by mu: the first of them
}

// forever is the end of a window that is not over.
const forever = int64(1<<63 - 1)

// Run runs a scenario and returns its figures. The error says that there are
// none: the server could not be reached, or refused. A run whose figures mean
// nothing has no error but [Result.Invalid].
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, clock: newClock(), res: &Result{
		Server: cfg.Label, Scenario: cfg.Scenario, Transport: cfg.Target.Scheme, Count: cfg.Count, Figures: map[string]float64{},
	}}
	r.from.Store(forever)
	r.to.Store(forever)
	var err error
	if cfg.PID == 0 {
		r.unavailable("server CPU and memory: no process id was given")
	} else if r.empty, err = cfg.Proc.Usage(cfg.PID); err != nil {
		r.cfg.PID = 0
		r.unavailable(fmt.Sprintf("server CPU and memory: %v", err))
	}
	scenarios := map[string]func(context.Context) error{
		Fanout: r.fanout, Publishers: r.publishers, Storm: r.storm, Polls: r.polls, Goodput: r.goodput,
	}
	scenario, ok := scenarios[cfg.Scenario]
	if !ok {
		return nil, fmt.Errorf("bench: there is no scenario %q", cfg.Scenario)
	}
	ctx, cancel := context.WithCancel(ctx)
	err = scenario(ctx)
	cancel()
	if err != nil {
		return nil, err
	}
	r.judge()
	return r.res, nil
}

func (r *run) unavailable(what string) { r.res.Notes = append(r.res.Notes, "not available: "+what) }

func (r *run) invalid(format string, args ...any) {
	r.res.Invalid = append(r.res.Invalid, fmt.Sprintf(format, args...))
}

// inWindow reports whether a moment belongs to the measured window.
func (r *run) inWindow(at time.Duration) bool {
	return int64(at) >= r.from.Load() && int64(at) < r.to.Load()
}

// lost notes a connection that ended before the run did.
func (r *run) lost(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures++; r.failure == nil {
		r.failure = err
	}
}

// sample is the state of things at one end of the window.
type sample struct {
	at      time.Duration
	server  Usage
	self    Usage
	machine Machine
	bits    uint64 // delivered
	errs    [3]error
}

func (r *run) sample(bits func() uint64) sample {
	s := sample{at: r.clock.now(), bits: bits()}
	if r.cfg.PID != 0 {
		s.server, s.errs[0] = r.cfg.Proc.Usage(r.cfg.PID)
	}
	own, err := r.cfg.Proc.stat(os.Getpid())
	s.self.CPU, s.errs[1] = own.cpu, err
	s.machine, s.errs[2] = r.cfg.Proc.Machine()
	return s
}

// measure lets the window pass and returns its two ends. bits returns how many
// bits were delivered so far.
func (r *run) measure(ctx context.Context, bits func() uint64) (begin, end sample, err error) {
	begin = r.sample(bits)
	r.from.Store(int64(begin.at))
	r.remember(begin)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	over := time.NewTimer(r.cfg.Time)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return begin, end, ctx.Err()
		case <-tick.C:
			past := r.clock.now() - begin.at
			r.cfg.Progress(fmt.Sprintf("measuring %s of %s: %s", past.Round(time.Second), r.cfg.Time, r.state(float64(bits()-begin.bits), past.Seconds())))
			if step := r.memoryStep(); past >= step*time.Duration(len(r.res.Memory)) && past < r.cfg.Time-step/2 {
				r.remember(r.sample(bits))
			}
		case <-over.C:
			end = r.sample(bits)
			r.to.Store(int64(end.at))
			r.remember(end)
			r.account(begin, end)
			return begin, end, nil
		}
	}
}

// memoryParts is how many parts of a window the server's memory is read after.
const memoryParts = 10

// memoryStep is the length of a part, for windows that are long enough to tell how
// memory goes.
func (r *run) memoryStep() time.Duration { return max(r.cfg.Time/memoryParts, time.Second) }

// remember keeps the server's memory for [Result.Memory].
func (r *run) remember(s sample) {
	if r.cfg.PID != 0 && s.errs[0] == nil && r.sessionsStay() {
		r.res.Memory = append(r.res.Memory, float64(s.server.RSS)/(1<<20))
	}
}

// sessionsStay reports whether the scenario's sessions live as long as the window.
func (r *run) sessionsStay() bool { return r.cfg.Scenario != Storm && r.cfg.Scenario != Goodput }

// state is the progress of the window for people.
func (r *run) state(bits, seconds float64) string {
	if bits > 0 {
		return fmt.Sprintf("%.0f Mbit/s, latency p99 %.1f ms", bits/1e6/seconds, milliseconds(r.video.Quantile(0.99)))
	}
	return fmt.Sprintf("%.0f/s, p99 %.1f ms", float64(r.calls.Count())/seconds, milliseconds(r.calls.Quantile(0.99)))
}

// account turns the window's two ends into figures.
func (r *run) account(begin, end sample) {
	f, seconds := r.res.Figures, (end.at - begin.at).Seconds()
	r.res.Seconds = seconds
	if bits := float64(end.bits - begin.bits); bits > 0 {
		f[Mbit] = bits / 1e6 / seconds
	}
	if end.errs[0] == nil && r.cfg.PID != 0 {
		cpu := (end.server.CPU - begin.server.CPU).Seconds()
		f[ServerCores] = cpu / seconds
		f[RSSEmpty] = float64(r.empty.RSS) / 1024
		if r.sessionsStay() {
			f[RSSPerSession] = float64(end.server.RSS-r.empty.RSS) / 1024 / float64(r.cfg.Count)
			f[RSSGrowth] = 100 * float64(end.server.RSS-begin.server.RSS) / float64(max(begin.server.RSS, 1))
		}
		if bits := float64(end.bits - begin.bits); bits > 0 {
			f[CPUPerGbit] = cpu / (bits / 1e9)
		}
		if calls := float64(r.calls.Count()); calls > 0 && r.cfg.Scenario == Storm {
			f[CPUPerConnect] = cpu / calls * 1000
		} else if calls > 0 {
			f[CPUPerRequest] = cpu / calls * 1000
		}
	} else if err := end.errs[0]; err != nil {
		r.invalid("the server's process is gone: %v", err)
	}
	if end.errs[1] == nil {
		f[LoadCores] = (end.self.CPU - begin.self.CPU).Seconds() / seconds
	}
	if end.errs[2] != nil {
		r.unavailable(fmt.Sprintf("idle time of the machine: %v", end.errs[2]))
		return
	}
	total := (end.machine.Total - begin.machine.Total).Seconds()
	if total <= 0 {
		return
	}
	f[IdlePercent] = 100 * (end.machine.Idle - begin.machine.Idle).Seconds() / total
	f[StealPercent] = 100 * (end.machine.Steal - begin.machine.Steal).Seconds() / total
	if r.cfg.PID != 0 && end.errs == [3]error{} {
		busy := total - (end.machine.Idle - begin.machine.Idle).Seconds()
		f[OtherCores] = max(busy/seconds-f[ServerCores]-f[LoadCores], 0)
	}
	if r.cfg.fullSpeed() {
		r.res.Notes = append(r.res.Notes, "full speed: load generator and server share the machine, compare within one invocation only")
	}
	if f[IdlePercent] < r.cfg.MinIdle {
		r.invalid("only %.1f %% of the machine were idle, %.0f %% must be: load generator %.2f cores, server %.2f, others %.2f",
			f[IdlePercent], r.cfg.MinIdle, f[LoadCores], f[ServerCores], f[OtherCores])
	}
}

// judge adds the latencies and what makes the run invalid.
func (r *run) judge() {
	f := r.res.Figures
	quantiles := func(h *Histogram, keys map[string]float64) {
		for key, q := range keys {
			if h.Count() > 0 {
				f[key] = milliseconds(h.Quantile(q))
			}
		}
	}
	quantiles(&r.video, map[string]float64{VideoP50: 0.5, VideoP95: 0.95, VideoP99: 0.99, VideoMax: 1})
	quantiles(&r.audio, map[string]float64{AudioP50: 0.5, AudioP99: 0.99})
	quantiles(&r.setup, map[string]float64{SetupP50: 0.5, SetupP95: 0.95})
	r.res.latency = &r.video
	calls := float64(r.calls.Count()) / r.res.Seconds
	switch r.cfg.Scenario {
	case Storm:
		f[Connections] = calls
		quantiles(&r.calls, map[string]float64{ConnectP50: 0.5, ConnectP99: 0.99})
		r.res.latency = &r.calls
	case Polls:
		f[Requests] = calls
		quantiles(&r.calls, map[string]float64{RequestP50: 0.5, RequestP99: 0.99})
		r.res.latency = &r.calls
	}
	if r.failures > 0 {
		r.invalid("%d connections were refused or ended by the server, the first: %v", r.failures, r.failure)
	}
	if fault := r.res.Frames.Fault(); fault != "" {
		r.invalid("%s", fault)
	}
}
