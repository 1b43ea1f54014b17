// Package proxy puts the gateway in front of RTMP servers that exist.
//
//	client ── net.Conn ──┬ Splice ──────────── net.Conn ── backend    transparent: bytes
//	                     └ rtmpcore ─ Session ─ leg ────── backend    routed: messages
//
// # Transparent
//
// A [Splice] passes bytes both ways and looks at none of them, so every dialect
// passes. Only what is known before the first byte can choose its [Route]: listener,
// server name, client address. A buffer is borrowed once a socket is readable and
// given back when the other socket has taken what was in it; as long as it does
// not, nothing more is read.
//
// # Routed
//
// The client's handshake, connect, publish and play are obeyed here by rtmpcore;
// [Session] finds the route and makes a leg, a connection of its own to a backend,
// for every stream. From then on messages are handed over with their memory: only
// chunk stream and message stream ID change.
//
// # Pools
//
// A route leads to a [Pool] of backends, which balances, checks, ejects, and tries
// the next one as long as nothing of a stream has been sent.
//
// The package opens no sockets: it is given a [Dial].
package proxy
