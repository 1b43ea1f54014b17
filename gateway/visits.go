package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// visits watches the connections of the pages. What is no request, is too large or
// comes too slowly net/http answers by itself, and tells nobody. Its methods may be
// called concurrently.
type visits struct {
	// set at construction
	log  zerolog.Logger
	note func(reason string, remote net.Addr, why error)

	refused atomic.Uint64
	conns   sync.Map // net.Conn to *visit
}

// visit is one connection.
type visit struct {
	remote net.Addr
	began  atomic.Bool // there are bytes of a request
	served atomic.Bool // a handler has got it
}

type visitKey struct{}

// errNoHead is all that is known about what net/http refuses.
var errNoHead = errors.New("no whole request head in time and size")

// open begins to watch a connection, before it is served.
func (v *visits) open(ctx context.Context, c net.Conn, remote net.Addr) context.Context {
	one := &visit{remote: remote}
	v.conns.Store(c, one)
	return context.WithValue(ctx, visitKey{}, one)
}

// handle notes the requests that handlers get.
func (v *visits) handle(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if one, ok := req.Context().Value(visitKey{}).(*visit); ok {
			one.served.Store(true)
		}
		next.ServeHTTP(w, req)
	})
}

// state is the http.Server's ConnState.
func (v *visits) state(c net.Conn, state http.ConnState) {
	got, ok := v.conns.Load(c)
	if !ok {
		return
	}
	one := got.(*visit)
	switch state {
	case http.StateNew:
	case http.StateActive:
		one.served.Store(false)
		one.began.Store(true)
	case http.StateIdle:
		one.began.Store(false)
	case http.StateHijacked, http.StateClosed:
		v.conns.Delete(c)
		if one.began.Load() && !one.served.Load() {
			v.refused.Add(1)
			v.log.Debug().Stringer("remote", one.remote).AnErr("reason", errNoHead).Msg("http request refused")
			v.note("http_request", one.remote, errNoHead)
		}
	}
}
