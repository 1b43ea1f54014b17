package netio

// PendingLimit is the refused ciphertext at which a TLSConn takes no more plaintext.
const PendingLimit = pendingLimit

// Pending returns the ciphertext bytes that the socket has not taken.
func (c *TLSConn) Pending() int {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.wire.size
}

// Answer writes a record as crypto/tls does from inside Read.
func (c *TLSConn) Answer(record []byte) error {
	_, err := c.wire.Write(record)
	return err
}

// Waiting reports whether a goroutine occupies the socket in WaitWritable.
func (c *TLSConn) Waiting() bool {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.wire.waiting > 0
}

// Reading reports whether a goroutine waits for something to read.
func (c *TCPConn) Reading() bool { return c.socket.in.state.Load() == gateWaiting }

// Reading reports whether a goroutine waits for ciphertext.
func (c *TLSConn) Reading() bool { return c.tcp.Reading() }

// Armed reports whether a timer runs for the read deadline.
func (c *TCPConn) Armed() bool {
	g := &c.socket.in
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.armed != 0
}

// Notified reports whether the shard has seen something to read that nobody has read.
func (c *TCPConn) Notified() bool { return c.socket.in.state.Load() == gateOpen }

// Lingers reports whether the shard waits in the kernel. Only a step may ask.
func (c *TCPConn) Lingers() bool { return c.socket.shard.told == 0 }
