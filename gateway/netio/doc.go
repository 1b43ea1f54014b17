// Package netio gives accepted sockets the abilities that the data path asks a
// connection for: a vectored write that never waits, a wait for writability that
// belongs to one drain goroutine, and a read that holds no buffer while it waits.
//
// [TCPConn] is a socket that a [Poller] watches, or wraps a *net.TCPConn; [TLSConn] runs
// crypto/tls over one. Both are complete net.Conn values, with deadlines, addresses,
// half-close and ConnectionState. [Prefixed] and the Unread methods give back bytes that a
// protocol sniffer has consumed.
//
// # The abilities
//
// Nothing imports an interface from here: a consumer declares the few methods it
// needs and asserts for them.
//
//	TryWritev(bufs [][]byte) (n int, err error)
//	WaitWritable() error
//	LazyRead(pool *sync.Pool) (buf *[]byte, n int, err error)
//
// TryWritev takes bytes without waiting. A nil error means that all were taken and
// more may be offered. An error that is syscall.EAGAIN means that n bytes were taken
// and that the rest, or the next group, may be offered after WaitWritable returned
// nil. Every other error is final. WaitWritable honours the write deadline; the
// direct path needs none, and one that has passed makes TryWritev fail, so whoever
// sets it clears it again.
//
// A connection of a Poller can also be parked: it waits without a goroutine, see
// [TCPConn.Park]. Its socket is known to the Poller alone, from accept to close. One that
// the runtime's own poller watched as well would wake two threads with each event.
//
// All this exists on Linux. Elsewhere the types are the same without these methods, and
// consumers fall back to Read and Write.
//
// The package knows nothing of RTMP or HTTP and decides nothing: package portmux
// looks at the first bytes and makes the choice.
package netio
