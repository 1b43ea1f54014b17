package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listen opens a TCP port whose accepted connections have what every connection of a
// gateway gets: no Nagle delay, keep-alive with the constants of this package, and on
// Linux TCP_USER_TIMEOUT. There they inherit it, without a system call each.
//
// With a Poller, which may be nil, Accept returns each connection as a [TCPConn] that
// can be parked; else, and on other systems, as a *net.TCPConn.
func Listen(ctx context.Context, addr string, p *Poller) (net.Listener, error) {
	ln, err := listenConfig().Listen(ctx, "tcp", addr)
	if err != nil || p == nil {
		return ln, err
	}
	own, err := p.listen(ln.(*net.TCPListener)) // what Listen returns for "tcp"
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return own, nil
}

// listenConfig sets the options on the listening socket, whose connections inherit them.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{
		KeepAlive: -1, // leave alone what is inherited
		Control: func(_, _ string, raw syscall.RawConn) error {
			for _, o := range []struct {
				level, name int
				value       time.Duration
				unit        time.Duration
			}{
				{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, 1},
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, KeepAliveIdle, time.Second},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, KeepAliveInterval, time.Second},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, KeepAliveCount, 1},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, UserTimeout, time.Millisecond},
			} {
				if err := setOption(raw, o.level, o.name, int(o.value/o.unit)); err != nil {
					return fmt.Errorf("set keep-alive: %w", err)
				}
			}
			return nil
		},
	}
}

// listener accepts sockets for a Poller, which watches its own socket as it watches
// theirs: as a newcomer, for whom those come first who are settled.
type listener struct {
	// set at construction
	conn   *TCPConn // never read
	addr   *net.TCPAddr
	poller *Poller

	// owned by who accepts
	accept func(fd uintptr) bool
	fd     int
	peer   unix.RawSockaddrAny
	errno  syscall.Errno
}

// turnAccepts is the most connections that are accepted before others have their turn.
const turnAccepts = 16

func (p *Poller) listen(ln *net.TCPListener) (*listener, error) {
	fd, err := duplicate(ln)
	if err != nil {
		return nil, err
	}
	l := &listener{addr: ln.Addr().(*net.TCPAddr), poller: p}
	l.accept = l.tryAccept
	if l.conn, err = p.watch(fd, l.addr, nil); err != nil {
		return nil, err
	}
	_ = ln.Close() // the other descriptor is the listener now
	return l, nil
}

// Serve accepts without a goroutine: it calls handle for each connection, where others
// wait for their turn, until accepting fails. Then it may be called again. It must not
// run concurrently with itself or Accept.
func (l *listener) Serve(handle func(net.Conn)) error {
	failed := make(chan error, 1)
	var err error
	l.conn.settled.Store(false)
	if !l.conn.Park(func() (stay bool) {
		err = l.serve(handle)
		return err == nil
	}, func() { failed <- err }) {
		return l.fail(net.ErrClosed)
	}
	return <-failed
}

// serve accepts those who have come, in one turn. Whoever is left waits for the next one.
func (l *listener) serve(handle func(net.Conn)) error {
	for range turnAccepts {
		var waited bool
		err := l.conn.raw.Read(func(fd uintptr) bool {
			waited = !l.accept(fd)
			return true
		})
		if waited {
			l.conn.dry.Store(true)
			return nil
		}
		c, err := l.accepted(err)
		if err != nil {
			return err
		}
		if c != nil {
			handle(c)
		}
	}
	return nil
}

// Accept waits for a connection. It must not run concurrently with itself.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.accepted(l.conn.raw.Read(l.accept))
		if err != nil {
			return nil, err
		}
		if c != nil {
			return c, nil
		}
	}
}

// accepted makes a connection of what accept brought, or nothing if it has ended already.
// err is why accept could not be called.
func (l *listener) accepted(err error) (*TCPConn, error) {
	switch {
	case err != nil:
		return nil, l.fail(net.ErrClosed)
	case l.errno == unix.ECONNABORTED:
		return nil, nil
	case l.errno != 0:
		return nil, l.fail(os.NewSyscallError("accept4", l.errno))
	}
	c, err := l.poller.watch(l.fd, l.local(), tcpAddr(&l.peer))
	switch {
	case errors.Is(err, net.ErrClosed): // the Poller is
		return nil, l.fail(net.ErrClosed)
	case err != nil:
		return nil, l.fail(passing{err})
	}
	return c, nil
}

// passing is an error that says nothing about the next connection.
type passing struct{ error }

func (passing) Temporary() bool { return true }
func (p passing) Unwrap() error { return p.error }

// tryAccept returns false when nobody has come. unix.Accept4 would ask for the protocol
// of each connection, with a system call.
func (l *listener) tryAccept(fd uintptr) bool {
	for {
		size := uint32(unsafe.Sizeof(l.peer))
		n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&l.peer)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		l.fd, l.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// local is the address of all connections, or nil when the port is open on several.
func (l *listener) local() *net.TCPAddr {
	if l.addr.IP.IsUnspecified() {
		return nil
	}
	return l.addr
}

// Close stops accepting.
func (l *listener) Close() error { return l.conn.Close() }

// Addr returns the address that is listened on.
func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) fail(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

// Adopt takes c, which must not be used afterwards except through the TCPConn that is
// returned. It can be parked unless p is nil or the system has no descriptor left for a
// moment. No socket option is changed.
func (p *Poller) Adopt(c *net.TCPConn) *TCPConn {
	if p == nil {
		return NewTCP(c)
	}
	fd, err := duplicate(c)
	if err != nil {
		return NewTCP(c)
	}
	own, err := p.watch(fd, c.LocalAddr().(*net.TCPAddr), c.RemoteAddr())
	if err != nil {
		return NewTCP(c)
	}
	_ = c.Close() // the other descriptor is the connection now
	return own
}

// duplicate returns a further descriptor of c's socket.
func duplicate(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var (
		fd    int
		dupOf error
	)
	if err := raw.Control(func(from uintptr) { fd, dupOf = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dupOf != nil {
		return -1, fmt.Errorf("duplicate: %w", os.NewSyscallError("fcntl", dupOf))
	}
	return fd, nil
}

// watch makes a connection of a socket, which is closed when that fails.
func (p *Poller) watch(fd int, local *net.TCPAddr, remote net.Addr) (*TCPConn, error) {
	c := new(TCPConn)
	c.socket = &socket{fd: fd, remote: remote, shard: p.shards[p.next.Add(1)%uint32(len(p.shards))]}
	c.socket.local.Store(local)
	c.socket.in.ring = c.overdue
	c.socket.out.ring = func() { c.socket.out.open() }
	c.stream, c.raw = c.socket, rawSocket{c.socket}
	c.bind()
	c.dry.Store(true) // what is there is an event
	if err := c.socket.shard.add(c); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}
