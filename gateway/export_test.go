package gateway

import (
	"fmt"
	"net"
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
