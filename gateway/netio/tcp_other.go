//go:build !linux

package netio

import (
	"context"
	"net"
)

// stream is what a TCPConn wraps.
type stream = *net.TCPConn

// rawTCP is empty where the abilities do not exist.
type rawTCP struct{}

func (c *TCPConn) init(*net.TCPConn) {}

func (c *TCPConn) readSocket(p []byte) (int, error) { return c.stream.Read(p) }

func (c *TCPConn) takeHead(p []byte) int { return takeHead(p, &c.head) }

// Listen opens a TCP port whose accepted connections have what every connection of a
// gateway gets: no Nagle delay and keep-alive with the constants of this package.
func Listen(ctx context.Context, addr string, _ *Poller) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   true,
		Idle:     KeepAliveIdle,
		Interval: KeepAliveInterval,
		Count:    KeepAliveCount,
	}}
	return config.Listen(ctx, "tcp", addr)
}

// Poller does nothing where connections cannot be parked.
type Poller struct{}

// NewPoller returns a Poller that serves nobody.
func NewPoller(int) (*Poller, error) { return new(Poller), nil }

// Run returns at once.
func (*Poller) Run() {}

// Close does nothing.
func (*Poller) Close() {}

// Adopt is [NewTCP].
func (*Poller) Adopt(c *net.TCPConn) *TCPConn { return NewTCP(c) }

func (c *TCPConn) settle() {}

// Wake does nothing: nobody is parked.
func (c *TCPConn) Wake() {}
