//go:build unix

package gateway_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
)

// What the log says at the start counts the connections to other servers, too.
func TestDescriptors(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur > 5_000_000 {
		t.Skip("there is no limit to speak of")
	}
	few := int(limit.Cur) - 100 // that fit
	proxied := func(ready int) configs.App {
		app := configs.DefaultApp()
		app.Proxy.To = []configs.Backend{{URL: "rtmp://127.0.0.1:1", Weight: 1}, {URL: "rtmp://127.0.0.1:2", Weight: 1}}
		app.Proxy.Ready = ready
		return app
	}
	for name, test := range map[string]struct {
		connections int
		change      func(*configs.App)
		warns       bool
	}{
		"clients that fit":                {few, func(*configs.App) {}, false},
		"too many clients":                {int(limit.Cur), func(*configs.App) {}, true},
		"routes, half as many clients":    {few/2 - 10, func(a *configs.App) { *a = proxied(0) }, false},
		"routes":                          {few, func(a *configs.App) { *a = proxied(0) }, true},
		"routes and those that are ready": {few/2 - 10, func(a *configs.App) { *a = proxied(64) }, true},
		"pulls that fit": {few - 100, func(a *configs.App) {
			a.Pull.From, a.Pull.Streams = configs.NewAddress("rtmp://127.0.0.1:1/live/{name}"), 90
		}, false},
		"pulls that do not": {few, func(a *configs.App) {
			a.Pull.From, a.Pull.Streams = configs.NewAddress("rtmp://127.0.0.1:1/live/{name}"), 90
		}, true},
		"clients that fit besides pushes":  {few, func(a *configs.App) { a.Push = pushes(20) }, false},
		"clients that do not, with pushes": {few, func(a *configs.App) { a.Push = pushes(40) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			cfg := config(t)
			app := configs.DefaultApp()
			test.change(&app)
			cfg.Apps = map[string]configs.App{"live": app}
			cfg.Limits.Connections = test.connections
			start(t, cfg, gateway.Options{Log: zerolog.New(&log)})
			if warned := strings.Contains(log.String(), "too few file descriptors"); warned != test.warns {
				t.Errorf("with %d connections of %d: warned: %v", test.connections, limit.Cur, warned)
			}
		})
	}
}

func pushes(n int) (list []configs.Push) {
	for i := range n {
		list = append(list, configs.Push{To: configs.NewAddress(fmt.Sprintf("rtmp://127.0.0.1:%d/live/{name}", i+1))})
	}
	return list
}
