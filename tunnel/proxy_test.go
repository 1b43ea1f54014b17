package tunnel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

func TestParseProxy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://proxy:8080":      "http://proxy:8080",
		"https://proxy":          "https://proxy",
		"proxy:8080":             "http://proxy:8080",
		"proxy":                  "http://proxy",
		"eva:secret@proxy:8080":  "http://eva:secret@proxy:8080",
		"[2001:db8::1]:8080":     "http://[2001:db8::1]:8080",
		"socks5://proxy:1080":    "",
		"":                       "",
		"http://":                "",
		"http://a b":             "",
		"http://eva:secret@:x80": "",
	} {
		u, err := tunnel.ParseProxy(text)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != want || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestDialProxy speaks CONNECT with a proxy that gives one answer.
func TestDialProxy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		code   int    // of the *ProxyError
		want   string // what is read behind it; empty: an error
	}{
		"connected":          {answer: "HTTP/1.1 200 Connection established\r\n\r\n", want: "hello"},
		"of squid":           {answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nVia: x\r\n\r\n", want: "hello"},
		"with a length":      {answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", want: "hello"},
		"a port too unusual": {answer: "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n", code: 403},
		"a password":         {answer: "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", code: 407},
		"no proxy":           {answer: "SSH-2.0-x\r\n\r\n"},
		"more than asked":    {answer: "HTTP/1.1 200 OK\r\n\r\nhello"},
		"nothing":            {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var dialled, head string
				done := make(chan struct{})
				dial := func(_ context.Context, _, addr string) (net.Conn, error) {
					dialled = addr
					client, server := memPipe(1 << 20)
					go func() {
						defer close(done)
						defer server.Close()
						req, err := http.ReadRequest(bufio.NewReader(server))
						if err != nil {
							t.Error(err)
							return
						}
						head = req.Method + " " + req.RequestURI + " " + req.Header.Get("Proxy-Authorization")
						if tc.answer == "" {
							_, _ = io.Copy(io.Discard, server)
							return
						}
						_, _ = io.WriteString(server, tc.answer)
						if tc.want != "" {
							time.Sleep(time.Second)
							_, _ = io.WriteString(server, tc.want)
						}
					}()
					return client, nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				nc, err := tunnel.DialProxy(ctx, dial, mustURL("http://eva:secret@proxy:8080"), "h:443")
				if err == nil {
					got, rerr := io.ReadAll(nc)
					if string(got) != tc.want || rerr != nil {
						t.Errorf("read %q, %v", got, rerr)
					}
					_ = nc.Close()
				}
				<-done
				var refused *tunnel.ProxyError
				if errors.As(err, &refused) != (tc.code != 0) || refused != nil && (refused.Code != tc.code || refused.Addr != "h:443") || (err == nil) != (tc.want != "") {
					t.Errorf("error %v", err)
				}
				if tc.answer == "" && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if dialled != "proxy:8080" || head != "CONNECT h:443 Basic ZXZhOnNlY3JldA==" {
					t.Errorf("dialled %s, asked %q", dialled, head)
				}
			})
		})
	}
}
