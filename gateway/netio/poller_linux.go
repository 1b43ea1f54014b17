package netio

import (
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// pollBatch is the most events taken from the kernel at a time.
	pollBatch = 128
	// stepReads is the most reads of one step: then it is the turn of the others.
	stepReads = 4
	// lingerTime is how long a crowded shard waits in the kernel, in milliseconds. Its
	// processor serves nobody else meanwhile; the others take over what it has to do.
	lingerTime = 1
	// crowdWeight is what a round with newcomers counts towards a crowd, which crowdLimit
	// makes. One without counts 1 against it.
	crowdWeight = 4
	crowdLimit  = 16 * crowdWeight
)

// Poller watches the sockets of a gateway on a few goroutines of its own, one for each
// shard. It wakes the goroutine that reads or writes a connection, or serves a parked
// one itself: that one has no goroutine, and those that have something to read are
// served one after the other without a switch. Newcomers, which nobody knows to be worth
// anything yet, are served one at a time when nobody else wants to be: a crowd at the
// door does not hold up the streams.
//
// A shard with nothing to do is an ordinary waiting goroutine, and no thread is taken from
// the scheduler: the poller of the Go runtime watches its epoll instance as it watches a
// socket. With a crowd at the door the next event is never far. Then a shard waits for it
// in the kernel itself, for lingerTime at most, and the runtime is not told of it: that
// would wake a thread to find who waits, and a further one to look for more work.
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

// Run serves until Close.
func (p *Poller) Run() {
	var running sync.WaitGroup
	for _, s := range p.shards {
		running.Go(s.run) // stopped by Close; waited below
	}
	running.Wait()
}

// Close ends Run and closes the connections that are left. Whoever has parked one is not
// told: end those before.
func (p *Poller) Close() {
	for _, s := range p.shards {
		s.close()
	}
}

// shard is one epoll instance and the goroutine that serves it.
type shard struct {
	// set at construction
	fd     int             // epoll instance
	wake   int             // eventfd: woken has an entry
	bridge *os.File        // epoll instance that has fd, known to the runtime's poller
	raw    syscall.RawConn // bridge's
	others bool            // there are other processors

	// owned by run
	told    uint32 // events of fd that the runtime gets to know
	came    bool   // a newcomer was served since the last wait
	crowd   int    // rounds with newcomers, weighed, less those without: 0 to crowdLimit
	yielded int64  // when others could run for the last time
	events  [pollBatch]unix.EpollEvent
	ready   []*TCPConn // to be served in this round
	again   []*TCPConn // to be served in the next one
	door    queue      // newcomers to be served
	woke    bool       // a goroutine was woken since the last yield

	mu sync.Mutex
	// guarded by mu
	conns  map[int32]*TCPConn // by descriptor
	last   int32              // generation
	woken  []*TCPConn         // to be served although the kernel has nothing for them
	closed bool
}

