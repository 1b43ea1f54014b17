package portmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"culvert/gateway/netio"
)

// First bytes. RTMP's C0 is a version, 0x03 for plain and 0x06, 0x08, 0x09 for RTMPE;
// versions from 32 on are forbidden so that text can be told apart (RTMP 1.0 §5.2.2).
const (
	byteTLS    = 0x16 // ContentType handshake
	byteRTMP   = 0x03
	byteRTMPE  = 0x06
	byteRTMPE8 = 0x08
	byteRTMPE9 = 0x09
)

// arrival is one accepted connection on its way to a handler.
type arrival struct {
	// set at construction
	mux     *Mux
	conn    net.Conn // the socket; TLS runs above it
	trusted bool
	counted bool // in the Limiter

	// owned by who serves the connection
	info   Info
	first  [1]byte // what was sniffed, lent to the connection
	failed error   // why a parked one could not be read

	used    atomic.Pointer[netip.Addr] // the client it counts for
	handled atomic.Bool                // a handler has it
	gone    atomic.Bool                // the socket is closed
}

// countAddress counts the connection for addr; false when that client has too many.
func (a *arrival) countAddress(addr netip.Addr) bool {
	l := a.mux.cfg.Limiter
	if l == nil {
		return true
	}
	if !l.addAddress(addr) {
		return false
	}
	a.used.Store(&addr)
	if a.gone.Load() { // closed meanwhile: closed may not have seen it
		a.releaseAddress()
	}
	return true
}

func (a *arrival) releaseAddress() {
	if addr := a.used.Swap(nil); addr != nil {
		a.mux.cfg.Limiter.removeAddress(*addr)
	}
}

// release takes the connection out of the Limiter.
func (a *arrival) release() {
	if !a.counted {
		return
	}
	a.releaseAddress()
	a.mux.cfg.Limiter.remove()
}

// closed runs once, when the socket is closed by anyone.
func (a *arrival) closed() {
	a.mux.mu.Lock()
	delete(a.mux.conns, a)
	a.mux.mu.Unlock()
	a.gone.Store(true)
	a.release()
}

// reject closes the connection and counts why.
func (a *arrival) reject(r Reason, err error) {
	a.mux.rejects.add(r)
	_ = a.conn.Close()
	a.mux.cfg.Log.Debug().Uint64("conn", a.info.ID).Stringer("remote", a.info.RemoteAddr).
		Stringer("reason", r).AnErr("error", err).Msg("connection refused")
	if a.mux.cfg.Refused != nil {
		a.mux.cfg.Refused(r, a.info.RemoteAddr, err)
	}
}

// rejectRead is reject for a failed read; none says that no byte had arrived.
func (a *arrival) rejectRead(err error, none bool) {
	switch {
	case errors.Is(err, net.ErrClosed): // by ourselves
		_ = a.conn.Close()
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.reject(ReasonTimeout, err)
	case remoteAlert(err): // TLS 1.3: a client that distrusts us says so after its handshake
		a.reject(ReasonTLSHandshake, err)
	case none:
		a.reject(ReasonEmpty, nil)
	default:
		a.reject(ReasonInterrupted, err)
	}
}

// parker is the ability of a connection to be waited for without a goroutine, see
// package netio.
type parker interface {
	TryPeek() (byte, error)
	Park(step func() (stay bool), left func()) bool
}

// start finds the handler and calls it, without a goroutine for as long as it can.
func (a *arrival) start(ctx context.Context) {
	if err := a.conn.SetDeadline(time.Now().Add(a.mux.cfg.SniffTimeout)); err != nil {
		a.rejectRead(err, true)
		return
	}
	a.mux.handlers.Add(1)
	if p, ok := a.conn.(parker); ok && !a.trusted {
		if p.Park(func() bool { return a.step(p) }, func() { a.left(ctx) }) {
			return
		}
	}
	// Stopped by the deadline or refuse while it sniffs, then by the handler; waited by Run.
	a.mux.crew.run(func() { a.serve(ctx) })
}

// step looks at the first byte of a parked connection.
func (a *arrival) step(p parker) (stay bool) {
	first, err := p.TryPeek()
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) {
			return true
		}
		a.failed = err
		return false
	}
	a.first[0] = first
	if !isRTMP(first) || a.mux.cfg.RTMPParked == nil {
		return false
	}
	if a.failed = a.free(); a.failed != nil || !a.mux.cfg.RTMPParked(a.conn, a.info) {
		return false
	}
	a.handled.Store(true)
	a.mux.handlers.Done()
	return true
}

// left goes on with a connection whose first byte is there, or never came.
func (a *arrival) left(ctx context.Context) {
	switch {
	case a.handled.Load(): // its handler has closed it at once
	case a.failed != nil:
		a.rejectRead(a.failed, true)
		a.mux.handlers.Done()
	default:
		a.mux.crew.run(func() { // stopped and waited for as in start
			defer a.mux.handlers.Done()
			a.sniffed(ctx, a.conn, a.first[0])
		})
	}
}

// serve is the way of a connection that has a goroutine from the beginning.
func (a *arrival) serve(ctx context.Context) {
	defer a.mux.handlers.Done()
	c := a.conn
	if _, err := io.ReadFull(c, a.first[:]); err != nil {
		a.rejectRead(err, true)
		return
	}
	head := a.first[:]
	if a.trusted {
		var ok bool
		if c, head, ok = a.proxy(c); !ok {
			return
		}
	}
	a.sniffed(ctx, netio.Prefixed(c, head), head[0])
}

