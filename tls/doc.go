// Package tlsconf builds the *tls.Config of the gateway's listeners.
//
// It is no server and owns no socket: a [Source] knows certificates, and [Source.ServerConfig] turns it into a configuration for crypto/tls. Who
// listens does not know where certificates come from. There are three places, and each name may have its own ([Host]):
//
//   - [Internal]: a certificate authority of the gateway's own. It is made at the first start and kept in a directory; the server's certificate is
//     signed in memory and renewed while serving.
//
//   - [Files]: a certificate with its chain and a private key, as PEM files. They are checked: what a client would stumble over is named when
//     the gateway starts, and whenever the files change. They are watched, and what is new is served from the next handshake on.
//
//   - [ACMEMode]: a public authority, by certmagic or autocert. Both are only asked for single orders and for their challenges; a keeper for each name
//     decides when to order and renew, when to try again after a failure, and what to say about it. As long as there is no certificate, the internal one
//     stands in; a renewal that fails leaves the old one in place. Nothing of it ever stops the gateway.
//
//     ┌ files ──── watch
//     ClientHello → Source ┼ internal ─ authority
//     └ managed ── keeper per name → engine ┬ magic (certmagic) → authorities, one after the other
//     └ auto  (autocert)
//
// [Source.Run] does all that takes time; handshakes only read a pointer. [Source.Certificates] says how each certificate is, [Preflight] what would go
// wrong with an order.
//
// # Rules that clients made necessary
//
// Session tickets: Debian's librtmp (GnuTLS) fails on the ticket that TLS 1.3 servers send after the handshake, while other clients open a
// connection per request and need resumption. librtmp sends neither server name nor ALPN, the others send at least one: a ClientHello with neither
// gets no ticket, every other one gets tickets.
//
// ALPN (RFC 7301): http/1.1 comes before h2, so that only clients that speak nothing else get h2; the RTMP tunnel wants HTTP/1.1.
// [Config.HTTP2] turns the order round. A client that offers only protocols that are not served is refused with no_application_protocol, as the RFC
// says: taking it would let a connection made for another protocol be used against this one. A client without ALPN is served.
//
// No server name is needed, and an unknown one is served: it gets the certificate of the first name.
//
// acme-tls/1 is offered to a client that offers nothing else: an authority that proves a name by TLS-ALPN-01. It gets the certificate of the challenge,
// no ticket, and is asked for no certificate.
//
// # Example
//
//	src, err := tlsconf.New(tlsconf.Config{Mode: tlsconf.Internal, Storage: tlsconf.DefaultStorage(), Log: log})
//	if err != nil {
//		return err
//	}
//	go src.Run(ctx, tlsconf.Listeners{HTTP: plain.Addr(), HTTPS: secure.Addr()}) // once both are served
//	conn := tls.Server(raw, src.ServerConfig())
//
// The folder is called tls and the package tlsconf, so that tls means crypto/tls everywhere; import it as tlsconf "culvert/tls".
package tlsconf
