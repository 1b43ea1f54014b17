// Package tunnel carries byte streams in HTTP requests: RTMPT, the RTMP
// tunnelling protocol, and RTMPTS when the connections beneath are TLS. It
// moves bytes only and knows nothing of RTMP. [Server] is a net.Listener towards
// whoever reads the streams and takes connections from whoever accepts them;
// [Dialer] is the client's side. Both give a [*Conn], a full net.Conn.
//
//	srv := tunnel.NewServer(tunnel.Config{Fallback: web.Serve})
//	go serveRTMP(srv)                          // srv.Accept()
//	err := srv.ServeConn(nc, tunnel.ConnInfo{}) // for each HTTP connection
//
// Neither a connection nor the reader of a session needs a goroutine while nothing
// happens: see StartConn and Conn.Park.
//
// There is no specification. What follows is the protocol as culvert speaks
// it, enough to write a client.
//
// # Requests
//
// All are POST, on any number of connections, HTTP/1.0, 1.1 or 2. Over TLS, HTTP/2
// is spoken with clients that offer nothing else by ALPN, or with all that offer it
// where the operator or a proxy prefers it; see "HTTP/2" below. Paths are at the root of
// the host. ID is the session's, N a sequence number.
//
//	POST /open/1      one byte 00, or nothing   200, the session id and one LF
//	POST /send/ID/N   bytes of the stream       200, poll byte, bytes of the stream
//	POST /idle/ID/N   one byte 00, or nothing   200, poll byte, bytes of the stream
//	POST /close/ID/N  one byte 00, or nothing   200, one byte 00
//	POST /fcs/ident2  one byte 00, or nothing   404, or 200 and an IP address
//	GET  /fcs/ident                             200, <fcs>…</fcs>
//
// A conversation begins like this: the answer to the first send has what the
// server says to the bytes in it, and the idle brings what it says later.
//
//	POST /open/1 HTTP/1.1                     HTTP/1.1 200 OK
//	Host: example.net                         Content-Length: 19
//	User-Agent: Shockwave Flash               Content-Type: application/x-fcs
//	Content-Type: application/x-fcs           Connection: Keep-Alive
//	Content-Length: 1                         Cache-Control: no-cache
//
//	00                                        123456789012345678 LF
//
//	POST /send/123456789012345678/0           200: 01, answer
//	POST /idle/123456789012345678/1           200: 01, as soon as there is more
//	POST /close/123456789012345678/2          200: 00
//
// The ports are 80, and 443 with TLS. No header of a request means anything to the
// tunnel but those of HTTP itself (and see "Proxies"). A head has at most 8 KiB and 10 s, a body at
// most 8 MiB and 64 KiB; it may stop for 30 s, and one that takes longer than that
// has to bring 4 KiB a second. A connection is kept for 90 s without a request.
// HTTP/1.0 is answered in 1.1, and kept alive if it asks for that.
//
// Only bodies of send are part of the stream; they are cut anywhere. Bodies of
// the others are padding. Also taken: /idel for /idle, no number, absolute
// targets, doubled and trailing slashes, a query, any case of header names,
// repeated headers, a missing Content-Length, chunked bodies and
// Expect: 100-continue. Two different lengths, a length with chunked, folded
// headers and bare line feeds are answered 400 and the connection is closed.
//
// An id is 18 decimal digits, the first of them not 0.
//
// # Answers
//
// Every answer has a Content-Length and arrives with its head in one write.
// An answer to send, idle or close has at least one byte. The first is the
// poll byte: how long a client is asked to wait before its next idle, in steps
// of 16 ms. It is 1 while idles are held, and climbs the ladder 1, 3, 5, 9, 17,
// 33 after ten empty answers when they are not. The rest, up to 64 KiB, are
// bytes of the stream. One message group of the writer stays in one answer if
// it fits.
//
// An idle that finds nothing is held, 400 ms at first and 1 s once media
// flows, and is answered at once when there is data (after the coalescing window, if
// one is set), when another request of the session or any byte on its own connection
// arrives, and when the session ends. The idles of a session that publishes are not
// held for 2 s after a send.
//
// Whoever publishes is sent nothing that it has not asked for. Requests are read on
// while their answers are not: a client may send without reading, as librtmp does,
// until 1 MiB of answers wait for it.
//
// A send is never held for data. Its answer waits only until the reader of the
// stream has taken the body and has come back for more, so that what the body
// caused is in the answer: at most 1 s during the handshake, 20 ms later, and
// not at all for a session that publishes.
//
// # Sequence numbers
//
// One counter for send, idle and close. The first number is 0, or 1 if that is a
// send; an idle with the number 1 waits 200 ms for number 0. Numbers are compared
// modulo 2^32 and may be written signed. A request takes effect in its turn:
//
//   - The number expected: the request is processed.
//   - One of the last eight: the request was repeated, because an answer was lost.
//     It is given the same answer, byte for byte, and has no other effect. A
//     client that loses a connection repeats its unanswered requests on a new
//     one, and no byte is lost or doubled in either direction. Only the last two
//     are sure to be remembered, the others while all their answers together are
//     at most 3 KiB, as those to a publisher are.
//   - Up to 8 more than expected: it waits for those before it. If they do not
//     come within 5 s, or if too much waits, the session ends.
//   - Anything else: an idle is answered with the poll byte alone, a send 404.
//
// A close is taken whatever its number, and whatever came before it: a client that
// still has bytes to send waits for the answers to its sends first.
//
// Pipelining is allowed. A client has the least delay with one connection on
// which it keeps an idle outstanding and sends when it has something to say:
// the send's first byte makes the server answer the idle.
//
// # HTTP/2
//
// Each request is a stream. Streams keep no order, so that sequence numbers do: a send may
// reach the server before the idle that the client sent first, and the answers may come in
// any order. A client takes the bytes of the answers in the order of the numbers of their
// requests, and has at most nine requests unanswered. A send beside a held idle ends the
// hold here too, also through a proxy. A connection that its server ends (GOAWAY) is
// replaced by a new one, on which unanswered requests are repeated.
//
// # Proxies
//
// A session belongs to no connection, and a connection to no session: a proxy
// may use one for many clients, a new one for each request, or HTTP/1.0. Its
// client is the address that opened it or, behind a trusted proxy, the one that
// the request's header names; see [Forwarding]. Proxies that answer the requests
// of a connection one after the other are fine, those that close a client's
// connection are survived by clients that make a new one. Body and answer are
// complete messages with a length, so that buffers delay nothing.
//
// # End
//
// When the server ends a session, what it still has to say is answered with
// 200, and then every send and idle 404, with one byte 00: the end of the stream. A
// close is answered 200, also a repeated one or one of an unknown id. A session without a request ends after 30 s, one that was
// never used after 15 s. Unknown ids are answered 404; an address that asks
// for too many is answered late, and its sessions are not. Too many sessions are
// answered 503 with an empty body and Retry-After, so that a client looks at the status
// before it takes a body for an id; and so is a send while too many received bytes of
// all sessions wait to be read; other methods are answered 405, bodies over the limit
// 413. Limits, times and holds are settings; those here are the defaults.
package tunnel
