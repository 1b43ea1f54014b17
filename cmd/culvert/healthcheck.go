package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
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
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("no admin listener to ask: set listen.admin, or give --admin HOST:PORT: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the gateway does not answer on %s: is it running, with this listen.admin? %w", addr, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway is not ready: %s", resp.Status)
	}
	return nil
}
