package netio

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// vectors is the number of iovecs handed to the kernel at a time. A frame
	// needs two or three, a burst is written in rounds.
	vectors = 64
	// rawLimit is the size up to which a write does not tell the scheduler. Copying
	// more into the kernel takes long enough for another goroutine to want the thread.
	rawLimit = 64 << 10
)

// errAgain is boxed once, so that returning it allocates nothing.
var errAgain error = syscall.EAGAIN

// stream is what a TCPConn asks of what it wraps.
type stream interface {
	Close() error
	CloseWrite() error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// rawTCP is what the abilities of a TCPConn need.
type rawTCP struct {
	// set at construction
	raw      syscall.RawConn
	readOnce func(fd uintptr) bool
	readNow  func(fd uintptr) bool

	parking

	ahead *[]byte // owned by the reader: where head is; nil: not in one of aheads

	// owned by the reader, only used while a LazyRead or TryRead runs
	readPool  *sync.Pool
	readBuf   *[]byte
	readN     int
	readErrno syscall.Errno
}

func (c *TCPConn) init(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		panic("netio: NewTCP needs a connected socket: " + err.Error())
	}
	c.raw = raw
	c.bind()
}

func (c *TCPConn) bind() {
	c.readOnce = c.readAvailable
	c.readNow = func(fd uintptr) bool { c.readAvailable(fd); return true }
}

// writeCall is one vectored write. The closure is bound once, so a pooled call
// allocates nothing.
type writeCall struct {
	run   func(fd uintptr) bool // writes iov once
	all   func(fd uintptr) bool // writes rest, false while some is left
	rest  []byte
	iov   [vectors]syscall.Iovec
	count int
	size  int
	n     int
	errno syscall.Errno
}

var writeCalls = sync.Pool{New: func() any {
	w := new(writeCall)
	w.run, w.all = w.writev, w.writeAll
	return w
}}

// writeAll returns false when the socket is full.
func (w *writeCall) writeAll(fd uintptr) bool {
	for len(w.rest) > 0 {
		w.iov[0].Base = unsafe.SliceData(w.rest)
		w.iov[0].SetLen(len(w.rest))
		w.count, w.size = 1, len(w.rest)
		w.writev(fd)
		w.rest = w.rest[w.n:]
		switch w.errno {
		case 0:
		case syscall.EAGAIN:
			w.errno = 0
			return false
		default:
			return true
		}
	}
	w.errno = 0
	return true
}

// writev always returns true: waiting here would hold the write side of the socket
// against every other writer.
func (w *writeCall) writev(fd uintptr) bool {
	for {
		var n uintptr
		if w.size > rawLimit {
			n, _, w.errno = syscall.Syscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(w.count))
		} else {
			n, _, w.errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(w.count))
		}
		switch w.errno {
		case 0:
			w.n = int(n)
			return true
		case syscall.EINTR:
		default:
			w.n = 0
			return true
		}
	}
}

// fill takes as many of bufs as there are iovecs and returns the others.
func (w *writeCall) fill(bufs [][]byte) [][]byte {
	w.count, w.size = 0, 0
	for i, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if w.count == vectors {
			return bufs[i:]
		}
		w.iov[w.count].Base = unsafe.SliceData(b)
		w.iov[w.count].SetLen(len(b))
		w.count++
		w.size += len(b)
	}
	return nil
}

// release forgets the caller's buffers.
func (w *writeCall) release() {
	clear(w.iov[:])
	writeCalls.Put(w)
}

// TryWritev writes bufs with one writev per 64 buffers and never waits. It returns
// the bytes the kernel took; an error that is syscall.EAGAIN with n short of the sum
// says that its buffer is full. It sets no deadline and allocates nothing unless it
// fails for good. It may be called concurrently, but see [TCPConn] for WaitWritable.
func (c *TCPConn) TryWritev(bufs [][]byte) (int, error) {
	w := writeCalls.Get().(*writeCall)
	defer w.release()
	total := 0
	for {
		bufs = w.fill(bufs)
		if w.count == 0 {
			return total, nil
		}
		if err := c.raw.Write(w.run); err != nil {
			return total, err
		}
		total += w.n
		switch {
		case w.errno == syscall.EAGAIN || w.errno == 0 && w.n < w.size:
			return total, errAgain
		case w.errno != 0:
			return total, c.opError("write", "writev", w.errno)
		}
	}
}

