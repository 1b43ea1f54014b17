package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"culvert/configs"
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
	var path string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "validate a configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(configs.LoadOptions{Path: path})
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", cfg.Source)
			return err
		},
	}
	configFlag(cmd, &path)
	return cmd
}
