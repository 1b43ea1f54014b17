//go:build !linux

package netio

import (
	"net"
	"time"
)

// rawTCP is empty where the abilities do not exist.
type rawTCP struct{}

func (c *TCPConn) init(*net.TCPConn) {}

// setUserTimeout has no counterpart here: keep-alive alone finds dead peers.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
