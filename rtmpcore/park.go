package rtmpcore

import (
	"errors"
	"fmt"
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
	TryReadTo(p []byte) (int, error)                         // likewise
	TryWritev(bufs [][]byte) (int, error)                    // likewise
	Park(step func() (stay bool), left func()) bool          // false: this connection cannot
	Wake()                                                   // step is called although there may be nothing
}

// lightHandler is the ability of a Handler to say that its Connect, and Close of the
// session that it returns, wait for nobody.
type lightHandler interface{ LightConnect() bool }

// lightCommand is the most bytes of a connect command that are decoded where others
// wait for their turn.
const lightCommand = 4 << 10

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
	case message.TypeCommandAMF0, message.TypeCommandAMF3:
		return !nc.connected && m.Len() <= lightCommand && nc.lightConnect()
	case message.TypeAggregate, message.TypeSharedObjectAMF0, message.TypeSharedObjectAMF3:
		return false
	}
	return true
}

func (nc *NetConn) lightConnect() bool {
	h, ok := nc.handler.(lightHandler)
	return ok && h.LightConnect()
}

// shakeNow goes on with the handshake as far as that is possible without waiting. Keys
// of RTMPE take long: they are made by a goroutine of the connection's own.
func (nc *NetConn) shakeNow() error {
	o := nc.opening
	for space := o.Space(); space != nil; space = o.Space() {
		if o.Encrypted() {
			return errHeavy
		}
		if !o.Begun() {
			space = space[:1] // C0 alone says so
		}
		n, err := nc.parker.TryReadTo(space)
		if errors.Is(err, syscall.EAGAIN) {
			o.Rest()
			return err
		}
		if err != nil {
			return nc.notShaken(o.Failed(err))
		}
		answer, err := o.Filled(n)
		if err != nil {
			return nc.notShaken(err)
		}
		if len(answer) == 0 {
			continue
		}
		if _, err := nc.parker.TryWritev([][]byte{answer}); err != nil { // a new connection has room
			return nc.notShaken(fmt.Errorf("handshake: write S0 S1 S2: %w", err))
		}
	}
	return nc.shaken()
}

// serve runs the connection on the calling goroutine until it has ended or is
// parked. Then the connection is not the caller's any more.
func (nc *NetConn) serve() {
	if err := nc.shake(); err != nil {
		nc.end(err)
		return
	}
	for {
		err := nc.run()
		if !errors.Is(err, syscall.EAGAIN) {
			nc.end(err)
			return
		}
		if nc.park() {
			return
		}
	}
}

// park gives the calling goroutine up, and reports whether it could. It is for a
// connection that can be parked.
func (nc *NetConn) park() bool {
	nc.parked = true
	if nc.parker.Park(nc.step, nc.left) {
		return true
	}
	nc.parked, nc.unparkable = false, true
	return false
}

// step serves a parked connection for as long as something is at hand.
func (nc *NetConn) step() (stay bool) {
	nc.readErr = nil
	if nc.opening != nil {
		nc.readErr = nc.shakeNow()
	}
	if nc.readErr == nil {
		nc.readErr = nc.run()
	}
	return errors.Is(nc.readErr, syscall.EAGAIN)
}

// left goes on with a connection that is parked no more.
func (nc *NetConn) left() {
	nc.parked = false
	switch {
	case errors.Is(nc.readErr, errHeavy):
		go nc.serve() // stopped as the connection ends or is parked; whoever called Start waits for ended
	case nc.endsAtOnce():
		nc.end(nc.readErr)
	default:
		go nc.end(nc.readErr) // stopped by the times that bound an end; likewise
	}
}

// endsAtOnce reports whether the end of the connection waits for nothing: the client has
// no stream, and no word to read.
func (nc *NetConn) endsAtOnce() bool {
	return len(nc.streams) == 0 && (nc.session == nil || nc.lightConnect()) && nc.verdict == nil && nc.kickedFor() == nil
}
