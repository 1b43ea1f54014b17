package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Dialer opens tunnel sessions. The zero value works: it dials TCP and, for
// rtmpts and https URLs, speaks TLS on it. A Dialer may be used concurrently
// and must not be changed while it is.
type Dialer struct {
	// DialConn makes the connection that HTTP runs on. Default: net.Dialer.
	// It is called again when the connection is lost or was closed by a proxy.
	DialConn func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is used by Dial for rtmpts and https URLs, on top of what DialConn
	// returns. ServerName defaults to the host that is dialled, NextProtos to h2
	// and http/1.1: the server chooses. Over HTTP/2 the requests are streams of one
	// connection, and a send reaches the server beside a held idle through any
	// proxy. culvert itself chooses HTTP/1.1, which costs it less, unless told
	// otherwise.
	TLS *tls.Config
	// Host is sent as the Host header. Default: the address that is dialled.
	Host string
	// Proxy is an HTTP proxy to go through, as ParseProxy reads it. Requests
	// without TLS are given to it with absolute targets, "POST
	// http://host/open/1"; for TLS it is asked for a connection by CONNECT.
	// DialConn then connects to the proxy.
	Proxy *url.URL
	// Header is added to every request, for what a proxy asks for.
	Header map[string]string

	// NoPipelining forbids a send while an idle request is unanswered. What is
	// written then waits until the server answers the idle.
	NoPipelining bool
	// NoRepeat forbids to repeat requests on a new connection. Needed with
	// servers that ignore sequence numbers, where a repeated send would be
	// taken twice; without repeats a lost connection ends the session. Over
	// HTTP/2, which keeps no order, it forbids two requests at a time as well.
	NoRepeat bool

	// QueueBytes is the number of bytes queued in each direction. Default
	// 256 KiB.
	QueueBytes int
	// MaxSend is the largest body of a send request. Default 128 KiB.
	MaxSend int
	// MaxAnswer is the largest answer taken. Default 16 MiB.
	MaxAnswer int
	// MaxPoll bounds the pause between idle requests that a server may ask
	// for. Default 528 ms, the slowest that servers use.
	MaxPoll time.Duration
	// AnswerTimeout is how long an answer may take. Default 30 s.
	AnswerTimeout time.Duration
	// CloseTimeout bounds Conn.Close. Default 3 s.
	CloseTimeout time.Duration
	// Redials is how often in a row a lost connection is made again without an
	// answer on it. Default 3; negative: never.
	Redials int
}

// StatusError is an HTTP answer that is not a tunnel's.
type StatusError struct {
	Op   string // open, send, idle or close
	Code int
}

func (e *StatusError) Error() string {
	return "tunnel: " + e.Op + " answered with HTTP status " + strconv.Itoa(e.Code)
}

// Dial opens a session at a URL with the scheme rtmpt, rtmpts, http or https.
// Only host and port count: the tunnel's paths are fixed. The default port is
// 80, or 443 for rtmpts and https.
func (d *Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	port, secure := "80", false
	switch u.Scheme {
	case "rtmpt", "http":
	case "rtmpts", "https":
		port, secure = "443", true
	default:
		return nil, fmt.Errorf("tunnel: scheme %q is not one of rtmpt, rtmpts, http, https", u.Scheme)
	}
	host := u.Host
	if u.Port() != "" {
		port = u.Port()
	} else {
		host = u.Hostname()
		if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
			host = "[" + host + "]"
		}
	}
	if u.Hostname() == "" {
		return nil, errors.New("tunnel: the URL has no host")
	}
	return d.open(ctx, "tcp", net.JoinHostPort(u.Hostname(), port), host, secure)
}

// DialContext opens a session at addr, without TLS unless DialConn adds it.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (*Conn, error) {
	return d.open(ctx, network, addr, addr, false)
}

func (d *Dialer) open(ctx context.Context, network, addr, host string, secure bool) (*Conn, error) {
	c := &client{
		d:       d.withDefaults(),
		network: network,
		addr:    addr,
	}
	if d.Host != "" {
		host = d.Host
	}
	if secure {
		c.tls = &tls.Config{}
		if d.TLS != nil {
			c.tls = d.TLS.Clone()
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName, _, _ = net.SplitHostPort(addr) // it was joined, or the dial fails
		}
		if c.tls.NextProtos == nil {
			c.tls.NextProtos = nextProtos
		}
	}
	if err := c.setHeads(host); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return &c.Conn, nil
}

func (d *Dialer) withDefaults() Dialer {
	c := *d
	if c.DialConn == nil {
		c.DialConn = new(net.Dialer).DialContext
	}
	or(&c.QueueBytes, 256<<10)
	or(&c.MaxSend, 128<<10)
	or(&c.MaxAnswer, 16<<20)
	or(&c.MaxPoll, 33*pollUnit)
	or(&c.AnswerTimeout, 30*time.Second)
	or(&c.CloseTimeout, 3*time.Second)
	or(&c.Redials, 3)
	c.Redials = max(c.Redials, 0)
	return c
}

// pollUnit is the unit of the poll byte.
const pollUnit = 16 * time.Millisecond
