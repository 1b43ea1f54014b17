package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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

	Extra []amf.Pair // further properties of the connect command's object
	Chunk chunk.Limits
	Send  send.Limits
	AMF   amf.Limits
	// Refuse is asked with the server's address before anything is sent there; its error
	// ends the connection. It may be nil.
	Refuse func(net.Addr) error
}

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
		return nil, explain(t, err)
	}
	return c, nil
}

// connect connects with a query that is added to app and tcUrl.
func connect(ctx context.Context, t Target, opts Options, query string) (*rtmpcore.Client, error) {
	conn, err := Dial(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	c := rtmpcore.NewClient(conn, rtmpcore.ClientConfig{
		App: t.App + query, TCURL: t.TCURL() + query, Digest: opts.Digest,
		Extra: opts.Extra, Chunk: opts.Chunk, Send: opts.Send, AMF: opts.AMF,
	})
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dial opens the target's transport: a byte stream that RTMP goes over.
func Dial(ctx context.Context, t Target, opts Options) (net.Conn, error) {
	config := opts.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = t.Host
	}
	switch t.Scheme {
	case "rtmp":
		return opts.dialTCP(ctx, t.Address())
	case "rtmps":
		conn, err := opts.dialTCP(ctx, t.Address())
		if err != nil {
			return nil, err
		}
		return netio.ClientTLS(ctx, conn, config, 0)
	default:
		return (&tunnel.Dialer{
			TLS: config,
			DialConn: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return opts.dialTCP(ctx, addr)
			},
		}).Dial(ctx, t.Scheme+"://"+t.Address())
	}
}

func (o *Options) dialTCP(ctx context.Context, addr string) (*netio.TCPConn, error) {
	conn, err := netio.Dial(ctx, addr)
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
func explain(t Target, err error) error {
	var (
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		refused *rtmpcore.StatusError
		hint    string
	)
	switch {
	case errors.Is(err, ErrLogin):
		hint = "the server does not accept user and password"
	case errors.As(err, &refused):
		hint = "the server refused"
	case errors.As(err, &dns):
		hint = fmt.Sprintf("the name %s has no address: check its spelling and the DNS", t.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = fmt.Sprintf("nothing listens on port %s of %s: check that the server runs, and the port in the URL", t.Port, t.Host)
	case errors.As(err, &cert):
		hint = "the server's certificate is not trusted: name its authority (--ca FILE, or ca in a configuration), or use --insecure for a test"
	case errors.As(err, &record):
		hint = fmt.Sprintf("port %s does not speak TLS: use rtmp:// or rtmpt://, or another port", t.Port)
	case errors.Is(err, handshake.ErrVersion):
		hint = fmt.Sprintf("port %s does not speak RTMP: check the port, or use rtmpt:// for an HTTP port", t.Port)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		hint = "the server does not answer: a firewall may drop the connection; try rtmps:// or rtmpts:// on port 443"
	default:
		hint = "the connection was lost"
	}
	return fmt.Errorf("%s: %s: %w", t, hint, err)
}
