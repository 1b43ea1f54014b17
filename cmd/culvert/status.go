package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"culvert/configs"
	"culvert/gateway"
)

func statusCommand() *cobra.Command {
	var (
		path, addr string
		raw        bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show the state of a running gateway and of its certificates",
		Long: `Show whether the gateway on this machine is ready, and for each certificate who issued it, how long it lasts, what went
wrong last and when it is tried again. The exit code is 1 when a certificate needs somebody: it has ended, or there is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if addr == "" {
				cfg, err := load(configs.LoadOptions{Path: path})
				if err != nil {
					return err
				}
				addr = cfg.Listen.Admin
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
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&addr, "admin", "", "`ADDR` of the admin listener (default: that of the configuration)")
	cmd.Flags().BoolVar(&raw, "json", false, "print the certificates as JSON")
	return cmd
}

// askAdmin fetches a path of the admin listener.
func askAdmin(ctx context.Context, addr, path string) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("no admin listener to ask: set listen.admin, or give --admin HOST:PORT: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the gateway does not answer on %s: is it running, with this listen.admin? %w", addr, err)
	}
	return readAll(resp)
}