func newShard() (*shard, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s := &shard{fd: fd, conns: make(map[int32]*TCPConn), wake: -1, told: unix.EPOLLIN, others: runtime.GOMAXPROCS(0) > 1}
	outer, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(outer, true) // makes os.NewFile give it to the runtime's poller
		s.bridge = os.NewFile(uintptr(outer), "epoll")
	}
	if err == nil {
		err = unix.EpollCtl(outer, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err == nil {
		s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, s.wake, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(s.wake)})
	}
	if err == nil {
		s.raw, err = s.bridge.SyscallConn()
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
	left := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	if closed {
		return
	}
	for _, c := range left {
		_ = c.Close()
	}
	if s.bridge != nil {
		_ = s.bridge.Close() // waits for run to let go of it; nothing was written to any
	}
	_ = unix.Close(s.fd)
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
func (s *shard) serve(bridge uintptr) bool {
	wait := 0
	for {
		n, errno := s.poll(wait)
		switch {
		case errno == unix.EINTR: // the scheduler wants something
			n = 0
		case errno != 0:
			return true
		case n == 0 && wait > 0:
			s.crowd = 0
		}
		wait = 0
		s.collect(s.events[:n])
		for i, c := range s.ready {
			s.ready[i] = nil
			s.step(c)
		}
		s.ready = s.ready[:0]
		switch {
		case s.door.n > 0:
			s.yield()
			s.step(s.door.pop())
			s.came = true
		case n == len(s.events) || len(s.again) > 0:
		case s.crowded():
			s.tell(bridge, 0)
			s.relent()
			wait = lingerTime
		case !s.tell(bridge, unix.EPOLLIN):
			return false
		}
	}
}

// crowded comes before each wait and reports whether newcomers are a crowd: of late there
// were some in a fifth of the rounds at least.
func (s *shard) crowded() bool {
	if s.came {
		s.crowd = min(s.crowd+crowdWeight, crowdLimit)
	} else {
		s.crowd = max(s.crowd-1, 0)
	}
	s.came = false
	return s.others && (s.crowd == crowdLimit || s.crowd > 0 && s.told == 0)
}

// relent lets others run before a wait: those who were woken, and now and then all.
func (s *shard) relent() {
	if at := now(); s.woke || at-s.yielded > lingerTime*int64(time.Millisecond) {
		s.woke, s.yielded = false, at
		runtime.Gosched()
	}
}

// tell sets what the runtime gets to know, and reports whether that has changed. It does
// not learn of what is there already.
func (s *shard) tell(bridge uintptr, events uint32) (changed bool) {
	if s.told == events {
		return false
	}
	s.told = events
	_ = unix.EpollCtl(int(bridge), unix.EPOLL_CTL_MOD, s.fd, &unix.EpollEvent{Events: events}) // both are open: it cannot fail
	return true
}

// yield lets those run who were woken before it is a newcomer's turn.
func (s *shard) yield() {
	if s.woke {
		s.woke = false
		runtime.Gosched()
	}
}

// poll takes events from the kernel, and waits for the first one for so many milliseconds.
// The scheduler is not told: that would wake its monitor thread each time. It can end the
// wait with a signal.
func (s *shard) poll(wait int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT,
		uintptr(s.fd), uintptr(unsafe.Pointer(&s.events[0])), pollBatch, uintptr(wait), 0, 0)
	return int(n), errno
}

// collect wakes who waits and finds out who is to be served in this round.
func (s *shard) collect(events []unix.EpollEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, s.again...)
	clear(s.again)
	s.again = s.again[:0]
	for _, e := range events {
		c := s.conns[e.Fd]
		if c == nil || c.socket.generation != e.Pad {
			continue
		}
		if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.hup.Store(true)
		}
		switch {
		case e.Events&^unix.EPOLLOUT == 0:
		case c.socket.parked.Load():
			s.queue(c)
		default:
			s.woke = c.socket.in.open() || s.woke
		}
		if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			s.woke = c.socket.out.open() || s.woke
		}
	}
	for i, c := range s.woken {
		s.woken[i] = nil
		s.queue(c)
	}
	s.woken = s.woken[:0]
}

// queue makes a connection one of those to be served.
func (s *shard) queue(c *TCPConn) {
	if c.settled.Load() {
		s.ready = append(s.ready, c)
	} else {
		s.door.push(c)
	}
}

// step serves one connection.
func (s *shard) step(c *TCPConn) {
	if !c.socket.parked.Load() { // it was in the list twice, and has left
		c.socket.in.open()
		return
	}
	c.dry.Store(false)
	c.reads = 0
	stay := c.step()
	for stay && c.handed { // the new owner may have what the old one has read ahead
		c.handed = false
		stay = c.step()
	}
	switch {
	case !stay:
		s.leave(c)
		return
	case c.dry.Load():
	case c.settled.Load():
		s.again = append(s.again, c)
	default:
		s.door.push(c)
	}
	c.socket.in.watch() // a deadline that is still to come
}

// leave gives a connection back to its owner. It has a goroutine now: somebody thinks it
// worth one, and it is no newcomer any more.
func (s *shard) leave(c *TCPConn) {
	left := c.left
	c.step, c.left = nil, nil
	if c.hup.Load() { // for the end there was an event already
		c.dry.Store(false)
	}
	c.settled.Store(true)
	c.socket.parked.Store(false)
	left()
}

// settle says that the connection is no newcomer: it was dialled for somebody.
func (c *TCPConn) settle() { c.settled.Store(true) }

// add begins to watch a connection that nobody uses yet.
func (s *shard) add(c *TCPConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.last++
	c.socket.generation = s.last
	fd := int32(c.socket.fd)
	if err := unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, c.socket.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: fd, Pad: s.last,
	}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	s.conns[fd] = c
	return nil
}

// forget ends that before the descriptor is closed, with which the kernel forgets it too.
func (s *shard) forget(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, int32(k.fd))
}

