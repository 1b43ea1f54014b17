package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"culvert/gateway/netio"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/send"
	"culvert/tunnel"
)

// Options say how to connect. The zero value verifies certificates against the
// system's roots.
type Options struct {
	TLS     *tls.Config   // for rtmps and rtmpts; may be nil
	Timeout time.Duration // until the server has accepted the connect command; default 15 s
	Digest  bool          // sign the handshake, as Flash Player does
	Proxy   *url.URL      // an HTTP proxy to go through, as ParseProxy reads it; nil: none

	Extra []amf.Pair // further properties of the connect command's object
	Chunk chunk.Limits
	Send  send.Limits
	AMF   amf.Limits
	// Refuse is asked with the server's address before anything is sent there; its error
	// ends the connection. It may be nil.
	Refuse func(net.Addr) error

	// DialTCP makes the TCP connections beneath the transport, unless there is a Proxy;
	// nil: [netio.Dial].
	DialTCP func(ctx context.Context, addr string) (*netio.TCPConn, error)
	// Dial makes the byte stream that RTMP goes over in another way than the target's
	// scheme says; may be nil.
	Dial func(ctx context.Context) (net.Conn, error)
}

// ParseProxy reads the address of an HTTP proxy, [http[s]://][user:password@]host[:port].
// The error does not repeat it.
func ParseProxy(text string) (*url.URL, error) { return tunnel.ParseProxy(text) }

const defaultTimeout = 15 * time.Second

// Connect connects to the target's application. Errors say what to do next.
func Connect(ctx context.Context, t Target, opts Options) (*rtmpcore.Client, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	c, err := connect(ctx, t, opts, "")
	if err != nil && t.User != "" {
		c, err = authenticate(ctx, t, opts, err)
	}
	if err != nil {
		return nil, explain(t, opts.Proxy != nil, err)
	}
	return c, nil
}

// connect connects with a query that is added to app and tcUrl.
func connect(ctx context.Context, t Target, opts Options, query string) (*rtmpcore.Client, error) {
	dial := opts.Dial
	if dial == nil {
		dial = func(ctx context.Context) (net.Conn, error) { return Dial(ctx, t, opts) }
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c := rtmpcore.NewClient(conn, rtmpcore.ClientConfig{
		App: t.App + query, TCURL: t.TCURL() + query, Digest: opts.Digest, Encrypt: t.encrypted(),
		Extra: opts.Extra, Chunk: opts.Chunk, Send: opts.Send, AMF: opts.AMF,
	})
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dial opens the target's transport: a byte stream that RTMP goes over. The
// encryption of RTMPE is RTMP's own and not part of it.
func Dial(ctx context.Context, t Target, opts Options) (net.Conn, error) {
	config := opts.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = t.Host
	}
	switch {
	case t.Tunnelled():
		return (&tunnel.Dialer{
			TLS:   config,
			Proxy: opts.Proxy,
			DialConn: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return opts.dialTCP(ctx, addr)
			},
		}).Dial(ctx, t.carrier()+"://"+t.Address())
	case opts.Proxy != nil:
		return dialThrough(ctx, t, config, opts.Proxy)
	case t.carrier() == "rtmp":
		return opts.dialTCP(ctx, t.Address())
	default:
		conn, err := opts.dialTCP(ctx, t.Address())
		if err != nil {
			return nil, err
		}
		return netio.ClientTLS(ctx, conn, config, 0)
	}
}

// dialThrough opens a transport that is not HTTP itself through an HTTP proxy.
func dialThrough(ctx context.Context, t Target, config *tls.Config, proxy *url.URL) (net.Conn, error) {
	conn, err := tunnel.DialProxy(ctx, nil, proxy, t.Address())
	if err != nil || t.carrier() == "rtmp" {
		return conn, err
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// proxyHint says what to do about a proxy's refusal.
func proxyHint(t Target, code int) string {
	switch {
	case code == http.StatusProxyAuthRequired:
		return "the proxy asks who you are: write --proxy http://USER:PASSWORD@HOST:PORT"
	case code == http.StatusForbidden && !t.Tunnelled():
		return fmt.Sprintf("the proxy refuses port %s of %s: use rtmpt://%s on port 80, or rtmpts:// on port 443", t.Port, t.Host, t.Host)
	case code == http.StatusForbidden:
		return fmt.Sprintf("the proxy refuses port %s of %s: use port 80 for rtmpt, 443 for rtmpts", t.Port, t.Host)
	case code == http.StatusMethodNotAllowed || code == http.StatusNotFound || code == http.StatusNotImplemented:
		return "the proxy does not do that: is it an HTTP proxy, and the server a tunnel?"
	}
	return fmt.Sprintf("the proxy cannot reach %s: check host and port", t.Address())
}

func (o *Options) dialTCP(ctx context.Context, addr string) (*netio.TCPConn, error) {
	dial := o.DialTCP
	if dial == nil {
		dial = func(ctx context.Context, addr string) (*netio.TCPConn, error) { return netio.Dial(ctx, addr, nil) }
	}
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if o.Refuse != nil {
		if err := o.Refuse(conn.RemoteAddr()); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// explain adds to a connection error what the person can do about it.
func explain(t Target, viaProxy bool, err error) error {
	var (
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		refused *rtmpcore.StatusError
		proxy   *tunnel.ProxyError
		status  *tunnel.StatusError
		hint    string
	)
	switch {
	case errors.Is(err, ErrLogin):
		hint = "the server does not accept user and password"
	case errors.As(err, &refused):
		hint = "the server refused"
	case errors.As(err, &proxy):
		hint = proxyHint(t, proxy.Code)
	case viaProxy && errors.As(err, &status):
		hint = proxyHint(t, status.Code)
	case viaProxy && errors.As(err, &dns):
		hint = fmt.Sprintf("the proxy's name %s has no address: check its spelling and the DNS", dns.Name)
	case viaProxy && errors.Is(err, syscall.ECONNREFUSED):
		hint = "nothing listens at the proxy's address: check --proxy"
	case errors.As(err, &dns):
		hint = fmt.Sprintf("the name %s has no address: check its spelling and the DNS", t.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = fmt.Sprintf("nothing listens on port %s of %s: check that the server runs, and the port in the URL", t.Port, t.Host)
	case errors.As(err, &cert):
		hint = "the server's certificate is not trusted: name its authority (--ca FILE, or ca in a configuration), or use --insecure for a test"
	case errors.As(err, &record):
		hint = fmt.Sprintf("port %s does not speak TLS: use rtmp:// or rtmpt://, or another port", t.Port)
	case t.encrypted() && (errors.Is(err, handshake.ErrNotEncrypted) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		hint = "the server may not speak RTMPE: try rtmps://, which is safer, or rtmp://"
	case errors.Is(err, handshake.ErrVersion):
		hint = fmt.Sprintf("port %s does not speak RTMP: check the port, or use rtmpt:// for an HTTP port", t.Port)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		hint = "the server does not answer: a firewall may drop the connection; try rtmps:// or rtmpts:// on port 443"
	default:
		hint = "the connection was lost"
	}
	return fmt.Errorf("%s: %s: %w", t, hint, err)
}
