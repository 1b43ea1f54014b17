package main

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"culvert/configs"
	"culvert/gateway"
)

// demoDefaults are the ports of the demonstration, which need no privileges.
var demoDefaults = []configs.Setting{
	{Key: "listen.http", Value: ":8080", Source: "--demo"},
	{Key: "listen.https", Value: ":8443", Source: "--demo"},
}

func serveCommand() *cobra.Command {
	var (
		path string
		demo bool
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the gateway",
		Long: `Run the gateway until it is told to stop (Ctrl+C, SIGTERM).

Without a configuration anybody on this machine may publish, anybody may play, and
programs on other machines may not publish until a key is set.`,
		Args: cobra.NoArgs,
	}
	configFlag(cmd, &path)
	flags := cmd.Flags()
	flags.BoolVar(&demo, "demo", false, "play a test picture as live/demo, on ports 1935, 8080 and 8443")
	addresses := []struct{ name, usage string }{
		{"rtmp", "`ADDR` to listen on for RTMP, \"\" for none (every listener takes every transport)"},
		{"http", "`ADDR` to listen on for RTMPT and pages, \"\" for none"},
		{"https", "`ADDR` to listen on for RTMPS, RTMPTS and HTTPS, \"\" for none"},
		{"admin", "`ADDR` to listen on for metrics and health, \"\" for none"},
	}
	for _, a := range addresses {
		flags.String(a.name, "", a.usage)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts := configs.LoadOptions{Path: path}
		if demo {
			opts.Defaults = demoDefaults
		}
		for _, a := range addresses {
			if f := flags.Lookup(a.name); f.Changed {
				opts.Overrides = append(opts.Overrides, configs.Setting{Key: "listen." + a.name, Value: f.Value.String(), Source: "--" + a.name})
			}
		}
		return serve(cmd, opts, demo)
	}
	return cmd
}

func serve(cmd *cobra.Command, opts configs.LoadOptions, demo bool) error {
	cfg, err := load(opts)
	if err != nil {
		return err
	}
	log := newLogger(cfg.Log, os.Stderr)
	for _, w := range cfg.Warnings() {
		log.Warn().Msg(w)
	}
	name, revision := build()
	g, err := gateway.New(cfg, gateway.Options{Log: log, Version: name, Revision: revision, Demo: demo})
	if err != nil {
		return err
	}
	if demo {
		if err := g.WriteGuide(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return g.Run(cmd.Context())
}

// newLogger writes lines for people to a terminal, JSON elsewhere, unless the
// configuration says otherwise.
func newLogger(cfg configs.Log, out *os.File) zerolog.Logger {
	var w io.Writer = out
	if cfg.Format == configs.LogConsole || cfg.Format == configs.LogAuto && isatty.IsTerminal(out.Fd()) {
		w = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(string(cfg.Level))
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}
