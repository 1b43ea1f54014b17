//go:build interop

package interop_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/gateway/bench"
	"culvert/gateway/client"
)

// Every scenario of the load tool against the gateway, over each transport: all frames must come, once, in order, unchanged.
func TestLoad(t *testing.T) {
	s := serve(t)
	for _, scenario := range bench.Scenarios {
		for _, transport := range transports {
			if scenario.Name == bench.Polls && !strings.HasPrefix(transport, "rtmpt") {
				continue
			}
			t.Run(scenario.Name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				target, err := client.ParseTarget(s.url(t, transport, "load-"+scenario.Name+"-"+transport))
				if err != nil {
					t.Fatal(err)
				}
				r, err := bench.Run(t.Context(), bench.Config{
					Scenario: scenario.Name, Target: target, Count: 5, Time: time.Second, Poll: 20 * time.Millisecond, PID: s.cmd.Process.Pid, MinIdle: -1,
					Flight:  128 << 10, // a gateway with the race detector must not fall behind
					Options: client.Options{TLS: &tls.Config{InsecureSkipVerify: true}},
				})
				if err != nil {
					t.Fatal(err)
				}
				// The machine runs other tests too: that the load was late says nothing here.
				late := func(reason string) bool {
					return strings.Contains(reason, "behind its schedule") || strings.Contains(reason, "could be sent")
				}
				if reasons := slices.DeleteFunc(r.Invalid, late); len(reasons) > 0 {
					t.Errorf("invalid: %v", reasons)
				}
				figure := map[string]string{bench.Storm: bench.Connections, bench.Polls: bench.Requests}[scenario.Name]
				if figure == "" {
					figure = bench.Mbit
				}
				if r.Figures[figure] <= 0 {
					t.Errorf("%s is %v", figure, r.Figures[figure])
				}
			})
		}
	}
}
