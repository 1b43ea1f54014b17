package netio

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a connected TCP socket that a shard of a [Poller] watches from its beginning
// to its end. It has the methods that a TCPConn asks of a *net.TCPConn. The runtime's
// poller does not know it: each event wakes one thread, not one for either poller.
type socket struct {
	// set at construction
	fd         int
	generation int32 // tells its events from those of a socket that had the descriptor before
	shard      *shard
	remote     net.Addr

	local  atomic.Pointer[net.TCPAddr] // nil: not asked for yet
	users  atomic.Int64                // twice the calls that use fd, and one when closed
	parked atomic.Bool                 // the shard reads

	in, out gate
}

// closedBit is the bit of users that says so.
const closedBit = 1

// enter keeps fd open until exit.
func (s *socket) enter() error {
	for {
		n := s.users.Load()
		if n&closedBit != 0 {
			return net.ErrClosed
		}
		if s.users.CompareAndSwap(n, n+2) {
			return nil
		}
	}
}

func (s *socket) exit() {
	if s.users.Add(-2) == closedBit {
		s.release()
	}
}

func (s *socket) isClosed() bool { return s.users.Load()&closedBit != 0 }

// Close ends all calls. The descriptor is closed with the last of them.
func (s *socket) Close() error {
	n := s.users.Or(closedBit)
	if n&closedBit != 0 {
		return s.fail("close", net.ErrClosed)
	}
	s.in.open()
	s.out.open()
	if n == 0 {
		s.release()
	}
	return nil
}

// release gives the descriptor back. Nobody uses it any more.
func (s *socket) release() {
	s.shard.forget(s)
	_ = unix.Close(s.fd) // what was sent is the kernel's
	s.in.stop()
	s.out.stop()
}

// CloseWrite tells the peer that nothing more comes.
func (s *socket) CloseWrite() error {
	if err := s.enter(); err != nil {
		return s.fail("close", err)
	}
	defer s.exit()
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil {
		return s.fail("close", os.NewSyscallError("shutdown", err))
	}
	return nil
}

// RemoteAddr returns the peer's address.
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// LocalAddr returns the address that the peer reached; it is asked for once.
func (s *socket) LocalAddr() net.Addr {
	if a := s.local.Load(); a != nil {
		return a
	}
	if s.enter() != nil {
		return new(net.TCPAddr)
	}
	defer s.exit()
	var name unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(name))
	if _, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return new(net.TCPAddr)
	}
	a := tcpAddr(&name)
	s.local.Store(a)
	return a
}

// tcpAddr returns the address as package net has it.
func tcpAddr(name *unix.RawSockaddrAny) *net.TCPAddr {
	switch name.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return &net.TCPAddr{IP: slices.Clone(in.Addr[:]), Port: port(&in.Port)}
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(name))
		return &net.TCPAddr{IP: slices.Clone(in.Addr[:]), Port: port(&in.Port), Zone: zone(in.Scope_id)}
	}
	return new(net.TCPAddr)
}

// port converts from the order of the network.
func port(p *uint16) int {
	return int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]))
}

// zone is the name of an interface, or nothing for an address that belongs to none.
func zone(id uint32) string {
	if id == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(id)); err == nil {
		return i.Name
	}
	return ""
}

// SetDeadline sets both deadlines.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline bounds reading; the zero time ends the bound.
func (s *socket) SetReadDeadline(t time.Time) error {
	err := s.setDeadline(&s.in, t)
	if s.parked.Load() { // else who reads sees to it
		s.in.watch()
	}
	return err
}

// SetWriteDeadline bounds writing; the zero time ends the bound.
func (s *socket) SetWriteDeadline(t time.Time) error { return s.setDeadline(&s.out, t) }

func (s *socket) setDeadline(g *gate, t time.Time) error {
	if s.isClosed() {
		return s.fail("set", net.ErrClosed)
	}
	g.setDeadline(t)
	return nil
}

// SyscallConn returns access to the descriptor.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return rawSocket{s}, nil }

// rawSocket is a socket's syscall.RawConn. Read and Write call f until it returns true
// and wait before each further call, with the deadlines of the socket.
type rawSocket struct{ s *socket }

func (r rawSocket) Control(f func(fd uintptr)) error {
	if err := r.s.enter(); err != nil {
		return r.s.fail("control", err)
	}
	defer r.s.exit()
	f(uintptr(r.s.fd))
	return nil
}

