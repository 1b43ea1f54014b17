// Package tlsconf builds the *tls.Config of the gateway's listeners.
//
// It is no server and owns no socket: a [Source] knows certificates, and [Source.ServerConfig] turns it into a configuration for crypto/tls. Who
// listens does not know where certificates come from. There are two places today:
//
//   - [Internal]: a certificate authority of the gateway's own. It is made at the first start and kept in a directory; the server's certificate is
//     signed in memory and renewed while serving.
//   - [Files]: a certificate with its chain and a private key, as PEM files. They are checked: what a client would stumble over is named when
//     the gateway starts.
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
// No server name is needed, and an unknown one is served: the certificate is the same for all.
//
// # Example
//
//	src, err := tlsconf.New(tlsconf.Config{Mode: tlsconf.Internal, Storage: tlsconf.DefaultStorage(), Log: log})
//	if err != nil {
//		return err
//	}
//	conn := tls.Server(raw, src.ServerConfig())
//
// The folder is called tls and the package tlsconf, so that tls means crypto/tls everywhere; import it as tlsconf "culvert/tls".
package tlsconf
