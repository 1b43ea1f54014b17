// Command culvert carries RTMP through firewalls and proxies: a gateway that
// takes RTMP, RTMPS, RTMPT and RTMPTS and serves the streams.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "culvert: "+err.Error())
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "culvert",
		Short:         "RTMP through firewalls and proxies",
		Long:          "culvert is a gateway that takes RTMP, RTMPS, RTMPT and RTMPTS and serves the streams.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		serveCommand(),
		publishCommand(),
		playCommand(),
		benchCommand(),
		checkCommand(),
		statusCommand(),
		caCommand(),
		healthcheckCommand(),
		versionCommand(),
	)
	return root
}
