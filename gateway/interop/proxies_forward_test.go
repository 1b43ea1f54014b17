//go:build interop

package interop_test

import (
	"testing"

	"culvert/tunnel"
)

// Clients behind a corporate proxy: ffmpeg and culvert's own, absolute targets for rtmpt and CONNECT for the others.
func TestForwardProxies(t *testing.T) {
	need(t, "ffmpeg", "squid", "tinyproxy")
	t.Parallel()
	s := serveBehindProxies(t)
	t.Run("squid", func(t *testing.T) {
		t.Parallel()
		proxy := startSquid(t)
		proxyURL, err := tunnel.ParseProxy(proxy)
		if err != nil {
			t.Fatal(err)
		}
		// It takes a new connection for each POST, and names its clients in a header that anybody could have written.
		for _, from := range []string{"127.0.3.1", "127.0.3.2"} {
			s.requireSessionFrom(t, tunnel.Dialer{Proxy: proxyURL}, "rtmpt://"+s.addr(t, "http"), from, squidFrom)
		}
		s.requireFindings(t, squidFrom, "untrusted")
		for _, in := range []string{"ffmpeg", "culvert"} {
			t.Run(in, func(t *testing.T) {
				t.Parallel()
				url := func(transport string) string { return s.url(t, transport, "squid-"+in) }
				players := []*player{playThrough(t, proxy, url("rtmpt")), playOwn(t, s, proxy, url("rtmpt")), playOwn(t, s, proxy, url("rtmpts"))}
				publisher := publishThrough
				if in == "culvert" {
					players = append(players, playOwn(t, s, proxy, url("rtmp")), playOwn(t, s, proxy, url("rtmps")))
					publisher = func(t *testing.T, proxy, url string) *process {
						t.Helper()
						return publishOwn(t, s, proxy, url)
					}
				}
				carried(t, publisher(t, proxy, url("rtmpt")), players...)
			})
		}
	})
	// It closes its connections after each answer.
	t.Run("tinyproxy", func(t *testing.T) {
		t.Parallel()
		proxy := startTinyproxy(t)
		lost := publishThrough(t, proxy, s.url(t, "rtmpt", "tinyproxy-ffmpeg"))
		url := s.url(t, "rtmpt", "tinyproxy")
		players := []*player{playOwn(t, s, proxy, url), playOwn(t, s, proxy, s.url(t, "rtmpts", "tinyproxy"))}
		carried(t, publishOwn(t, s, proxy, url), players...)
		lost.requireRefused(t) // else the advice to people is wrong
		s.requireFindings(t, tinyproxyFrom, "closes")
	})
}
