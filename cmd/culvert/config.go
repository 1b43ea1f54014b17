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
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "validate a configuration; with --acme, try what certificates need",
		Long: `Validate a configuration: everything that is wrong with it, with line and key.

With --acme also try what automatic certificates need, without ordering one: the authority can be reached and trusted, the
clock agrees with it, the storage can be written, each name leads to this gateway on port 80 and is open on 443, no CAA
record forbids the authority, and records for dns-01 can be set. Run it on the machine of the gateway, whether it runs or not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(configs.LoadOptions{Path: path})
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			if _, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", cfg.Source); err != nil || !acme {
				return err
			}
			return checkACME(cmd, cfg)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&acme, "acme", false, "try what automatic certificates need (tls.mode acme)")
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
