// Package admin is the operator's view of a running gateway: health checks, metrics
// and a read-only API. It is meant for a listener on loopback or an internal network;
// it asks nobody who they are.
//
//	GET /healthz          200 while the process serves HTTP
//	GET /readyz           200 while new connections are welcome, else 503
//	GET /metrics          Prometheus, names with the prefix culvert_
//	GET /api/v1/streams        live streams as JSON
//	GET /api/v1/certificates   state of each certificate as JSON
//	GET /ca.pem                the gateway's own certificate authority
//
// What it shows comes through the small interfaces [State], [Streams] and [Metrics],
// which the gateway implements. Counters are read when a scrape asks for them, so the
// data path pays nothing. No series carries a stream name, a client address or a
// connection: their number would have no bound.
package admin
