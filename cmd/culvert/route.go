package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
)

// routeFlags are what check --route asks.
type routeFlags struct{ url, from, use, listener string }

// explain writes which way a client takes.
func (f routeFlags) explain(out io.Writer, cfg configs.Config) error {
	target, err := client.ParseTarget(f.url)
	if err != nil {
		return fmt.Errorf("--route: %w", err)
	}
	from, err := netip.ParseAddr(f.from)
	if err != nil {
		return fmt.Errorf("--from: %q is no IP address", f.from)
	}
	if f.use != "" && f.use != "publish" && f.use != "play" {
		return fmt.Errorf("--for: %q is neither publish nor play", f.use)
	}
	name, query, _ := strings.Cut(target.Name, "?")
	found, err := gateway.Explain(cfg, gateway.Question{
		Transport: target.Scheme, Listener: f.listener, Host: target.Host, App: target.App, Stream: name, Query: query, Client: from, Use: f.use,
	})
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, s := range found.Steps {
		if !s.Taken {
			fmt.Fprintf(&b, "%s: no: %s\n", s.Route, s.Why)
			continue
		}
		mode := "routed"
		if found.Route.Transparent {
			mode = "transparent"
		}
		fmt.Fprintf(&b, "%s: taken, %s\n", s.Route, mode)
	}
	for _, t := range found.Backends {
		fmt.Fprintf(&b, "  %s", t.Backend)
		if t.TCURL != "" {
			fmt.Fprintf(&b, "  app %q, stream %q, tcUrl %q", t.App, t.Stream, t.TCURL)
		}
		if t.First {
			b.WriteString("  (this one, while all are up)")
		}
		b.WriteByte('\n')
	}
	switch _, local := cfg.App(target.App); {
	case found.Route != nil:
	case local:
		fmt.Fprintf(&b, "served by this gateway as application %q\n", target.App)
	default:
		fmt.Fprintf(&b, "refused: there is no application %q\n", target.App)
	}
	_, err = io.WriteString(out, b.String())
	return err
}
