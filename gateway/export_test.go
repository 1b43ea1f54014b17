package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/rtmpcore"
	"culvert/tunnel"
)

// CoreConfig and TunnelConfig are what the limits of a configuration become.
func CoreConfig(cfg configs.Config) rtmpcore.Config { return coreConfig(cfg) }

func TunnelConfig(l configs.TunnelLimits) tunnel.Config { return tunnelConfig(l, zerolog.Nop()) }

// FindingLines reports a finding about each of n proxies, and again after a time.
func FindingLines(log zerolog.Logger, n int, later time.Duration) {
	f := newFindings(log)
	now := time.Now()
	f.now = func() time.Time { return now }
	for range 2 {
		for i := range n {
			f.report(tunnel.Report{Finding: tunnel.FindShared, Proxy: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("198.51.%d.%d", i/256, i%256))}})
		}
		now = now.Add(later)
	}
}

// Refusals are the lines about refused clients, without a gateway.
type Refusals struct{ *refusals }

func NewRefusals(log zerolog.Logger) Refusals { return Refusals{newRefusals(log)} }

func (r Refusals) Run(ctx context.Context) { r.run(ctx) }

func (r Refusals) Note(reason, remote string, why error) {
	r.note(reason, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(remote)), why)
}

// Held is the number of counters that are kept.
func (r Refusals) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// SaidOf returns the settings that a line about refusals for a reason names, and whether there is one.
func SaidOf(reason string) (settings []string, said bool) {
	about, said := refusalsSaid[reason]
	if about.setting == "" {
		return nil, said
	}
	return strings.Split(about.setting, ", "), said
}
