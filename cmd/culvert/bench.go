package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"culvert/gateway/bench"
	"culvert/gateway/client"
)

// errBenchInvalid makes an invalid run, or a goal that was not met, an exit code
// of 1; the table has said why.
var errBenchInvalid = errors.New("bench: the run is invalid")

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "load a server and measure what it does",
		Long: `Load an RTMP server and measure what it does: any server by its URL, over rtmp, rtmps,
rtmpt and rtmpts, or a gateway of its own (--spawn).

Every player checks the number and the checksum of every frame. A run in which frames
were lost without a report, repeated, reordered or changed, or that left less than 5 %
of the machine idle, is INVALID and the exit code is 1.

Server CPU and memory are those of the process --pid and its children, on the same
machine. --floor KIND measures the least that any server has to do for the same load
first, as a process of its own, and gives every figure as a ratio to it too.`,
	}
	for _, s := range bench.Scenarios {
		cmd.AddCommand(benchScenario(s.Name, s.About))
	}
	cmd.AddCommand(benchSuite(), benchFloor())
	return cmd
}

// benchFlags are those of a scenario.
type benchFlags struct {
	clientFlags
	config bench.Config
	floors []string
	spawn  string
	file   string
	json   bool
	plot   string
}

func benchScenario(name, about string) *cobra.Command {
	f := benchFlags{config: bench.Config{Scenario: name}}
	cmd := &cobra.Command{
		Use:   name + " [URL]",
		Short: about,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), args)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	count := map[string]string{
		bench.Fanout: "number of `N` players", bench.Publishers: "number of `N` publishers",
		bench.Storm: "`N` connections at a time", bench.Polls: "number of `N` sessions",
	}[name]
	if count != "" {
		standard := 100
		if name == bench.Storm {
			standard = 32
		}
		flags.IntVarP(&f.config.Count, "count", "n", standard, count)
	}
	if name == bench.Fanout || name == bench.Publishers {
		flags.IntVar(&f.config.Rate, "rate", 1_000_000, "bits per second of each stream")
		flags.IntVar(&f.config.FPS, "fps", 30, "video frames per second")
	}
	if name == bench.Storm {
		flags.IntVar(&f.config.Pace, "pace", 0, "`N` connections per second; 0 is full speed")
	}
	if name == bench.Goodput {
		flags.IntVar(&f.config.Size, "size", 32<<10, "bytes of a frame")
		flags.IntVar(&f.config.Flight, "flight", 1<<20, "bytes that may be on their way at a time")
	}
	poll := 20 * time.Millisecond
	if name == bench.Polls || name == bench.Goodput {
		poll = 0
	}
	if name != bench.Publishers && name != bench.Storm {
		flags.DurationVar(&f.config.Poll, "poll", poll, "rtmpt: pause between an answer and the next idle request; 0s is full speed")
	}
	if name != bench.Storm && name != bench.Goodput {
		flags.IntVar(&f.config.Joining, "joining", 32, "connections being set up at a time")
	}
	flags.DurationVarP(&f.config.Time, "time", "t", 10*time.Second, "length of the measured window")
	flags.IntVar(&f.config.PID, "pid", 0, "process id of the server")
	flags.Float64Var(&f.config.MinIdle, "min-idle", 0, "percent of the machine that must stay idle; 0 is 5 % unless at full speed, below 0 no matter")
	flags.StringVar(&f.spawn, "spawn", "", "start a gateway and measure it over `TRANSPORT` (rtmp, rtmps, rtmpt, rtmpts) instead of a URL")
	flags.StringVarP(&f.file, "config", "c", "", "configuration `FILE` of the gateway that --spawn starts")
	flags.StringSliceVar(&f.floors, "floor", nil, "measure floors too: "+strings.Join(bench.FloorKinds, ", "))
	flags.BoolVar(&f.json, "json", false, "write JSON")
	flags.StringVar(&f.plot, "plot", "", "draw the distribution of latencies into `FILE` (SVG)")
	return cmd
}

func (f *benchFlags) run(ctx context.Context, out io.Writer, args []string) (err error) {
	if f.config.Options, err = f.options(); err != nil {
		return err
	}
	if (len(args) == 1) == (f.spawn != "") {
		return errors.New("give either a URL or --spawn TRANSPORT")
	}
	show, done := statusLine(os.Stderr, f.quiet)
	f.config.Progress = show
	results, err := f.measure(ctx, args)
	done()
	if err != nil {
		return err
	}
	for _, floor := range results[1:] {
		results[0].Compare(floor)
	}
	if f.plot != "" {
		if err := toFile(f.plot, out, func(w io.Writer) error { return bench.WritePlot(w, results) }); err != nil {
			return err
		}
	}
	if err := report(out, f.json, results, func() error { return bench.WriteTable(out, results) }); err != nil {
		return err
	}
	for _, r := range results {
		if len(r.Invalid) > 0 {
			return errBenchInvalid
		}
	}
	return nil
}

