// Package relay carries live streams between servers. It pushes the streams of an
// application to other servers while they are published, and pulls streams from an
// origin while somebody wants to play them:
//
//	publisher → live ─┬→ players
//	                  └→ push → another server, over any transport
//	origin → pull → live → players
//
// A [Relay] does both for one application. It is the hub's [live.Watcher], which
// tells it what is published and what is wanted.
//
// A push is one more subscriber of the stream, written to like any player: it starts
// with metadata, sequence headers and a keyframe, shares the players' bytes, and when
// it cannot keep up it drops frames without a word to anybody else. It stays when the
// publisher leaves, for the time called linger, so that a publisher that returns goes
// on in the same broadcast.
//
// A pull is one publisher of the stream, whatever the number of players. When the
// origin is lost, the publication stays and is interrupted: players see time go on
// when the origin is back. What the origin says of the end of the stream is told to
// players at once.
//
// What fails is tried again, after 1 s at first, twice as long each time, 30 s at most,
// each shortened by up to half at random. A relay of a gateway to itself is refused:
// its own listeners by their address, longer ways by the names of the gateways that a
// relay passed, which each tells the next when it connects
// ([rtmpcore.ConnectRequest.Via]).
package relay
