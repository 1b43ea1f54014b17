// Package app is what RTMP clients talk to: it gives each connection an
// application with its rules for publishing and playing, and binds its streams
// to the live hub.
//
//	rtmpcore.NetConn → app.Client (Handler) → session → live.Publication, live.Subscription
package app
