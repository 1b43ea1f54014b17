// Package portmux serves every protocol of the gateway on one port. It accepts
// connections, looks at their first bytes and calls the handler they belong to.
//
//	accept → limits → PROXY header (trusted peers) → first byte ┬ 0x03 0x06 0x08 0x09 → RTMP
//	                                                            ├ 'A' to 'Z'          → HTTP
//	                                                            └ 0x16 → TLS ┬ ALPN h2 → H2
//	                                                                         └ first byte, as above
//
// Everything else is closed and counted with a [Reason]. One deadline covers all steps
// up to the handler. The byte that was looked at is given back, so a handler reads the
// connection from its beginning. After ALPN chose h2 the handler gets the bare
// *tls.Conn, because net/http refuses HTTP/2 on any wrapper; nothing is sniffed then.
//
// A connection that can be parked waits for its first byte without a goroutine, and
// begins with RTMP without one.
//
// The package does not speak any of the protocols, and drains nothing by itself: the
// gateway stops accepting with [Mux.CloseListener], lets its handlers end, and closes
// what is left with [Mux.CloseConns].
//
//	m := portmux.New(ln, portmux.Config{
//		Name: "https", TLS: tlsConfig, SniffTimeout: 10 * time.Second,
//		RTMP: func(c net.Conn, info portmux.Info) { ... },
//		HTTP: func(c net.Conn, info portmux.Info) { ... },
//	})
//	err := m.Run(ctx)
package portmux
