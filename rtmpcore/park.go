package rtmpcore

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// parker is the ability of a connection to wait for bytes without a goroutine:
// between Park and left, step is called by whoever knows that there is something
// to read. It must not wait, and neither must left.
type parker interface {
	LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
	TryRead(pool *sync.Pool) (buf *[]byte, n int, err error) // syscall.EAGAIN: nothing is at hand
	Park(step func() (stay bool), left func()) bool          // false: this connection cannot
	Wake()                                                   // step is called although there may be nothing
}

// lightweight is the ability of a Publication to say that its messages cost
// little, so that they may be written where others wait for their turn.
type lightweight interface{ Light() bool }

// errHeavy ends a step at a message that may take long or wait.
var errHeavy = errors.New("rtmpcore: a message that may wait")

// source is what the chunk reader reads of conn, the connection or what decrypts it:
// it does not wait when the connection may be parked instead.
func (nc *NetConn) source(conn net.Conn) io.Reader {
	p, ok := conn.(parker)
	if !ok {
		return conn
	}
	return parkedSource{conn, p, nc}
}

// parkedSource reads a connection that can be parked.
type parkedSource struct {
	net.Conn
	conn parker
	nc   *NetConn
}

func (s parkedSource) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	if s.nc.parked || s.nc.settled() {
		return s.conn.TryRead(pool)
	}
	return s.conn.LazyRead(pool)
}

// settled reports whether the client can be expected to send nothing but light
// messages: it plays, or publishes to few.
func (nc *NetConn) settled() bool {
	if nc.unparkable || nc.check.holds("") {
		return false
	}
	if nc.quiet && nc.connected && len(nc.streams) == 0 {
		return true // a session of the tunnel is parked at no cost, and may stay like this
	}
	busy := false
	for _, ns := range nc.streams {
		switch {
		case ns.playback != nil:
			busy = true
		case ns.publication == nil:
		case ns.light == nil || !ns.light():
			return false
		default:
			busy = true
		}
	}
	return busy
}

// light reports whether a message can be obeyed without waiting and in short time.
func (nc *NetConn) light(m *chunk.Message) bool {
	switch m.TypeID {
	case message.TypeAudio, message.TypeVideo, message.TypeDataAMF0, message.TypeDataAMF3:
		ns := nc.stream(m.StreamID)
		return ns == nil || ns.publication == nil || ns.light != nil && ns.light()
	case message.TypeCommandAMF0, message.TypeCommandAMF3, message.TypeAggregate:
		return false
	}
	return true
}

// serve runs the connection on the calling goroutine until it has ended or is
// parked. Then the connection is not the caller's any more.
func (nc *NetConn) serve() {
	for {
		err := nc.run()
		if !errors.Is(err, syscall.EAGAIN) {
			nc.end(err)
			return
		}
		nc.parked = true
		if nc.parker.Park(nc.step, nc.left) {
			return
		}
		nc.parked, nc.unparkable = false, true
	}
}

// step serves a parked connection for as long as something is at hand.
func (nc *NetConn) step() (stay bool) {
	nc.readErr = nc.run()
	return errors.Is(nc.readErr, syscall.EAGAIN)
}

// left goes on with a connection that is parked no more.
func (nc *NetConn) left() {
	nc.parked = false
	go func() { // stopped as the connection ends or is parked; whoever called Start waits for ended
		if errors.Is(nc.readErr, errHeavy) {
			nc.serve()
			return
		}
		nc.end(nc.readErr)
	}()
}
