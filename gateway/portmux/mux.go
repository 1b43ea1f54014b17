package portmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway/netio"
)

// Delays after an accept that failed for lack of descriptors or memory.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second

	acceptSaid = time.Minute // at least, between two lines about them
)

// lastID numbers the connections of the process.
var lastID atomic.Uint64

// Info is what the mux learned about a connection.
type Info struct {
	// ID is unique in the process.
	ID uint64
	// Listener is the Name of the mux.
	Listener string
	// RemoteAddr is the client: the source a trusted proxy named, else the peer.
	RemoteAddr net.Addr
	// LocalAddr is the address the client reached, by the same rule.
	LocalAddr net.Addr
	// TLS is nil for a plain connection.
	TLS *tls.ConnectionState
	// Proxied is true when a PROXY header was read, even if it named no client:
	// then RemoteAddr is the proxy and must not be taken for a local client.
	Proxied bool
}

// Config is what a Mux needs. A nil handler means that its protocol is not served here.
//
// Handlers run on a goroutine of the connection and own the connection: they close it,
// or hand it to someone who does. Its deadlines are cleared. It stays counted until it is
// closed, not until the handler returns.
type Config struct {
	// Name is the listener's name in Info.
	Name string
	// TLS is the server configuration; nil refuses TLS.
	TLS *tls.Config
	// SniffTimeout bounds everything before the handler, the TLS handshake
	// included. Zero means 10 s.
	SniffTimeout time.Duration
	// TrustedProxies may send a PROXY header; they need not.
	TrustedProxies []netip.Prefix
	// Limiter counts open connections; nil means no limits.
	Limiter *Limiter
	// Rejects counts what is closed here; nil means a counter of the mux's own.
	Rejects *Rejects
	// NotTrusted is told who sent a PROXY header, version 2, without being trusted.
	// May be nil.
	NotTrusted func(peer net.Addr)
	// Refused is told of each connection that is closed here. why may be nil. It must
	// not wait: it may hold up accepting. May be nil.
	Refused func(reason Reason, client net.Addr, why error)
	// Log gets one debug line per connection that is closed here, and a warning
	// when accepting fails.
	Log zerolog.Logger

	// RTMP gets connections that begin with 0x03 (plain) or 0x06, 0x08, 0x09 (RTMPE).
	RTMP func(c net.Conn, info Info)
	// RTMPParked is offered those of them that are parked, so that they need no
	// goroutine: it must not wait, parks the connection, and returns true; or it returns
	// false and RTMP gets the connection. May be nil.
	RTMPParked func(c net.Conn, info Info) bool
	// HTTP gets connections that begin with an upper-case letter.
	HTTP func(c net.Conn, info Info)
	// H2 gets TLS connections that negotiated h2.
	H2 func(c *tls.Conn, info Info)
}

// Mux serves one listener. Its methods may run concurrently, Run only once.
type Mux struct {
	// set at construction
	ln      net.Listener
	cfg     Config
	rejects *Rejects

	handlers sync.WaitGroup // waited by Run; holds connections without a handler too
	crew     crew           // runs handlers; waited by Run after them

	mu sync.Mutex
	// guarded by mu
	conns    map[*arrival]struct{} // until closed
	refusing bool                  // Run's context has ended: nothing new is sniffed
}

// New returns a Mux for ln, which belongs to it from then on.
func New(ln net.Listener, cfg Config) *Mux {
	if cfg.SniffTimeout <= 0 {
		cfg.SniffTimeout = 10 * time.Second
	}
	m := &Mux{ln: ln, cfg: cfg, rejects: cfg.Rejects, conns: make(map[*arrival]struct{})}
	if m.rejects == nil {
		m.rejects = new(Rejects)
	}
	return m
}

// Addr returns the listener's address.
func (m *Mux) Addr() net.Addr { return m.ln.Addr() }

// Rejects returns the counter of connections closed here.
func (m *Mux) Rejects() *Rejects { return m.rejects }