// parking is what a TCPConn needs to be parked.
type parking struct {
	socket  *socket     // set at construction; nil: it cannot be parked
	settled atomic.Bool // no newcomer: it has had a goroutine, or was dialled
	dry     atomic.Bool // the socket has nothing more
	hup     atomic.Bool // the peer has ended: there will be no further event
	wake    bool        // guarded by shard.mu: Wake was called, the next Park returns at once

	// owned by whoever may read: the shard while parked
	step   func() (stay bool)
	left   func()
	handed bool // step is new, and has not been called
	reads  int  // of this step
}

// Park ends the caller's use of the reading side until step returns false, and reports
// whether it did: false means that the connection has no [Poller]. From then on step is
// called whenever there is something to read, when the read deadline passes, when the
// connection is closed, and after Wake, by one goroutine at a time. It must not wait,
// reads with TryRead or TryReadTo up to EAGAIN, and returns false to leave; then left is
// called once, must not wait either, and may hand the connection to another goroutine,
// which may park it again.
//
// A step may itself call Park and then return true: the connection stays, and belongs to
// the new step.
func (c *TCPConn) Park(step func() (stay bool), left func()) bool {
	if c.socket == nil {
		return false
	}
	if c.socket.parked.Load() { // only its step may call: nobody else has it
		c.step, c.left, c.handed = step, left, true
		return true
	}
	return c.socket.shard.park(c, step, left)
}

func (s *shard) park(c *TCPConn, step func() (stay bool), left func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	// What came since the last read that found nothing was an event for who waits.
	missed := !c.dry.Load() || len(c.head) > 0 || c.socket.in.state.Load() == gateOpen
	c.step, c.left = step, left
	c.dry.Store(false)
	c.socket.parked.Store(true)
	if c.wake || missed || c.socket.isClosed() {
		s.rouse(c)
	} else {
		c.socket.in.watch()
	}
	return true
}

// Wake has a parked connection's step called although there may be nothing to read. When
// the connection is not parked, the next Park does so.
func (c *TCPConn) Wake() {
	if c.socket == nil {
		return
	}
	s := c.socket.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	c.wake = true
	if c.socket.parked.Load() {
		s.rouse(c)
	}
}

// overdue tells who reads that the read deadline may have passed.
func (c *TCPConn) overdue() {
	c.socket.in.open()
	s := c.socket.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.socket.parked.Load() {
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
	if c.dry.Load() && len(c.head) == 0 || c.reads == stepReads {
		return nil, 0, errAgain
	}
	c.reads++
	buf, n, err = c.read(pool, c.readNow)
	c.dry.Store(buf == nil || c.emptied(buf, n))
	return buf, n, err
}

// TryReadTo is a Read that does not wait, as TryRead is a LazyRead that does not. What
// has come beyond p is read with it, and kept.
func (c *TCPConn) TryReadTo(p []byte) (int, error) {
	if err := c.readAhead(); err != nil {
		return 0, err
	}
	return c.takeHead(p), nil
}

// TryPeek returns the next byte without taking it, and does not wait for it.
func (c *TCPConn) TryPeek() (byte, error) {
	if err := c.readAhead(); err != nil {
		return 0, err
	}
	return c.head[0], nil
}

// aheads lends the buffers that new connections are read into.
var aheads = sync.Pool{New: func() any {
	b := make([]byte, aheadSize)
	return &b
}}

// aheadSize holds a half of the handshake together with the first commands.
const aheadSize = 4 << 10

// readAhead returns nil when head has something.
func (c *TCPConn) readAhead() error {
	if len(c.head) > 0 {
		return nil
	}
	buf, n, err := c.TryRead(&aheads)
	if err != nil {
		return err
	}
	c.head, c.ahead = (*buf)[:n], buf
	return nil
}

// queue is a list of connections, first in first out.
type queue struct {
	ring  []*TCPConn // of a size that is a power of two
	first int
	n     int
}

func (q *queue) push(c *TCPConn) {
	if q.n == len(q.ring) {
		ring := make([]*TCPConn, max(2*q.n, 64))
		for i := range q.n {
			ring[i] = q.ring[(q.first+i)&(len(q.ring)-1)]
		}
		q.ring, q.first = ring, 0
	}
	q.ring[(q.first+q.n)&(len(q.ring)-1)] = c
	q.n++
}

func (q *queue) pop() *TCPConn {
	c := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.n--
	return c
}
