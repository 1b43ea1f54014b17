// Package bench loads RTMP servers and says what they did with the load. It is
// behind `culvert bench`.
//
// It speaks to any server by address, over rtmp, rtmps, rtmpt and rtmpts, in
// five scenarios: [Fanout] (one publisher, many players), [Publishers] (many
// publishers, nobody watching), [Storm] (connections that come and go), [Polls]
// (tunnel sessions that ask for news) and [Goodput] (one publisher as fast as
// the player gets it). [Run] runs one and returns a [Result]; [Suite] runs the
// list that `make bench` prints.
//
// # What a figure can be trusted for
//
// Frames carry a number, the time they were made and a checksum over all their
// bytes. Every player checks every frame: see [Check]. A run in which a frame
// was lost without the server saying so, came twice, late or changed, or in
// which the machine was busy to the brim, is invalid, and [Result.Invalid] says
// why.
//
// Load generator and server share a machine, so absolute figures say as much
// about the machine as about the server. What can be compared are ratios to a
// floor: a process that does the least that any server has to do for this load,
// measured by the same load generator in the same invocation. [Floor] is that
// process.
//
// # How the load is made
//
// Each player is one goroutine that waits in [rtmpcore.Client.ReadMessage]; one
// that plays over RTMPT does its own HTTP in the same goroutine, polling some
// time after each answer. Latencies go into histograms with a fixed number of
// buckets, so that a long run holds no more memory than a short one.
//
// The package starts servers and floors as processes ([Spawn]) but is no part
// of any: it sees the gateway only through its sockets.
package bench
