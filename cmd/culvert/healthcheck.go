package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"culvert/configs"
)

// healthTimeout is how long the gateway may take to answer a health check.
const healthTimeout = 3 * time.Second

func healthcheckCommand() *cobra.Command {
	var path, addr string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "ask a running gateway whether it is ready",
		Long:  "Ask the gateway on this machine whether it is ready. The exit code is 0 if it is, for Docker and the like.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if addr == "" {
				cfg, err := load(configs.LoadOptions{Path: path})
				if err != nil {
					return err
				}
				addr = cfg.Listen.Admin
			}
			return healthcheck(cmd.Context(), addr)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&addr, "admin", "", "`ADDR` of the admin listener (default: that of the configuration)")
	return cmd
}

func healthcheck(ctx context.Context, addr string) error {
	if _, err := askAdmin(ctx, addr, "/readyz"); err != nil {
		return fmt.Errorf("the gateway is not ready: %w", err)
	}
	return nil
}
