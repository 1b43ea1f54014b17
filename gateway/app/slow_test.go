package app_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"culvert/rtmpcore/message"
)

// heldConn is a transport that takes nothing while its gate is closed.
type heldConn struct {
	net.Conn
	gate atomic.Pointer[chan struct{}] // nil: it is open
}

func (c *heldConn) Write(b []byte) (int, error) {
	if gate := c.gate.Load(); gate != nil {
		<-*gate
	}
	return c.Conn.Write(b)
}

// TestDroppedFramesAreSaid: a player that is too slow again and again has a line when it loses its first frames, and their number in
// that of its end. One that is not has neither.
func TestDroppedFramesAreSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer // written by one connection at a time, read when it has ended
		policy := public()
		policy.Live.Dropped = new(atomic.Uint64)
		s := newServer(t, policy)
		from := s.publisher("a")
		frame := func(first byte) { from.raw(message.TypeVideo, 1, 0, append([]byte{first, 1}, make([]byte, 1<<20)...)) }
		var conn *heldConn
		s.log = zerolog.New(&log)
		p := s.dial(false, func(c net.Conn) net.Conn { conn = &heldConn{Conn: c}; return conn }).connect("live")
		p.command(0, "createStream")
		p.command(1, "play", "a")
		frame(0x17)
		p.take()
		gate := make(chan struct{})
		conn.gate.Store(&gate)
		for range 3 {
			for range 6 {
				frame(0x27)
				synctest.Wait()
			}
			frame(0x17)
			synctest.Wait()
		}
		conn.gate.Store(nil)
		close(gate)
		told := strings.Count(brief(p.take()), message.StatusPlayInsufficientBW)
		p.conn.Close()
		<-p.done
		if told < 2 {
			t.Errorf("the player lost frames %d times", told)
		}
		if n := strings.Count(log.String(), `"level":"warn"`); n != 1 || !strings.Contains(log.String(), `"setting":"limits.queue, limits.queue_time","message":"player reads too slowly`) {
			t.Errorf("%d warnings:\n%s", n, &log)
		}
		dropped := policy.Live.Dropped.Load()
		if end := fmt.Sprintf(`"dropped":%d,"message":"playing ended"`, dropped); dropped < 6 || !strings.Contains(log.String(), end) {
			t.Errorf("no %s:\n%s", end, &log)
		}

		log.Reset()
		p = s.player("a")
		frame(0x17)
		p.take()
		p.conn.Close()
		<-p.done
		if strings.Contains(log.String(), "dropped") || !strings.Contains(log.String(), "playing ended") {
			t.Errorf("of a player that reads:\n%s", &log)
		}
	})
}
