package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ProxyError is the refusal of an HTTP proxy to connect to a server.
type ProxyError struct {
	Addr string // that was asked for
	Code int    // HTTP status
}

func (e *ProxyError) Error() string {
	return "tunnel: the proxy refuses to connect to " + e.Addr + ": HTTP status " + strconv.Itoa(e.Code)
}

// ParseProxy reads the address of an HTTP proxy:
//
//	[http[s]://][user:password@]host[:port]
//
// The scheme says how to speak with the proxy itself. The port is 3128 if
// there is none, 443 for https. The error does not repeat the text, which may
// hold a password.
func ParseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the proxy is not of the form http://HOST:PORT")
	}
	return u, nil
}

// DialProxy connects to addr through an HTTP proxy by the method CONNECT. dial
// makes the connection to the proxy; if nil, a net.Dialer does. The proxy's
// refusal is a *ProxyError.
func DialProxy(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), proxy *url.URL, addr string) (net.Conn, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := reachProxy(ctx, dial, proxy)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(longAgo) }) // ends what connect waits for
	err = connect(nc, proxy, addr)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(nc.Close()))
	}
	return nc, nil
}

// reachProxy connects to the proxy itself.
func reachProxy(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), proxy *url.URL) (net.Conn, error) {
	nc, err := dial(ctx, "tcp", proxyAddr(proxy))
	if err != nil {
		return nil, fmt.Errorf("tunnel: proxy: %w", err)
	}
	if proxy.Scheme != "https" {
		return nc, nil
	}
	tc := tls.Client(nc, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tunnel: proxy: %w", err), ignoreClosed(nc.Close()))
	}
	return tc, nil
}

// connect asks the proxy for a connection to addr.
func connect(nc net.Conn, proxy *url.URL, addr string) error {
	request := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n" + proxyAuthorization(proxy) + "\r\n"
	if _, err := nc.Write([]byte(request)); err != nil {
		return fmt.Errorf("tunnel: proxy: %w", err)
	}
	rd := newAnswerReader(nc, 0)
	for {
		h, err := rd.head()
		switch {
		case err != nil:
			return fmt.Errorf("tunnel: proxy: %w", err)
		case h.status < http.StatusOK:
			continue
		case h.status >= http.StatusMultipleChoices:
			return &ProxyError{addr, h.status}
		case rd.br.Buffered() > 0: // servers of TLS and RTMP wait for the client's first word
			return errors.New("tunnel: proxy: bytes behind its answer")
		}
		return nil
	}
}

// proxyAddr returns the proxy's host and port.
func proxyAddr(proxy *url.URL) string {
	port := proxy.Port()
	switch {
	case port != "":
	case proxy.Scheme == "https":
		port = "443"
	default:
		port = "3128"
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// proxyAuthorization returns the header line for the user that the proxy's URL
// names, or nothing.
func proxyAuthorization(proxy *url.URL) string {
	if proxy == nil || proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password() // without one it is empty
	text := proxy.User.Username() + ":" + password
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n"
}

// dialServer makes the connection that HTTP runs on.
func (c *client) dialServer(ctx context.Context) (net.Conn, error) {
	switch {
	case c.d.Proxy == nil:
		nc, err := c.d.DialConn(ctx, c.network, c.addr)
		if err != nil {
			return nil, fmt.Errorf("tunnel: dial: %w", err)
		}
		return nc, nil
	case c.tls == nil:
		return reachProxy(ctx, c.d.DialConn, c.d.Proxy)
	default:
		return DialProxy(ctx, c.d.DialConn, c.d.Proxy, c.addr)
	}
}
