package netio_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"culvert/gateway/netio"
)

// The frame of the benchmarks: a chunk header and 4 KiB of payload.
const benchPlayers = 100

// players returns benchPlayers server conns whose clients discard what they get.
func players(b *testing.B, accept func(*netio.TCPConn, net.Conn) nonBlocking) []nonBlocking {
	b.Helper()
	conns := make([]nonBlocking, benchPlayers)
	for i := range conns {
		s, c := tcpPair(b)
		conns[i] = accept(s, c)
		discard(b, c)
	}
	return conns
}

func BenchmarkFanOut(b *testing.B) {
	frame := [][]byte{pattern(12), pattern(4096)}
	size := int64(4108)
	plain := func(s *netio.TCPConn, _ net.Conn) nonBlocking { return s }

	b.Run("TryWritev", func(b *testing.B) {
		conns := players(b, plain)
		b.SetBytes(size * benchPlayers)
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range conns {
				offer(b, c, frame)
			}
		}
	})
	// The floor: the bare system call on a descriptor, nothing around it.
	b.Run("raw", func(b *testing.B) {
		conns := players(b, plain)
		fds := make([]uintptr, len(conns))
		for i, c := range conns {
			raw, err := c.(*netio.TCPConn).SyscallConn()
			if err != nil {
				b.Fatal(err)
			}
			if err := raw.Control(func(fd uintptr) { fds[i] = fd }); err != nil {
				b.Fatal(err)
			}
		}
		iov := make([]syscall.Iovec, len(frame))
		for i, p := range frame {
			iov[i].Base = unsafe.SliceData(p)
			iov[i].SetLen(len(p))
		}
		b.SetBytes(size * benchPlayers)
		b.ReportAllocs()
		for b.Loop() {
			for i, fd := range fds {
				n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
				if errno == syscall.EAGAIN || errno == 0 && int64(n) < size {
					if err := conns[i].WaitWritable(); err != nil {
						b.Fatal(err)
					}
				} else if errno != 0 {
					b.Fatal(errno)
				}
			}
		}
		runtime.KeepAlive(frame)
	})
	// What net.Buffers costs, for comparison: it needs a fresh slice per player.
	b.Run("net.Buffers", func(b *testing.B) {
		var conns []net.Conn
		for range benchPlayers {
			s, c := netPair(b)
			discard(b, c)
			conns = append(conns, s)
		}
		b.SetBytes(size * benchPlayers)
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range conns {
				bufs := net.Buffers{frame[0], frame[1]}
				if _, err := bufs.WriteTo(c); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("TLS", func(b *testing.B) {
		cfg := serverConfig(b)
		cfg.DynamicRecordSizingDisabled = true
		conns := players(b, func(s *netio.TCPConn, c net.Conn) nonBlocking {
			done := make(chan error, 1)
			go func() { // ends with the handshake; waited below
				done <- tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake() //nolint:gosec // the certificate is thrown away
			}()
			t, err := netio.ServerTLS(b.Context(), s, cfg, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			return t
		})
		b.SetBytes(size * benchPlayers)
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range conns {
				offer(b, c, frame)
			}
		}
	})
}

// offer writes one frame and waits only when the socket is full.
func offer(b *testing.B, c nonBlocking, frame [][]byte) {
	b.Helper()
	n, err := c.TryWritev(frame)
	switch {
	case err == nil:
	case !errors.Is(err, syscall.EAGAIN):
		b.Fatal(err)
	default:
		if err := c.WaitWritable(); err != nil {
			b.Fatal(err)
		}
		if n == 0 {
			_, _ = c.TryWritev(frame)
		}
	}
}

func BenchmarkLazyRead(b *testing.B) {
	server, client := tcpPair(b)
	bufs := pool(64 << 10)
	message := pattern(128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(message); err != nil {
			b.Fatal(err)
		}
		buf, n, err := server.LazyRead(bufs)
		if err != nil || n != len(message) {
			b.Fatal(n, err)
		}
		bufs.Put(buf)
	}
}

// A connection that waits for its peer: what it costs while idle.
func BenchmarkIdleRead(b *testing.B) {
	server, client := tcpPair(b)
	bufs := pool(64 << 10)
	b.ReportAllocs()
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the stream; waited below
		for {
			buf, n, err := server.LazyRead(bufs)
			if err != nil {
				return
			}
			_, _ = server.Write((*buf)[:n])
			bufs.Put(buf)
		}
	})
	p := make([]byte, 16)
	for b.Loop() {
		if _, err := client.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, p); err != nil {
			b.Fatal(err)
		}
	}
	_ = client.Close()
	wg.Wait()
}
