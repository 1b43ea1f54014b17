package send

import (
	"net"
	"syscall"
)

// tryWriter is the ability of a connection to take bytes without waiting.
//
// TryWritev takes what it can and returns how much; with syscall.EAGAIN the
// caller must call WaitWritable before it offers more. bufs are not kept and not
// changed. One call is one group of messages, which a transport that has
// boundaries of its own (RTMPT) keeps together.
type tryWriter interface {
	TryWritev(bufs [][]byte) (n int, err error)
	WaitWritable() error
}

// blockingConn gives any net.Conn that ability's shape: bytes are copied, and
// written while waiting.
type blockingConn struct {
	conn net.Conn
	buf  []byte
}

// blockingBuffer is the most that a blockingConn takes at once.
const blockingBuffer = 64 << 10

func (b *blockingConn) TryWritev(bufs [][]byte) (n int, err error) {
	if len(b.buf) > 0 {
		return 0, syscall.EAGAIN
	}
	for _, p := range bufs {
		k := min(len(p), blockingBuffer-len(b.buf))
		b.buf = append(b.buf, p[:k]...)
		n += k
		if k < len(p) {
			break
		}
	}
	return n, syscall.EAGAIN
}

func (b *blockingConn) WaitWritable() error {
	_, err := b.conn.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}
