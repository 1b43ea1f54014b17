// Package gateway builds the whole server from a configuration and runs it.
//
//	listener → portmux ┬ RTMP ────────────────────────────┐
//	                   └ HTTP → tunnel ┬ sessions ────────┤
//	                                   └ pages (net/http) │
//	                                                      ▼
//	                        rtmpcore.NetConn → app → live
//
// Everything that arrives becomes a net.Conn that [rtmpcore] reads; transports
// differ only in which wrappers ran.
//
// # Log fields
//
// One list of keys for all log lines below this package:
//
//	conn       number of the connection, unique in the process
//	transport  rtmp, rtmps, rtmpt, rtmpts
//	remote     the client's address
//	app        application
//	stream     stream name, without its query
//	msid       message stream ID
//	relay      push, pull
//	target     the server of a push or pull
//	retry      seconds until the next attempt
//	listener   rtmp, http, https, admin
//	addr       address of a listener
//	dur        seconds
//	bytes_in   RTMP bytes received
//	bytes_out  RTMP bytes sent
//	reason     why something ended or was refused
//	error      what went wrong
//
// Queries of stream names, which hold keys, are never logged.
package gateway
