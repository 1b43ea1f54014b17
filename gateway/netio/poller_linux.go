package netio

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// pollBatch is the most events taken from the kernel at a time.
	pollBatch = 128
	// stepReads is the most reads of one step: then it is the turn of the others.
	stepReads = 4
)

// Poller waits for parked connections, all of them on a few goroutines of its own, one
// for each shard. A connection that waits here has no goroutine, and those that have
// something to read are served one after the other without a switch.
//
// A shard is an epoll instance that the poller of the Go runtime watches as it watches
// a socket: a shard with nothing to do is an ordinary waiting goroutine, and no thread
// is taken from the scheduler.
type Poller struct {
	shards []*shard
	next   atomic.Uint32 // shard of the next connection
}

// NewPoller returns a Poller with n shards, at least one. Close releases it.
func NewPoller(n int) (*Poller, error) {
	p := new(Poller)
	for range max(n, 1) {
		s, err := newShard()
		if err != nil {
			p.Close()
			return nil, err
		}
		p.shards = append(p.shards, s)
	}
	return p, nil
}

// Run serves parked connections until Close.
func (p *Poller) Run() {
	var running sync.WaitGroup
	for _, s := range p.shards {
		running.Go(s.run) // stopped by Close; waited below
	}
	running.Wait()
}

// Close ends Run. Connections that are still parked are not served any more: they are
// to be ended before.
func (p *Poller) Close() {
	for _, s := range p.shards {
		s.close()
	}
}

// shard is one epoll instance and the goroutine that serves it.
type shard struct {
	// set at construction
	epoll *os.File
	raw   syscall.RawConn
	fd    int // epoll's
	wake  int // eventfd: woken has an entry

	// owned by run
	events [pollBatch]unix.EpollEvent
	ready  []*TCPConn // to be served in this round
	again  []*TCPConn // to be served in the next one

	mu sync.Mutex
	// guarded by mu
	parked map[int32]*TCPConn // by descriptor
	woken  []*TCPConn         // to be served although the kernel has nothing for them
	closed bool
}

func newShard() (*shard, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s := &shard{fd: fd, parked: make(map[int32]*TCPConn), wake: -1}
	err = unix.SetNonblock(fd, true) // makes os.NewFile give it to the runtime's poller
	s.epoll = os.NewFile(uintptr(fd), "epoll")
	if err == nil {
		s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, s.wake, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(s.wake)})
	}
	if err == nil {
		s.raw, err = s.epoll.SyscallConn()
	}
	if err != nil {
		s.close()
		return nil, os.NewSyscallError("epoll", err)
	}
	return s, nil
}

func (s *shard) close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	_ = s.epoll.Close() // waits for run to let go of it; nothing was written to either
	if s.wake >= 0 {
		_ = unix.Close(s.wake)
	}
}

func (s *shard) run() {
	_ = s.raw.Read(s.serve) // it ends with Close
}

// serve serves all that is ready and returns false: the runtime waits for the next edge.
// One that came since the kernel was asked is not lost, because the runtime forgets
// edges only when Read begins.
func (s *shard) serve(uintptr) bool {
	for {
		n, errno := s.poll()
		if errno != 0 {
			return true
		}
		s.collect(s.events[:n])
		for i, c := range s.ready {
			s.ready[i] = nil
			s.step(c)
		}
		s.ready = s.ready[:0]
		if n < len(s.events) && len(s.again) == 0 {
			return false
		}
	}
}

// poll takes events from the kernel without waiting. The scheduler is not told: that
// would wake its monitor thread each time.
func (s *shard) poll() (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT,
			uintptr(s.fd), uintptr(unsafe.Pointer(&s.events[0])), pollBatch, 0, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// collect finds out who is to be served in this round.
func (s *shard) collect(events []unix.EpollEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, s.again...)
	clear(s.again)
	s.again = s.again[:0]
	for _, e := range events {
		if c := s.parked[e.Fd]; c != nil {
			c.hup = c.hup || e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
			s.ready = append(s.ready, c)
		}
	}
	s.ready = append(s.ready, s.woken...)
	clear(s.woken)
	s.woken = s.woken[:0]
}

