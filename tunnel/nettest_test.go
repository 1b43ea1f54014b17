package tunnel_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"culvert/tunnel"
)

// serve runs a server behind a loopback listener, by ServeConn.
func serve(tb testing.TB, cfg tunnel.Config, wrap func(net.Conn) net.Conn) (srv *tunnel.Server, addr string, stop func()) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv = tunnel.NewServer(cfg)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if wrap != nil {
				nc = wrap(nc)
			}
			wg.Go(func() { _ = srv.ServeConn(nc, tunnel.ConnInfo{}) })
		}
	})
	return srv, ln.Addr().String(), func() {
		_ = ln.Close()
		_ = srv.Close()
		wg.Wait()
	}
}

func pipe(tb testing.TB, d *tunnel.Dialer, srv *tunnel.Server, addr string, stop func()) (server, client net.Conn, stopAll func(), err error) {
	tb.Helper()
	client, err = d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	server, err = srv.Accept()
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	return server, client, func() {
		_ = server.Close()
		_ = client.Close()
		stop()
	}, nil
}

// splitter is a connection that cuts every write at random places.
type splitter struct{ net.Conn }

func (s splitter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m, err := s.Conn.Write(b[:1+rand.IntN(min(len(b), 700))])
		n += m
		if err != nil {
			return n, err
		}
		b = b[m:]
	}
	return n, nil
}

func TestConn(t *testing.T) {
	t.Parallel()
	split := func(nc net.Conn) net.Conn { return splitter{nc} }
	dialSplit := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return splitter{nc}, nil
	}
	for _, tc := range []struct {
		name  string
		start func(t *testing.T) (*tunnel.Server, string, func())
		d     tunnel.Dialer
	}{
		{"ServeConn", func(t *testing.T) (*tunnel.Server, string, func()) {
			return serve(t, tunnel.Config{}, nil)
		}, tunnel.Dialer{}},
		{"ServeConnSplit", func(t *testing.T) (*tunnel.Server, string, func()) {
			return serve(t, tunnel.Config{}, split)
		}, tunnel.Dialer{DialConn: dialSplit}},
		{"NoPipelining", func(t *testing.T) (*tunnel.Server, string, func()) {
			return serve(t, shortHold, nil)
		}, tunnel.Dialer{NoPipelining: true}},
		{"ServeHTTP", serveNetHTTP, tunnel.Dialer{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			t.Run("server", func(t *testing.T) {
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					srv, addr, stop := tc.start(t)
					server, client, stopAll, err := pipe(t, &tc.d, srv, addr, stop)
					return server, client, stopAll, err
				})
			})
			t.Run("client", func(t *testing.T) {
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					srv, addr, stop := tc.start(t)
					server, client, stopAll, err := pipe(t, &tc.d, srv, addr, stop)
					return client, server, stopAll, err
				})
			})
		})
	}
}

// shortHold is for where nothing but its end releases a held idle before a
// send of the same connection: net/http does not see pipelined requests.
var shortHold = tunnel.Config{Hold: 5 * time.Millisecond, HoldSetup: 5 * time.Millisecond}

// serveNetHTTP runs a server behind net/http.
func serveNetHTTP(t *testing.T) (*tunnel.Server, string, func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := tunnel.NewServer(shortHold)
	hs := &http.Server{Handler: srv}
	var wg sync.WaitGroup
	wg.Go(func() { _ = hs.Serve(ln) })
	return srv, ln.Addr().String(), func() {
		_ = srv.Close()
		_ = hs.Close()
		wg.Wait()
	}
}
