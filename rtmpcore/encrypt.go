package rtmpcore

import (
	"github.com/rs/zerolog"

	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/rtmpe"
)

// encryptedHandler is the ability of a Handler to be told that the client's connection
// is encrypted (RTMPE), before anything else of it. It returns the connection's log.
type encryptedHandler interface{ Encrypted() zerolog.Logger }

// encrypt makes the connection RTMPE. nc.conn stays: other goroutines use it for what
// encryption does not change, to end the connection and to wake whoever reads.
func (nc *NetConn) encrypt(keys *handshake.Keys) error {
	conn, err := rtmpe.New(nc.conn, keys.In, keys.Out)
	if err != nil {
		return err
	}
	nc.reader.SetSource(nc.source(conn))
	nc.writer.SetConn(conn)
	if h, ok := nc.handler.(encryptedHandler); ok {
		nc.cfg.Log = h.Encrypted()
	}
	return nil
}