// step serves one connection.
func (s *shard) step(c *TCPConn) {
	if !c.parked.Load() {
		return // it was in the list twice, and has left
	}
	c.dry, c.reads = false, 0
	switch {
	case !c.step():
		s.leave(c)
	case !c.dry:
		s.again = append(s.again, c)
	}
}

// leave gives a connection back to its owner.
func (s *shard) leave(c *TCPConn) {
	s.mu.Lock()
	if s.parked[c.fd] == c { // else it was closed, and another connection has its descriptor
		delete(s.parked, c.fd)
		_ = s.control(c, unix.EPOLL_CTL_DEL, 0) // a closed socket has left by itself
	}
	s.mu.Unlock()
	left := c.left
	c.step, c.left = nil, nil
	c.parked.Store(false)
	left()
}

// control changes what the kernel watches of a connection. The caller holds mu.
func (s *shard) control(c *TCPConn, op int, events uint32) error {
	if s.closed {
		return net.ErrClosed
	}
	var ctlErr error
	err := c.raw.Control(func(fd uintptr) {
		c.fd = int32(fd)
		ctlErr = unix.EpollCtl(s.fd, op, int(fd), &unix.EpollEvent{Events: events, Fd: int32(fd)})
	})
	return errors.Join(err, ctlErr)
}

// parking is what a TCPConn needs to be parked.
type parking struct {
	shard  *shard // set before the connection is shared; nil: it cannot be parked
	parked atomic.Bool
	wake   bool // guarded by shard.mu: Wake was called, the next Park returns at once

	// owned by whoever may read: the shard while parked
	fd    int32
	step  func() (stay bool)
	left  func()
	dry   bool // the socket has nothing more
	hup   bool // the peer has ended: there will be no further event
	reads int  // of this step
}

// SetPoller makes it possible to park the connection. It must be called before the
// connection is shared between goroutines.
func (c *TCPConn) SetPoller(p *Poller) {
	if p != nil {
		c.shard = p.shards[p.next.Add(1)%uint32(len(p.shards))]
	}
}

// Park ends the caller's use of the reading side until step returns false, and reports
// whether it did: false means that the connection has no [Poller]. From then on step is
// called whenever there is something to read, when the connection is closed, and after
// Wake, by one goroutine at a time. It must not wait, reads with TryRead up to EAGAIN,
// and returns false to leave; then left is called once, must not wait either, and may
// hand the connection to another goroutine, which may park it again.
func (c *TCPConn) Park(step func() (stay bool), left func()) bool {
	s := c.shard
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.step, c.left, c.dry = step, left, false
	if err := s.control(c, unix.EPOLL_CTL_ADD, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		if !errors.Is(err, net.ErrClosed) || s.closed {
			c.step, c.left = nil, nil
			return false
		}
		c.wake = true // closed meanwhile: step learns of it by reading
	} else {
		s.parked[c.fd] = c
	}
	c.parked.Store(true)
	if c.wake {
		s.rouse(c)
	}
	return true
}

// Wake has a parked connection's step called although there may be nothing to read. When
// the connection is not parked, the next Park does so.
func (c *TCPConn) Wake() {
	s := c.shard
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.wake = true
	if c.parked.Load() {
		s.rouse(c)
	}
}

// rouse puts a connection on the list of those to be served. The caller holds mu.
func (s *shard) rouse(c *TCPConn) {
	c.wake = false
	s.woken = append(s.woken, c)
	if len(s.woken) == 1 && !s.closed {
		_, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a counter of 1 always fits
	}
}

// TryRead is a LazyRead that does not wait: when nothing is there the error is
// syscall.EAGAIN. A step also gets it when it has read often enough for its turn.
func (c *TCPConn) TryRead(pool *sync.Pool) (buf *[]byte, n int, err error) {
	if c.dry && c.head == nil || c.reads == stepReads {
		return nil, 0, errAgain
	}
	c.reads++
	buf, n, err = c.read(pool, c.readNow)
	c.dry = buf == nil || n < len(*buf) && !c.hup
	return buf, n, err
}