// Run accepts until CloseListener or the end of ctx, then waits for the handlers that
// still run and returns nil. The end of ctx also closes connections that no handler
// has yet; those of handlers are left to them. An error says that accepting failed.
func (m *Mux) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, m.refuse)
	defer stop()
	err := m.accept(ctx)
	m.handlers.Wait()
	m.crew.wait()
	return err
}

// CloseListener stops accepting. Connections are not touched. Closing again does nothing.
func (m *Mux) CloseListener() error {
	if err := m.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// CloseConns closes every connection accepted here that is still open, also those that
// handlers have.
func (m *Mux) CloseConns() {
	for _, a := range m.open(func(*arrival) bool { return true }) {
		_ = a.conn.Close()
	}
}

// Open returns the number of connections accepted here that are not closed.
func (m *Mux) Open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

// refuse ends accepting and sniffing.
func (m *Mux) refuse() {
	_ = m.ln.Close()
	m.mu.Lock()
	m.refusing = true
	m.mu.Unlock()
	for _, a := range m.open(func(a *arrival) bool { return !a.handled.Load() }) {
		_ = a.conn.Close()
	}
}

// open returns the arrivals that match. They are closed without holding mu, because
// closing takes them out.
func (m *Mux) open(match func(*arrival) bool) []*arrival {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []*arrival
	for a := range m.conns {
		if match(a) {
			found = append(found, a)
		}
	}
	return found
}

// accept runs the accept loop.
func (m *Mux) accept(ctx context.Context) error {
	pause := time.Duration(0)
	var (
		said   time.Time // in the log
		failed int       // since then
	)
	admit := func(c net.Conn) {
		pause = 0
		m.admit(ctx, c)
	}
	for {
		err := m.next(admit)
		if err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Temporary() { //nolint:staticcheck // what net/http does: there is no other sign for EMFILE and the like
			return fmt.Errorf("accept: %w", err)
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		failed++
		if now := time.Now(); now.Sub(said) >= acceptSaid { // clients that come and go could make it many times a second
			m.cfg.Log.Warn().Err(err).Int("failed", failed).Msg("accept failed, pausing")
			said, failed = now, 0
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// server is the ability of a listener to call for each connection, see package netio.
type server interface {
	Serve(handle func(net.Conn)) error
}

// next hands over one connection, or all until an error.
func (m *Mux) next(handle func(net.Conn)) error {
	if s, ok := m.ln.(server); ok {
		return s.Serve(handle)
	}
	c, err := m.ln.Accept()
	if err == nil {
		handle(c)
	}
	return err
}

// admit applies the limits and starts to look at the connection.
func (m *Mux) admit(ctx context.Context, c net.Conn) {
	a := &arrival{mux: m, conn: c}
	a.info = Info{
		ID: lastID.Add(1), Listener: m.cfg.Name,
		RemoteAddr: c.RemoteAddr(), LocalAddr: c.LocalAddr(),
	}
	peer := addrOf(a.info.RemoteAddr)
	a.trusted = m.trusted(peer)
	if l := m.cfg.Limiter; l != nil {
		if !l.add() {
			a.reject(ReasonTotal, nil)
			return
		}
		a.counted = true
	}
	// A trusted proxy's connection counts for the client it names, if it does.
	if !a.trusted && !a.countAddress(peer) {
		a.release()
		a.reject(ReasonAddress, nil)
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		c = netio.NewTCP(tcp)
	}
	if tcp, ok := c.(*netio.TCPConn); ok {
		tcp.OnClose(a.closed)
		a.conn = tcp
	} else {
		a.conn = &watchedConn{Conn: c, onClose: a.closed}
	}
	m.mu.Lock()
	refusing := m.refusing
	m.conns[a] = struct{}{}
	m.mu.Unlock()
	if refusing {
		_ = a.conn.Close()
		return
	}
	a.start(ctx)
}

// watchedConn reports when a connection that is not TCP is closed.
type watchedConn struct {
	net.Conn

	onClose func()
	once    sync.Once
}

func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.onClose)
	return err
}