// writeError returns why a write would fail before the kernel sees it: the write
// deadline has passed or the connection is closed.
func (c *TCPConn) writeError() error { return c.raw.Write(nothing) }

func nothing(uintptr) bool { return true }

// waitCall asks the kernel, without waiting, whether a socket is ready.
type waitCall struct {
	run   func(fd uintptr) bool
	poll  [1]unix.PollFd
	errno syscall.Errno
}

var waitCalls = sync.Pool{New: func() any {
	w := new(waitCall)
	w.run = w.ready
	return w
}}

// ready returns false when the socket would block, which makes the runtime wait for
// the next edge. The edge cannot be missed: the runtime forgets old edges before the
// first call, and poll(2) both sees what happened since and asks the kernel for the
// next one.
func (w *waitCall) ready(fd uintptr) bool {
	for {
		w.poll[0].Fd = int32(fd)
		w.poll[0].Revents = 0
		var now unix.Timespec
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL,
			uintptr(unsafe.Pointer(&w.poll[0])), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		w.errno = errno
		return errno != 0 || n > 0
	}
}

// WaitWritable blocks until the kernel takes bytes again or the connection has
// failed, which the next TryWritev reports. It returns os.ErrDeadlineExceeded
// (wrapped) after the write deadline and net.ErrClosed (wrapped) after Close. Only one
// goroutine may wait, and nobody may write meanwhile.
func (c *TCPConn) WaitWritable() error {
	w := waitCalls.Get().(*waitCall)
	defer waitCalls.Put(w)
	w.poll[0].Events = unix.POLLOUT
	if err := c.raw.Write(w.run); err != nil {
		return err
	}
	if w.errno != 0 {
		return c.opError("write", "ppoll", w.errno)
	}
	return nil
}

// LazyRead waits until there is something to read, only then takes a *[]byte from
// pool, and reads into it once. The buffer belongs to the caller, who puts it back.
// At the end of the stream and on any error buf is nil. Bytes given back by Unread
// come first, together with what the socket already holds. It allocates nothing
// unless it fails. The buffers of pool must not be empty.
func (c *TCPConn) LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	buf, n, err = c.read(pool, c.readOnce)
	if c.socket != nil {
		c.dry.Store(buf != nil && c.emptied(buf, n))
	}
	return buf, n, err
}

// emptied reports whether a read of n bytes has left nothing: otherwise it would have
// filled the buffer. There is an event for what comes after it, but not for an end that
// was known before.
func (c *TCPConn) emptied(buf *[]byte, n int) bool { return n < len(*buf) && !c.hup.Load() }

// moisten says that there may be something to read. It writes only where it must:
// readers that a net.Conn must bear side by side get here.
func (c *TCPConn) moisten() {
	if c.dry.Load() {
		c.dry.Store(false)
	}
}

func (c *TCPConn) read(pool *sync.Pool, once func(fd uintptr) bool) (buf *[]byte, n int, err error) {
	c.readPool = pool
	if c.socket != nil {
		err = c.socket.await("read", &c.socket.in, once, len(c.head) == 0 && c.dry.Load())
	} else {
		err = c.raw.Read(once)
	}
	buf, n = c.readBuf, c.readN
	c.readPool, c.readBuf = nil, nil
	switch {
	case err != nil:
		return nil, 0, err
	case c.readErrno == syscall.EAGAIN:
		return nil, 0, errAgain
	case c.readErrno != 0:
		return nil, 0, c.opError("read", "read", c.readErrno)
	case buf == nil:
		return nil, 0, io.EOF
	}
	return buf, n, nil
}

