package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kinds of floor.
const (
	FloorWrite   = "write"   // one vectored write per message and player; also what publishers, connects and goodput cost at least
	FloorVideo   = "video"   // one write per video frame and player, audio riding along
	FloorMerge   = "merge"   // one write per 350 ms and player
	FloorCanned  = "canned"  // the tunnel's requests answered by a loop with prepared answers
	FloorNetHTTP = "nethttp" // the same through net/http
	FloorTLS     = "tls"     // crypto/tls, one write per message and player
)

// FloorKinds lists the kinds of floor.
var FloorKinds = []string{FloorWrite, FloorVideo, FloorMerge, FloorCanned, FloorNetHTTP, FloorTLS}

const (
	mergeTime  = 350 * time.Millisecond
	audioPause = 40 * time.Millisecond // longest wait of audio for the next video frame
)

// Floor serves as a floor of the given kind on ln until ctx ends, and closes ln.
//
// A floor does the least that any server has to do for the same load. It answers
// the load generator's handshake and commands from prepared bytes and hands a
// publisher's chunks to the players as they are: message boundaries are found,
// nothing is decoded, cached or limited. It believes everything it reads and is
// for the load generator of this package only.
//
// On Linux the kinds write, video, merge and canned are one thread with epoll.
// Elsewhere a goroutine per connection stands in, which costs more.
func Floor(ctx context.Context, kind string, ln net.Listener) error {
	return serveFloor(ctx, kind, ln, newFloorHub(kind))
}

func serveFloor(ctx context.Context, kind string, ln net.Listener, hub *floorHub) error {
	switch kind {
	case FloorWrite, FloorVideo, FloorMerge, FloorCanned:
		return loopFloor(ctx, ln, hub)
	case FloorTLS:
		return tlsFloor(ctx, ln, hub)
	case FloorNetHTTP:
		return httpFloor(ctx, ln, hub)
	}
	ln.Close()
	return fmt.Errorf("bench: there is no floor %q, only %s", kind, strings.Join(FloorKinds, ", "))
}

// floorHub brings what publishers send to players. Its methods may be called by
// any goroutine.
type floorHub struct {
	// set at construction
	pause     time.Duration // how long messages wait for others; 0: not at all
	withVideo bool          // a video frame ends the wait
	// tamper, for tests, returns what goes out instead of a stream's n-th unit.
	tamper func(n uint64, b []byte) [][]byte

	mu      sync.Mutex
	streams map[string]*floorStream // guarded by mu
}

// floorStream is guarded by its hub's mu.
type floorStream struct {
	headers []byte // sequence headers, as chunks
	players []floorPlayer
	units   uint64

	pending []byte
	due     time.Time // when pending goes out at the latest; zero: there is none
}

// floorPlayer takes chunks. It does not keep b and does not wait.
type floorPlayer interface{ send(b []byte) }

func newFloorHub(kind string) *floorHub {
	h := &floorHub{streams: map[string]*floorStream{}}
	switch kind {
	case FloorVideo:
		h.pause, h.withVideo = audioPause, true
	case FloorMerge:
		h.pause = mergeTime
	}
	return h
}

// stream returns the stream of a name. Called with mu held.
func (h *floorHub) stream(name string) *floorStream {
	st := h.streams[name]
	if st == nil {
		st = &floorStream{}
		h.streams[name] = st
	}
	return st
}

func (h *floorHub) join(name string, p floorPlayer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.stream(name)
	p.send(st.headers)
	st.players = append(st.players, p)
}

func (h *floorHub) leave(name string, p floorPlayer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.stream(name)
	if i := slices.Index(st.players, p); i >= 0 {
		st.players = slices.Delete(st.players, i, i+1)
	}
}

// relay gives a unit, the chunks of one or more whole messages, to the players.
func (h *floorHub) relay(name string, u floorUnit, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.stream(name)
	if u.header {
		st.headers = append(st.headers, b...)
	}
	if st.units++; len(st.players) == 0 {
		return
	}
	if h.tamper != nil {
		for _, b := range h.tamper(st.units, b) {
			st.write(b)
		}
		return
	}
	if h.pause == 0 {
		st.write(b)
		return
	}
	st.pending = append(st.pending, b...)
	if h.withVideo && u.video {
		st.flush()
	} else if st.due.IsZero() {
		st.due = time.Now().Add(h.pause)
	}
}

func (st *floorStream) write(b []byte) {
	for _, p := range st.players {
		p.send(b)
	}
}

func (st *floorStream) flush() {
	st.write(st.pending)
	st.pending, st.due = st.pending[:0], time.Time{}
}

// tick sends what has waited long enough and returns how long nothing else will
// be due; below zero: until something is relayed.
func (h *floorHub) tick() time.Duration {
	if h.pause == 0 {
		return -1
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := time.Duration(-1)
	for _, st := range h.streams {
		if st.due.IsZero() {
			continue
		}
		wait := time.Until(st.due)
		if wait <= 0 {
			st.flush()
			continue
		}
		if next < 0 || wait < next {
			next = wait
		}
	}
	return next
}