func (r rawSocket) Read(f func(fd uintptr) bool) error  { return r.s.use("read", &r.s.in, f) }
func (r rawSocket) Write(f func(fd uintptr) bool) error { return r.s.use("write", &r.s.out, f) }

func (s *socket) use(op string, g *gate, f func(fd uintptr) bool) error {
	return s.await(op, g, f, false)
}

// await is use for who knows whether f would be in vain: nothing was there at the last
// call, and whatever has come since has opened the gate.
func (s *socket) await(op string, g *gate, f func(fd uintptr) bool, vain bool) error {
	if err := s.enter(); err != nil {
		return s.fail(op, err)
	}
	defer s.exit()
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if !vain {
			g.begin()
		}
		switch {
		case s.isClosed():
			return s.fail(op, net.ErrClosed)
		case g.expired():
			return s.fail(op, os.ErrDeadlineExceeded)
		case !vain && f(uintptr(s.fd)):
			return nil
		}
		vain = false
		g.wait()
	}
}

// fail is how package net reports err.
func (s *socket) fail(op string, err error) error {
	e := &net.OpError{Op: op, Net: "tcp", Addr: s.remote, Err: err}
	if a := s.local.Load(); a != nil {
		e.Source = a
	}
	return e
}

// States of a gate.
const (
	gateShut    = iota
	gateOpen    // something has happened since begin
	gateWaiting // somebody waits for it
)

// gate is where one direction of a socket is waited for.
type gate struct {
	ring func() // set at construction, called when the deadline may have passed

	state    atomic.Int32
	deadline atomic.Int64 // in time since epoch; 0: none

	mu sync.Mutex // held by who uses the direction and may wait
	// guarded by mu
	news  bool          // begin has found the gate open
	wake  chan struct{} // gets one for each gateWaiting that open has ended
	timer *time.Timer   // calls ring at armed; nil: never needed
	armed int64
}

// epoch is what deadlines are counted from: they follow the monotonic clock.
var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// open ends the wait that is, or the next one. It reports whether somebody waited.
func (g *gate) open() bool {
	if g.state.Load() == gateOpen || g.state.Swap(gateOpen) != gateWaiting {
		return false
	}
	g.wake <- struct{}{} // there is room: one waits, and has taken what came before
	return true
}

// begin forgets what has happened before the caller looks at the socket, except that
// something has: one who does not look must know. Nobody waits: the caller holds mu.
func (g *gate) begin() {
	if g.news = g.state.Load() == gateOpen; g.news {
		g.state.Store(gateShut)
	}
}

// wait returns once the gate is open, which it may be without a reason. The caller holds
// mu and looks again.
func (g *gate) wait() {
	if g.wake == nil {
		g.wake = make(chan struct{}, 1)
	}
	g.arm()
	if g.state.CompareAndSwap(gateShut, gateWaiting) {
		<-g.wake
	}
}

// arm sees to it that the timer rings when the deadline passes. One that is early is left
// to ring: a deadline that moves with every read costs nothing then. The caller holds mu.
func (g *gate) arm() {
	until := g.deadline.Load()
	if until == 0 {
		return
	}
	at := now()
	if g.armed > at && g.armed <= until {
		return
	}
	g.armed = until
	if g.timer == nil {
		g.timer = time.AfterFunc(time.Duration(until-at), g.ring)
		return
	}
	g.timer.Reset(time.Duration(until - at))
}

// watch is arm for a direction that nobody waits for: the connection is parked. Whoever
// has mu arms the timer himself before he waits.
func (g *gate) watch() {
	if g.deadline.Load() != 0 && g.mu.TryLock() {
		g.arm()
		g.mu.Unlock()
	}
}

// disarm stops the timer, unless somebody waits, who has better to do: ringing in vain
// starts a goroutine, for each of those who have connected a while ago.
func (g *gate) disarm() {
	if !g.mu.TryLock() {
		return
	}
	defer g.mu.Unlock()
	if g.deadline.Load() == 0 && g.armed != 0 {
		g.timer.Stop()
		g.armed = 0
	}
}

// stop ends the timer. Nobody uses the gate any more.
func (g *gate) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *gate) setDeadline(t time.Time) {
	until := int64(0)
	if !t.IsZero() {
		until = max(int64(t.Sub(epoch)), 1)
	}
	if g.deadline.Swap(until) != until {
		g.open() // who waits looks at it
	}
	if until == 0 {
		g.disarm()
	}
}

func (g *gate) expired() bool {
	until := g.deadline.Load()
	return until != 0 && now() >= until
}
