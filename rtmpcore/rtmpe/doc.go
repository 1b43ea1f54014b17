// Package rtmpe is the byte stream of RTMPE and RTMPTE behind the handshake: RTMP
// encrypted with RC4, one stream for each direction.
//
//	res, err := handshake.Server(conn, handshake.ServerConfig{Exchange: exchange})
//	if res.Keys != nil {
//		conn, err = rtmpe.New(conn, res.Keys.In, res.Keys.Out)
//	}
//
// It hides RTMP from whoever only listens, and nothing more: the key exchange proves
// nothing about who is at the other end, RC4 is broken, and nothing notices when
// bytes are changed on the way. What is to be secret goes over TLS.
//
// Nothing is added to the bytes: HTTP around RTMPTE stays in clear, and a byte is a
// byte. What [New] returns is a wrapper that keeps the abilities of what it wraps.
package rtmpe
