// Package send is the way out: it writes messages to connections, one message
// to one connection or one message to all players of a stream.
//
// # Who writes
//
// Every connection has a [Writer], and no goroutine of its own for writing. The
// goroutine that has the bytes writes them: a publisher's reader writes each
// frame to all players, a player's reader writes its own answers. A Writer is
// direct or draining. Direct: one non-blocking vectored write, and done. When
// the socket refuses bytes (EAGAIN) the Writer becomes draining: what is left
// goes to its queue, later messages are appended to the queue, and one drain
// goroutine, which lives until the queue is empty, waits for the socket. Nobody
// else ever waits, so a slow player costs a publisher and the other players
// nothing.
//
// # When it gathers
//
// A system call costs far more than the bytes of an audio frame. A [Fanout]
// therefore holds audio and data back until the next video frame and writes
// them together, at most 40 ms later ([GatherVideo], one timer per stream).
// [GatherMessage] writes every message at once, [GatherTime] gathers for a set
// time. A draining Writer gathers by itself: it sends all that is queued.
//
// # What is shared
//
// A message is cut into chunks once ([chunk.Message.Encode]) for chunk size
// [chunk.SegmentSize], message stream ID 1 and absolute timestamps. All players
// get these bytes; queues hold references. A player that differs (a second
// stream on its connection) gets a copy of its own.
//
// Extended timestamps (after 4 h 39 m) are the exception: clients disagree on
// whether continuation chunks repeat them. From the first message on that needs
// both, a Fanout raises its players' chunk size to [chunk.MaxChunkSize], so that
// there are no continuation chunks.
//
// # Who cannot keep up
//
// A queue is bounded in bytes and time. Beyond that, the stream's video is
// dropped up to the next keyframe; audio, metadata and sequence headers stay.
// The player is told once per gap and the frames are counted. A queue that
// reaches the second limit, or a socket that takes nothing for the write
// timeout, ends the connection. Between the chunks of a large frame the queue
// lets audio and urgent messages pass.
package send
