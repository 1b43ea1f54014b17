package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"culvert/configs"
)

// adminTimeout is how long the gateway may take to answer on its admin listener.
const adminTimeout = 3 * time.Second

// adminFlags say where the admin listener of the running gateway is.
type adminFlags struct{ path, given string }

func (f *adminFlags) add(cmd *cobra.Command) {
	configFlag(cmd, &f.path)
	cmd.Flags().StringVar(&f.given, "admin", "", "`ADDR` of the admin listener (default: that of the configuration)")
}

// addr returns the address, which may be empty: there is no such listener.
func (f *adminFlags) addr() (string, error) {
	if f.given != "" {
		return f.given, nil
	}
	cfg, err := load(configs.LoadOptions{Path: f.path})
	return cfg.Listen.Admin, err
}

// askAdmin fetches a path of the admin listener, whose answers are never large.
func askAdmin(ctx context.Context, addr, path string) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("no admin listener to ask: set listen.admin, or give --admin HOST:PORT: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the gateway does not answer on %s: is it running, with this listen.admin? %w", addr, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the gateway answers %s", resp.Status)
	}
	return body, nil
}
