package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"culvert/gateway"
)

func statusCommand() *cobra.Command {
	var (
		admin adminFlags
		raw   bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show the state of a running gateway and of its certificates",
		Long: `Show whether the gateway on this machine is ready, and for each certificate who issued it, how long it lasts, what went
wrong last and when it is tried again. The exit code is 1 when a certificate needs somebody: it has ended, or there is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := admin.addr()
			if err != nil {
				return err
			}
			body, err := askAdmin(cmd.Context(), addr, "/api/v1/certificates")
			if err != nil {
				return err
			}
			if raw {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			ready := "ready"
			if err := healthcheck(cmd.Context(), addr); err != nil {
				ready = err.Error()
			}
			fmt.Fprintln(cmd.OutOrStdout(), ready)
			return gateway.WriteStatus(cmd.OutOrStdout(), body, time.Now())
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&raw, "json", false, "print the certificates as JSON")
	return cmd
}
