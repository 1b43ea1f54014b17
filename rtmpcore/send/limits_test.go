package send_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"culvert/rtmpcore/send"
)

// TestQueueLimits goes up to each limit of a queue and one beyond, a byte or a nanosecond.
func TestQueueLimits(t *testing.T) {
	const (
		header, size = 12, 100 // of the first two frames
		taken        = 4       // of the first one, behind Set Chunk Size
		most         = 1000    // bytes
		third        = most - (2*(header+size) - taken) - header
		old          = 500 * time.Millisecond  // of the second one when the third comes
		large, long  = 1 << 30, 24 * time.Hour // no limit
	)
	for _, tt := range []struct {
		name   string
		limits send.Limits
		age    time.Duration
		closes bool // beyond the limit; else it drops
	}{
		{"queue", send.Limits{Queue: most, QueueClose: large, QueueTime: long, WriteTimeout: long}, old, false},
		{"queue time", send.Limits{Queue: large, QueueClose: large, QueueTime: old, WriteTimeout: long}, old, false},
		{"queue close", send.Limits{Queue: large, QueueClose: most, QueueTime: long, WriteTimeout: long}, old, true},
		{"four times the queue time", send.Limits{Queue: large, QueueClose: large, QueueTime: old, WriteTimeout: long}, 4 * old, true},
	} {
		for beyond := range 2 {
			t.Run(fmt.Sprintf("%s and %d", tt.name, beyond), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, sock, dropped := behind(t, tt.limits)
					s.write(video(0, true, size))
					synctest.Wait()
					s.write(video(1, false, size))
					time.Sleep(tt.age + time.Duration(beyond))
					s.write(video(2, false, third+beyond))
					if got := sock.isClosed(); got != (tt.closes && beyond > 0) {
						t.Errorf("closed: %v", got)
					}
					if got := dropped.Load(); !tt.closes && (got > 0) != (beyond > 0) {
						t.Errorf("%d frames dropped", got)
					}
				})
			})
		}
	}
}