// sniffed calls the handler of a connection that begins with first.
func (a *arrival) sniffed(ctx context.Context, c net.Conn, first byte) {
	if first == byteTLS {
		secure, ok := a.secure(ctx, c)
		if !ok {
			return
		}
		c = secure
		if _, err := io.ReadFull(c, a.first[:]); err != nil {
			a.rejectRead(err, true)
			return
		}
		first = a.first[0]
		c = netio.Prefixed(c, a.first[:])
	}
	a.dispatch(c, first)
}

func isRTMP(first byte) bool {
	return first == byteRTMP || first == byteRTMPE || first == byteRTMPE8 || first == byteRTMPE9
}

// proxy reads the PROXY header of a trusted peer, counts the connection for the client
// it names, and returns the bytes that come first behind the header.
func (a *arrival) proxy(c net.Conn) (net.Conn, []byte, bool) {
	head := a.first[:]
	if mayBeProxy(head[0]) {
		header, rest, err := readProxy(c, head[0])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			a.rejectRead(err, false)
			return nil, nil, false
		case err != nil:
			a.reject(ReasonProxyHeader, err)
			return nil, nil, false
		}
		head = rest
		a.info.Proxied = header.found
		if header.source != nil {
			a.info.RemoteAddr, a.info.LocalAddr = header.source, header.destination
		}
	}
	// A proxy that names no client is not one client: many are behind it.
	if peer := addrOf(a.info.RemoteAddr); !a.mux.trusted(peer) && !a.countAddress(peer) {
		a.reject(ReasonAddress, nil)
		return nil, nil, false
	}
	if len(head) == 0 {
		if _, err := io.ReadFull(c, a.first[:]); err != nil {
			a.rejectRead(err, true)
			return nil, nil, false
		}
		head = a.first[:]
	}
	return c, head, true
}

// secure runs the TLS handshake. False means that the connection is dealt with: it
// failed, or ALPN named its handler.
func (a *arrival) secure(ctx context.Context, c net.Conn) (net.Conn, bool) {
	if a.mux.cfg.TLS == nil {
		a.reject(ReasonTLSOff, nil)
		return nil, false
	}
	var (
		secure net.Conn
		bare   func() *tls.Conn
		state  tls.ConnectionState
	)
	if tcp, ok := c.(*netio.TCPConn); ok {
		t, err := netio.ServerTLS(ctx, tcp, a.mux.cfg.TLS, 0)
		if err != nil {
			a.rejectTLS(err)
			return nil, false
		}
		secure, bare, state = t, t.Conn, t.ConnectionState()
	} else {
		t := tls.Server(c, a.mux.cfg.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			a.rejectTLS(fmt.Errorf("tls handshake: %w", err))
			return nil, false
		}
		secure, bare, state = t, func() *tls.Conn { return t }, t.ConnectionState()
	}
	a.info.TLS = &state
	switch state.NegotiatedProtocol {
	case "", "http/1.1":
	case "h2":
		if a.mux.cfg.H2 == nil {
			a.reject(ReasonNotServed, nil)
		} else if a.hand() {
			a.mux.cfg.H2(bare(), a.info)
		}
		return nil, false
	default: // the handshake was the answer: a challenge of ACME, or a probe. Neither needs a client certificate, so nothing more is served.
		_ = secure.Close()
		return nil, false
	}
	return secure, true
}

func (a *arrival) rejectTLS(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		a.rejectRead(err, false)
		return
	}
	a.reject(ReasonTLSHandshake, err)
}

// dispatch calls the handler for a connection that begins with first.
func (a *arrival) dispatch(c net.Conn, first byte) {
	var handler func(net.Conn, Info)
	switch {
	case isRTMP(first):
		handler = a.mux.cfg.RTMP
	case first >= 'A' && first <= 'Z':
		handler = a.mux.cfg.HTTP
	case first == proxyV2[0] && !a.trusted && a.claims(c):
		a.reject(ReasonNotTrusted, nil)
		if a.mux.cfg.NotTrusted != nil {
			a.mux.cfg.NotTrusted(a.info.RemoteAddr)
		}
		return
	default:
		a.reject(ReasonUnknown, nil)
		return
	}
	switch {
	case handler == nil:
		a.reject(ReasonNotServed, nil)
	case a.hand():
		handler(c, a.info)
	}
}

// claims reports whether c, which is refused in any case, begins with the PROXY header that
// only a trusted peer may send.
func (a *arrival) claims(c net.Conn) bool {
	var b [len(proxyV2)]byte
	_, err := io.ReadFull(c, b[:])
	return err == nil && string(b[:]) == proxyV2
}

// hand clears the deadline and marks the connection as the handler's. False means that
// it failed or was closed meanwhile.
func (a *arrival) hand() bool {
	if err := a.free(); err != nil {
		a.rejectRead(err, false)
		return false
	}
	a.handled.Store(true)
	return true
}

// free clears the deadline.
func (a *arrival) free() error { return a.conn.SetDeadline(time.Time{}) }

// remoteAlert reports whether crypto/tls got an alert from the peer.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
