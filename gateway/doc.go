// Package gateway builds the whole server from a configuration and runs it.
//
//	listener → portmux ┬ RTMP ────────────────────────────┐
//	                   └ HTTP → tunnel ┬ sessions ────────┤
//	                                   └ pages (net/http) │
//	                                                      ▼
//	                        rtmpcore.NetConn → app → live
//
// TLS ports ask a tlsconf.Source for certificates. It is run after the listeners, because authorities come to them: the challenges of ACME are answered
// by the TLS handshake (acme-tls/1) and before all pages (/.well-known/acme-challenge/).
//
// Everything that arrives becomes a net.Conn that [rtmpcore] reads; transports
// differ only in which wrappers ran.
//
// # Log fields
//
// One list of keys for all log lines below this package:
//
//	conn       number of the connection, unique in the process
//	transport  rtmp, rtmps, rtmpt, rtmpts, rtmpe, rtmpte
//	remote     the client's address
//	app        application
//	stream     stream name, without its query
//	msid       message stream ID
//	proxy      address of a proxy in front of the gateway
//	kind       what it was seen to do
//	relay      push, pull
//	target     the server of a push or pull
//	retry      seconds until the next attempt
//	route      the route to a backend, by its place in the configuration
//	backend    address of a server behind the gateway
//	ready      connections to it that are kept for clients to come
//	listener   rtmp, http, https, admin
//	addr       address of a listener
//	dur        seconds
//	bytes_in   RTMP bytes received
//	bytes_out  RTMP bytes sent
//	refused    clients that were refused since the last line about it
//	address    whose, where the limit is one for each address
//	setting    what raises the limit
//	failed     how often, since the last line about it
//	dropped    frames that a player or target was too slow for
//	reason     why something ended or was refused
//	error      what went wrong
//	name       name of a certificate
//	issuer     who signed it
//	not_after  when it ends
//	next_try   when it is ordered again
//
// Queries of stream names, which hold keys, are never logged.
package gateway
