package configs_test

import (
	"strings"
	"testing"

	"culvert/configs"
)

// Connections can be kept ready only where nothing of the client has to go before the handshake.
func TestProxyReady(t *testing.T) {
	for name, tc := range map[string]struct{ text, refusal string }{
		"apps":           {"apps: {a: {proxy: {to: ['rtmp://b.example'], ready: 2}}}", ""},
		"too many":       {"apps: {a: {proxy: {to: ['rtmp://b.example'], ready: 65}}}", "apps.a.proxy.ready: "},
		"below zero":     {"apps: {a: {proxy: {to: ['rtmp://b.example'], ready: -1}}}", "apps.a.proxy.ready: "},
		"PROXY protocol": {"apps: {a: {proxy: {to: ['rtmp://b.example'], ready: 2, proxy_protocol: v1}}}", "apps.a.proxy.ready: cannot be had with proxy_protocol"},
		"transparent":    {"routes: [{mode: transparent, proxy: {to: ['rtmp://b.example'], ready: 2}}]", "routes[0].proxy.ready: cannot be had in transparent mode"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := configs.Load(configs.LoadOptions{Path: inFile(t, tc.text)})
			switch {
			case tc.refusal == "" && err != nil:
				t.Error(err)
			case tc.refusal != "" && (err == nil || !strings.Contains(err.Error(), tc.refusal)):
				t.Errorf("the error is %v, want %s", err, tc.refusal)
			}
		})
	}
}
