package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func healthcheckCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "ask a running gateway whether it is ready",
		Long:  "Ask the gateway on this machine whether it is ready. The exit code is 0 if it is, for Docker and the like.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := admin.addr()
			if err != nil {
				return err
			}
			return healthcheck(cmd.Context(), addr)
		},
	}
	admin.add(cmd)
	return cmd
}

func healthcheck(ctx context.Context, addr string) error {
	if _, err := askAdmin(ctx, addr, "/readyz"); err != nil {
		return fmt.Errorf("the gateway is not ready: %w", err)
	}
	return nil
}
