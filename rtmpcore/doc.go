// Package rtmpcore speaks RTMP over any net.Conn, as a server and as a client:
// handshake, chunk stream, NetConnection and NetStream commands (RTMP 1.0 §7.2).
//
// It decides nothing about applications. A server gives every connection to a
// [Handler], which accepts or refuses what the client asks for; media goes from
// a publishing [NetStream] to the [Publication] that the application returned,
// and to players through their [send.Writer].
//
//	nc := rtmpcore.NewConn(conn, cfg)
//	err := nc.Serve(ctx, handler) // until the connection has ended
//
// One goroutine at a time serves a connection: it reads, obeys control messages, runs
// commands and calls the application; all answers to what was read together go out in
// one write. Where the transport can wait for bytes itself (Park), that is a goroutine of
// the connection's own only for what may take long or wait: not for the handshake and
// connect, nor for a client that plays or publishes to few.
//
// What a transport can do beyond net.Conn is asked for with small interfaces:
// TryWritev and WaitWritable (package send), LazyRead (package chunk), and here Park,
// Quiet and SetPublishing: over RTMPT a publisher must not be sent anything that
// it did not ask for, because ffmpeg stops sending while it has bytes to read.
package rtmpcore
