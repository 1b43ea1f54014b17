package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"culvert/gateway/client"
)

// clientFlags are those of commands that connect to a server.
type clientFlags struct {
	ca       string
	proxy    string
	insecure bool
	quiet    bool
}

func (f *clientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ca, "ca", "", "trust the certificate authorities in `FILE` (PEM) too")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "do not verify the server's certificate")
	cmd.Flags().StringVar(&f.proxy, "proxy", "", "go through the HTTP proxy `URL`: http://[USER:PASSWORD@]HOST:PORT")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

func (f *clientFlags) options() (client.Options, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: f.insecure, //nolint:gosec // what --insecure asks for
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return client.Options{}, fmt.Errorf("--ca: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return client.Options{}, fmt.Errorf("--ca: %s holds no certificate in PEM form", f.ca)
		}
		config.RootCAs = roots
	}
	opts := client.Options{TLS: config}
	if f.proxy != "" {
		proxy, err := client.ParseProxy(f.proxy)
		if err != nil {
			return client.Options{}, fmt.Errorf("--proxy: %w", err)
		}
		opts.Proxy = proxy
	}
	return opts, nil
}

// progress returns what shows a transfer's state: one line, rewritten in place
// on a terminal.
func (f *clientFlags) progress(out *os.File) (show func(client.Progress), done func()) {
	if f.quiet {
		return nil, func() {}
	}
	terminal, shown := isatty.IsTerminal(out.Fd()), false
	show = func(p client.Progress) {
		s := describe(p)
		if terminal {
			fmt.Fprintf(out, "\r\x1b[K%s", s)
		} else {
			fmt.Fprintln(out, s)
		}
		shown = true
	}
	return show, func() {
		if shown && terminal {
			fmt.Fprintln(out)
		}
	}
}

func describe(p client.Progress) string {
	var parts []string
	for _, codec := range []string{p.Video, p.Audio} {
		if codec != "" {
			parts = append(parts, codec)
		}
	}
	s := fmt.Sprintf("%s  %s  %d messages", strings.Join(parts, " + "), p.Media.Round(100*time.Millisecond), p.Messages)
	if p.Elapsed > 0 {
		s += fmt.Sprintf("  %.0f kbit/s", float64(p.Bytes)*8/1000/p.Elapsed.Seconds())
	}
	if p.Dropped > 0 {
		s += fmt.Sprintf("  dropped %d times: too slow", p.Dropped)
	}
	return s
}

func publishCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "publish FILE.flv URL",
		Short: "send an FLV file to a server in real time",
		Long: `Send an FLV file to a server in real time, over any transport:
rtmp://HOST/APP/NAME, rtmps://, rtmpt://, rtmpts://, rtmpe:// or rtmpte://. A file called - is standard input.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := client.ParseTarget(args[1])
			if err != nil {
				return err
			}
			opts, err := f.options()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			show, done := f.progress(os.Stderr)
			defer done()
			return client.PublishFLV(cmd.Context(), in, target, opts, show)
		},
	}
	f.add(cmd)
	return cmd
}

func playCommand() *cobra.Command {
	var (
		f        clientFlags
		output   string
		duration time.Duration
	)
	cmd := &cobra.Command{
		Use:   "play URL",
		Short: "receive a stream and show what arrives",
		Long: `Receive a stream, over any transport, show what arrives and, with -o, write it to an FLV file.
URL is rtmp://HOST/APP/NAME, rtmps://, rtmpt://, rtmpts://, rtmpe:// or rtmpte://. A file called - is standard output.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := client.ParseTarget(args[0])
			if err != nil {
				return err
			}
			opts, err := f.options()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			show, done := f.progress(os.Stderr)
			defer done()
			return toFile(output, cmd.OutOrStdout(), func(w io.Writer) error {
				return client.PlayFLV(ctx, target, w, opts, show)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the stream to `FILE` (FLV)")
	cmd.Flags().DurationVarP(&duration, "time", "t", 0, "stop after this `TIME`, such as 10s (default: when the stream ends)")
	return cmd
}

// toFile runs f with a buffered writer to the file called name; "" is nil, "-"
// is stdout.
func toFile(name string, stdout io.Writer, f func(io.Writer) error) (err error) {
	switch name {
	case "":
		return f(nil)
	case "-":
	default:
		file, cerr := os.Create(name)
		if cerr != nil {
			return cerr
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		stdout = file
	}
	w := bufio.NewWriterSize(stdout, 64<<10)
	return errors.Join(f(w), w.Flush())
}
