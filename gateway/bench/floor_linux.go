package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floorLoop is one thread that waits with epoll and never blocks anywhere else.
type floorLoop struct {
	hub      *floorHub
	epoll    int
	listener int
	stop     int // eventfd
	peers    map[int32]*floorPeer
	spare    []*floorPeer // ended; their memory is for the next ones
	buf      []byte
}

// floorPeer is a connection.
type floorPeer struct {
	loop    *floorLoop
	fd      int
	rtmp    *floorSession
	http    *floorHTTP // nil: RTMP without HTTP
	pending []byte     // what the socket refused
	begun   bool
	dead    bool
}

// mostPending is what a player may be behind before it is given up.
const mostPending = 32 << 20

// loopFloor serves until ctx ends.
func loopFloor(ctx context.Context, ln net.Listener, hub *floorHub) (err error) {
	defer ln.Close()
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("bench: a floor listens on TCP, not on %T", ln)
	}
	file, err := tcp.File() // a copy that the poller of Go does not know
	if err != nil {
		return err
	}
	defer file.Close()
	l := &floorLoop{hub: hub, peers: map[int32]*floorPeer{}, buf: make([]byte, 256<<10), listener: int(file.Fd())}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer unix.Close(l.epoll)
	if l.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(l.stop)
	if err := errors.Join(unix.SetNonblock(l.listener, true), l.watch(l.listener, unix.EPOLL_CTL_ADD, unix.EPOLLIN), l.watch(l.stop, unix.EPOLL_CTL_ADD, unix.EPOLLIN)); err != nil {
		return err
	}
	stopped := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(l.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a counter of 1 always fits
		close(stopped)
	})
	defer func() {
		if !end() {
			<-stopped // it uses the descriptor that is closed next
		}
	}()
	return l.run()
}

func (l *floorLoop) watch(fd, op int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

func (l *floorLoop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		for _, p := range l.peers {
			unix.Close(p.fd)
		}
	}()
	events := make([]unix.EpollEvent, 256)
	for {
		timeout := -1
		if wait := l.hub.tick(); wait >= 0 {
			timeout = int(wait/time.Millisecond) + 1
		}
		n, err := waitEvents(l.epoll, events, timeout)
		if err != 0 && err != unix.EINTR {
			return os.NewSyscallError("epoll_pwait", err)
		}
		for _, e := range events[:n] {
			switch int(e.Fd) {
			case l.stop:
				return nil
			case l.listener:
				if err := l.accept(); err != nil {
					return err
				}
			default:
				if p := l.peers[e.Fd]; p != nil {
					p.event(e.Events)
				}
			}
		}
	}
}

func (l *floorLoop) accept() error {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("accept4", err)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // a socket that has failed shows at the next read
		p := l.peer(fd)
		l.peers[int32(fd)] = p
		if err := l.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
			return err
		}
	}
}

// peer returns a connection for a descriptor.
func (l *floorLoop) peer(fd int) *floorPeer {
	if n := len(l.spare); n > 0 {
		p := l.spare[n-1]
		l.spare = l.spare[:n-1]
		p.rtmp.reset()
		*p = floorPeer{loop: l, fd: fd, rtmp: p.rtmp}
		return p
	}
	p := &floorPeer{loop: l, fd: fd}
	p.rtmp = newFloorSession(l.hub, p)
	return p
}

func (p *floorPeer) event(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		b := p.pending
		p.pending = nil
		if p.send(b); len(p.pending) == 0 {
			p.watch(unix.EPOLLIN)
		}
	}
	if events&^uint32(unix.EPOLLOUT) != 0 && !p.dead {
		if err := p.read(); err != nil {
			p.dead = true
		}
	}
	if p.dead {
		p.rtmp.close()
		if p.http != nil {
			p.http.tunnel.rtmp.close()
		}
		delete(p.loop.peers, int32(p.fd))
		unix.Close(p.fd)
		p.loop.spare = append(p.loop.spare, p)
	}
}

func (p *floorPeer) read() error {
	buf := p.loop.buf
	n, err := unix.Read(p.fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return err
	case n == 0:
		return net.ErrClosed
	}
	if !p.begun {
		p.begun = true
		if buf[0] == 'P' {
			p.http = &floorHTTP{tunnel: newFloorTunnel(p.loop.hub)}
		}
	}
	if p.http == nil {
		return p.rtmp.feed(buf[:n])
	}
	answers, err := p.http.feed(buf[:n])
	p.send(answers)
	return err
}

// send writes b once and keeps what the socket refuses.
func (p *floorPeer) send(b []byte) {
	switch {
	case len(b) == 0 || p.dead:
		return
	case len(p.pending) > 0:
		if p.pending = append(p.pending, b...); len(p.pending) > mostPending {
			p.fail()
		}
		return
	}
	n, err := writeOnce(p.fd, b)
	switch {
	case err != 0 && err != unix.EAGAIN:
		p.fail()
	case n < len(b):
		p.pending = append(p.pending, b[n:]...)
		p.watch(unix.EPOLLIN | unix.EPOLLOUT)
	}
}

// fail makes the loop end the connection: a shut down socket is readable.
func (p *floorPeer) fail() {
	p.pending = nil
	_ = unix.Shutdown(p.fd, unix.SHUT_RDWR) // it has failed, or is about to
}

func (p *floorPeer) watch(events uint32) {
	if p.loop.watch(p.fd, unix.EPOLL_CTL_MOD, events) != nil {
		p.fail()
	}
}

// waitEvents waits for events, at most timeout milliseconds if that is not below
// zero. The scheduler of Go is not told, because handing the processor away and
// back costs a sixth of all that the floor does. Its preemption signal, which comes
// after 10 ms or when memory is collected, interrupts the wait.
func waitEvents(epoll int, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(timeout), 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

// writeOnce is one vectored write. The socket does not block, so the scheduler
// of Go need not know of it.
func writeOnce(fd int, b []byte) (int, unix.Errno) {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	n, _, err := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}
