// Package live is the hub of live streams: one publisher, any number of
// players, and what a player who comes late needs.
//
// A [Hub] holds the streams by application and name. A stream exists while it
// has a publisher or a player, so players may come first and stay when the
// publisher leaves and returns. Each [Stream] keeps the latest metadata, the
// sequence headers of every track and the messages since the last keyframe (GOP
// cache); a new player gets them at once and continues with what is live, in
// one sequence without a gap or a repetition.
//
// The publisher's goroutine does all the work of a message, under the stream's
// lock, which only joining and leaving share: it never waits for a player (see
// package send).
package live
