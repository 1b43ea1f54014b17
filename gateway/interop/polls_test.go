//go:build interop

package interop_test

import (
	"testing"
	"time"
)

// Case 28: rtmpdump asks without a pause of its own. What keeps it from asking thousands of times a second is that its idle requests are held.
func TestCase28_RTMPDumpAsksSeldom(t *testing.T) {
	need(t, "rtmpdump")
	t.Parallel()
	s := serve(t)
	playRTMPDump(t, s.url(t, "rtmpt", "silent"))
	idles := func() float64 { return s.metric(t, `culvert_tunnel_requests_total{code="2xx",op="idle"}`) }
	eventually(t, "a player that waits", func() bool { return idles() >= 3 })
	const more, most = 8, 5.0 // requests; requests per second
	begin, before := time.Now(), idles()
	eventually(t, "further polls", func() bool { return idles() >= before+more })
	if rate := (idles() - before) / time.Since(begin).Seconds(); rate > most {
		t.Errorf("%.1f polls a second, at most %v", rate, most)
	}
}
