package netio

// PendingLimit is the refused ciphertext at which a TLSConn takes no more plaintext.
const PendingLimit = pendingLimit

// Pending returns the ciphertext bytes that the socket has not taken.
func (c *TLSConn) Pending() int {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.wire.size
}
