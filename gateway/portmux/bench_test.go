package portmux_test

import (
	"context"
	"net"
	"testing"

	"culvert/gateway/portmux"
)

// One connection: accept, limits, options, sniff, handler, close. The client's dial and
// close are part of the time.
func BenchmarkConnection(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	m := portmux.New(ln, portmux.Config{
		Limiter: portmux.NewLimiter(1000, 1000),
		RTMP:    func(c net.Conn, _ portmux.Info) { _ = c.Close() },
	})
	done := make(chan error, 1)
	go func() { done <- m.Run(context.Background()) }() // stopped by CloseListener; waited below
	first, end := []byte{3}, make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(first); err != nil {
			b.Fatal(err)
		}
		_, _ = c.Read(end)
		_ = c.Close()
	}
	if err := m.CloseListener(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// The floor: the same without a mux.
func BenchmarkConnectionBare(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // stopped by closing ln; waited below
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	first, end := []byte{3}, make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(first); err != nil {
			b.Fatal(err)
		}
		_, _ = c.Read(end)
		_ = c.Close()
	}
	_ = ln.Close()
	<-done
}
