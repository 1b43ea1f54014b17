// Package chunk is the RTMP chunk stream: it cuts messages into chunks and
// puts them together again (RTMP 1.0 §5).
//
// A [Reader] turns the bytes of one direction of a connection into messages.
// It is tolerant where real peers differ and strict where a lie would cost
// memory: lengths are capped before anything is allocated, and payload memory
// grows only as bytes arrive.
//
// A [Message] keeps its payload in segments of at most [SegmentSize] bytes, each
// with room for a chunk header in front. SegmentSize is also the chunk size that
// culvert announces to every peer, so [Message.Encode] turns a received message
// into the bytes that go to all its receivers without copying the payload: one
// segment is one chunk is one entry of a vectored write. Messages are counted by
// reference and come from pools; whoever keeps one longer than the call that
// handed it over calls [Message.Retain], and [Message.Release] when done.
//
// The package knows nothing of what messages mean, except for Set Chunk Size
// and Abort, which belong to this layer.
package chunk