// measure runs the scenario against the server, then against each floor.
func (f *benchFlags) measure(ctx context.Context, args []string) ([]*bench.Result, error) {
	server := f.config
	var (
		first *bench.Result
		err   error
	)
	if f.spawn == "" {
		if server.Target, err = client.ParseTarget(args[0]); err != nil {
			return nil, err
		}
		first, err = bench.Run(ctx, server)
	} else {
		first, err = f.spawned(ctx, server, f.spawn, func(binary string) (*bench.Server, error) {
			return bench.SpawnGateway(ctx, binary, f.file)
		})
	}
	if err != nil {
		return nil, err
	}
	results := []*bench.Result{first}
	for _, kind := range f.floors {
		r, err := f.spawned(ctx, f.config, first.Transport, func(binary string) (*bench.Server, error) {
			return bench.SpawnFloor(ctx, binary, kind)
		})
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// spawned measures a server that it starts and stops.
func (f *benchFlags) spawned(ctx context.Context, config bench.Config, transport string, start func(binary string) (*bench.Server, error)) (*bench.Result, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s, err := start(binary)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	url := s.URL(transport, "bench")
	if url == "" {
		return nil, fmt.Errorf("%s does not speak %s", s.Name, transport)
	}
	config.PID, config.Label = s.PID, s.Name
	if config.Target, err = client.ParseTarget(url); err != nil {
		return nil, err
	}
	config.Options.TLS = config.Options.TLS.Clone()
	config.Options.TLS.InsecureSkipVerify = true // it has just made its certificate
	return bench.Run(ctx, config)
}

// statusLine returns what shows a state on one line, rewritten in place on a
// terminal.
func statusLine(out *os.File, quiet bool) (show func(string), done func()) {
	if quiet {
		return nil, func() {}
	}
	terminal, shown := isatty.IsTerminal(out.Fd()), false
	show = func(state string) {
		shown = true
		if terminal {
			fmt.Fprintf(out, "\r\x1b[K%s", state)
		} else {
			fmt.Fprintln(out, state)
		}
	}
	return show, func() {
		if shown && terminal {
			fmt.Fprint(out, "\r\x1b[K")
		}
	}
}

// report writes v as JSON, or what table writes.
func report(out io.Writer, asJSON bool, v any, table func() error) error {
	if !asJSON {
		return table()
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func benchSuite() *cobra.Command {
	var (
		config bench.SuiteConfig
		asJSON bool
		quiet  bool
	)
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "measure a gateway, nginx-rtmp and the floors, and print the goals",
		Long: `Start a gateway, nginx with nginx-rtmp-module and the floors in turn, measure each, and print
every goal with its figure and whether it was met. The exit code is 1 when one was missed or
a run is invalid.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.Culvert, err = os.Executable(); err != nil {
				return err
			}
			show, done := statusLine(os.Stderr, quiet)
			config.Progress = show
			result, err := bench.Suite(cmd.Context(), config)
			done()
			if result != nil {
				out := cmd.OutOrStdout()
				err = errors.Join(err, report(out, asJSON, result, func() error { return result.Write(out) }))
			}
			if err == nil && !result.OK() {
				err = errors.New("bench: goals were missed, or runs are invalid")
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Nginx, "nginx", "", "`PATH` of nginx with nginx-rtmp-module; without it goals that need it are absent")
	flags.DurationVarP(&config.Time, "time", "t", 10*time.Second, "length of each measured window")
	flags.Float64Var(&config.Scale, "scale", 1, "multiply the number of players, publishers and sessions, for a quick try")
	flags.StringSliceVar(&config.Only, "only", nil, "measure only some: "+strings.Join(bench.GoalNames(), ", "))
	flags.Float64Var(&config.MinIdle, "min-idle", 0, "percent of the machine that must stay idle; 0 is 5 % unless at full speed, below 0 no matter")
	flags.BoolVar(&asJSON, "json", false, "write JSON: the table and every run behind it")
	flags.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func benchFloor() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:       "floor KIND",
		Short:     "run as a floor: the least that any server has to do",
		Hidden:    true, // a floor believes everything it reads
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: bench.FloorKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			ln, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), bench.FloorReady+ln.Addr().String()); err != nil {
				return err
			}
			return bench.Floor(cmd.Context(), args[0], ln)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`ADDR` to listen on")
	return cmd
}
