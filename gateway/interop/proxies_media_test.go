//go:build interop

package interop_test

import (
	"slices"
	"strings"
	"testing"
)

// publishThrough publishes the clip by ffmpeg with the key, through an HTTP proxy if there is one.
func publishThrough(t *testing.T, proxy, url string) *process {
	t.Helper()
	need(t, "ffmpeg")
	return start(t, "ffmpeg publisher "+url, []string{
		"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-re", "-i", glimpse.file(t), "-c", "copy",
		"-f", "flv", "-flvflags", "no_duration_filesize", url + "?key=" + publishKey,
	}, proxyEnv(proxy))
}

// playThrough plays by ffmpeg through an HTTP proxy.
func playThrough(t *testing.T, proxy, url string) *player {
	t.Helper()
	need(t, "ffmpeg")
	file := recording(t)
	return &player{start(t, "ffmpeg player "+url, []string{
		"ffmpeg", "-v", "warning", "-nostdin", "-nostats", "-copyts", "-i", url,
		"-c", "copy", "-copyinkf", "-flush_packets", "1", "-f", "flv", file,
	}, proxyEnv(proxy)), file, []int{0}, 0}
}

// proxyEnv is where ffmpeg looks for an HTTP proxy.
func proxyEnv(proxy string) option {
	if proxy == "" {
		return env()
	}
	return env("http_proxy=http://" + proxy)
}

// proxyFlags are where culvert looks for it.
func proxyFlags(proxy string) []string {
	if proxy == "" {
		return nil
	}
	return []string{"--proxy", proxy}
}

// publishOwn publishes the clip by `culvert publish`.
func publishOwn(t *testing.T, s *behindProxies, proxy, url string) *process {
	t.Helper()
	return start(t, "culvert publish "+url, slices.Concat(
		[]string{culvert(t), "publish", glimpse.file(t), url + "?key=" + publishKey, "--ca", s.ca}, proxyFlags(proxy)))
}

// playOwn plays by `culvert play`.
func playOwn(t *testing.T, s *behindProxies, proxy, url string) *player {
	t.Helper()
	file := recording(t)
	return &player{start(t, "culvert play "+url, slices.Concat(
		[]string{culvert(t), "play", url, "-o", file, "--ca", s.ca}, proxyFlags(proxy))), file, []int{0}, 0}
}

// carried waits for the publisher, an ffmpeg or not, and the players, which were there before it, and checks what they have.
func carried(t *testing.T, publisher *process, players ...*player) {
	t.Helper()
	sent := glimpse.media(t)
	if strings.HasPrefix(publisher.name, "ffmpeg") {
		sent = sent.by("rtmpt")
	}
	publisher.wait(t)
	for _, p := range players {
		p.require(t, sent, anywhere, exact)
	}
}
