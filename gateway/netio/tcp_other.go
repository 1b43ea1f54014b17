//go:build !linux

package netio

import (
	"net"
	"time"
)

// rawTCP is empty where the abilities do not exist.
type rawTCP struct{}

func (c *TCPConn) init(*net.TCPConn) {}

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

// setUserTimeout has no counterpart here: keep-alive alone finds dead peers.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