// readCall is one read. The closure is bound once, so a pooled call allocates nothing.
type readCall struct {
	run   func(fd uintptr) bool
	to    []byte
	n     int
	errno syscall.Errno
}

var readCalls = sync.Pool{New: func() any {
	r := new(readCall)
	r.run = r.read
	return r
}}

// read returns false when nothing is there.
func (r *readCall) read(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(r.to))), uintptr(len(r.to)))
		switch errno {
		case syscall.EINTR:
			continue
		case 0:
		default:
			n = 0
		}
		r.n, r.errno = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// readSocket is Read of the socket. The scheduler is not told of the system call, which
// does not wait.
func (c *TCPConn) readSocket(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r := readCalls.Get().(*readCall)
	c.moisten()
	r.to = p
	err := c.raw.Read(r.run)
	n, errno := r.n, r.errno
	r.to = nil
	readCalls.Put(r)
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, c.opError("read", "read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// takeHead moves bytes from head to p.
func (c *TCPConn) takeHead(p []byte) int {
	n := takeHead(p, &c.head)
	if c.head == nil && c.ahead != nil {
		aheads.Put(c.ahead)
		c.ahead = nil
	}
	return n
}

// Write writes p, waiting where it must.
func (c *TCPConn) Write(p []byte) (int, error) {
	w := writeCalls.Get().(*writeCall)
	defer w.release()
	w.rest = p
	err := c.raw.Write(w.all)
	n, errno := len(p)-len(w.rest), w.errno
	w.rest = nil
	switch {
	case err != nil:
		return n, err
	case errno != 0:
		return n, c.opError("write", "writev", errno)
	}
	return n, nil
}

// readAvailable reads once. It returns false, holding nothing, when nothing is there.
func (c *TCPConn) readAvailable(fd uintptr) bool {
	buf := c.readPool.Get().(*[]byte)
	p := *buf
	if len(p) == 0 {
		panic("netio: LazyRead was given an empty buffer")
	}
	if c.socket != nil && c.socket.in.news {
		c.moisten()
	}
	n := c.takeHead(p)
	for n < len(p) && (n == 0 || !c.dry.Load()) {
		got, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(p[n:]))), uintptr(len(p)-n))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			got = 0
		}
		if n > 0 {
			n += int(got) // an error or the end comes again with the next call
			break
		}
		if errno != 0 || got == 0 {
			c.readPool.Put(buf)
			c.readErrno = errno
			return errno != syscall.EAGAIN
		}
		n = int(got)
		break
	}
	c.readBuf, c.readN, c.readErrno = buf, n, 0
	return true
}

// opError is how package net reports a failed system call.
func (c *TCPConn) opError(op, call string, errno syscall.Errno) error {
	return &net.OpError{
		Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(),
		Err: os.NewSyscallError(call, errno),
	}
}

// optionCall sets one socket option.
type optionCall struct {
	run                func(fd uintptr)
	level, name, value int
	err                error
}

var optionCalls = sync.Pool{New: func() any {
	o := new(optionCall)
	o.run = func(fd uintptr) { o.err = syscall.SetsockoptInt(int(fd), o.level, o.name, o.value) }
	return o
}}

func setOption(raw syscall.RawConn, level, name, value int) error {
	o := optionCalls.Get().(*optionCall)
	defer optionCalls.Put(o)
	o.level, o.name, o.value, o.err = level, name, value, nil
	if err := raw.Control(o.run); err != nil {
		return err
	}
	return o.err
}

// SetQuickAck acknowledges what has arrived at once instead of after the delayed
// acknowledgement timer (TCP_QUICKACK). The kernel leaves this mode by itself, so it
// is called each time it matters: when a peer is known to wait for the acknowledgement.
func (c *TCPConn) SetQuickAck() error {
	if err := setOption(c.raw, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return fmt.Errorf("set TCP_QUICKACK: %w", err)
	}
	return nil
}
