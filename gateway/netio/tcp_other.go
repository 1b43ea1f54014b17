//go:build !linux

package netio

import "net"

// rawTCP is empty where the abilities do not exist.
type rawTCP struct{}

func (c *TCPConn) init(*net.TCPConn) {}

func (c *TCPConn) readSocket(p []byte) (int, error) { return c.TCPConn.Read(p) }

// listenConfig lets package net set keep-alive on every connection.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   true,
		Idle:     KeepAliveIdle,
		Interval: KeepAliveInterval,
		Count:    KeepAliveCount,
	}}
}

// Poller does nothing where connections cannot be parked.
type Poller struct{}

// NewPoller returns a Poller that serves nobody.
func NewPoller(int) (*Poller, error) { return new(Poller), nil }

// Run returns at once.
func (*Poller) Run() {}

// Close does nothing.
func (*Poller) Close() {}

// SetPoller does nothing.
func (c *TCPConn) SetPoller(*Poller) {}

// Wake does nothing: nobody is parked.
func (c *TCPConn) Wake() {}
