package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"culvert/configs"
	"culvert/gateway"
)

// configFlag adds -c FILE.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "configuration `FILE` (default: ./culvert.yaml, /etc/culvert/culvert.yaml, else built-in values)")
}

// load loads a configuration and says how to go on when that fails.
func load(opts configs.LoadOptions) (configs.Config, error) {
	opts.Environ = os.Environ()
	cfg, err := configs.Load(opts)
	if err != nil {
		return cfg, fmt.Errorf("the configuration has %s:\n%w", count(len(configs.Problems(err))), err)
	}
	return cfg, nil
}

func count(problems int) string {
	switch problems {
	case 0:
		return "an error"
	case 1:
		return "1 error"
	}
	return fmt.Sprintf("%d errors", problems)
}

func checkCommand() *cobra.Command {
	var (
		path string
		acme bool
		ask  routeFlags
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "validate a configuration; with --route explain a way, with --acme try what certificates need",
		Long: `Validate a configuration: everything that is wrong with it, with line and key.

With --route say which way a client takes to a stream: the routes that are looked at, what does not match, and what the
server behind the gateway is told.

With --acme also try what automatic certificates need, without ordering one: the authority can be reached and trusted, the
clock agrees with it, the storage can be written and nobody else can read its keys, each name leads to this gateway on ports
80 and 443, no CAA record forbids the authority, and records for dns-01 can be set. Run it on the machine of the gateway, as
its user, whether it runs or not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(configs.LoadOptions{Path: path})
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			if ask.url != "" {
				return ask.explain(cmd.OutOrStdout(), cfg)
			}
			if _, err := gateway.Explain(cfg, gateway.Question{}); err != nil {
				return err
			}
			if _, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", cfg.Source); err != nil || !acme {
				return err
			}
			return checkACME(cmd, cfg)
		},
	}
	configFlag(cmd, &path)
	flags := cmd.Flags()
	flags.BoolVar(&acme, "acme", false, "try what automatic certificates need (tls.mode acme)")
	flags.StringVar(&ask.url, "route", "", "explain the way to the stream `URL`, as a client has it")
	flags.StringVar(&ask.from, "from", "127.0.0.1", "with --route: address of the client")
	flags.StringVar(&ask.use, "for", "", "with --route: `publish` or play; both if left out")
	flags.StringVar(&ask.listener, "listener", "", "with --route: rtmp, http or https; that of the URL's scheme if left out")
	return cmd
}

func checkACME(cmd *cobra.Command, cfg configs.Config) error {
	if cfg.TLS.Mode != configs.TLSACME {
		return fmt.Errorf("tls.mode is %s: --acme checks mode %s", cfg.TLS.Mode, configs.TLSACME)
	}
	flight, err := gateway.Preflight(cfg)
	if err != nil {
		return err
	}
	return gateway.WritePreflight(cmd.OutOrStdout(), flight.Run(cmd.Context()))
}
