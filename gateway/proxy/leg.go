package proxy

import (
	"context"
	"errors"
	"strings"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
)

// leg is a connection to a backend, of which this is the client.
type leg struct {
	*rtmpcore.Client

	// set at construction
	backend *Backend

	streamID uint32 // set by publish and play
}

// hello is what a leg says in its connect command.
type hello struct {
	object amf.Object
	args   []any
}

// newHello makes a connect command out of the client's: all it said, but for where
// it goes.
func newHello(cfg *Config, route *Route, client Client, req *rtmpcore.ConnectRequest, t told) hello {
	app, tcURL := t.app, t.tcURL
	if _, query, ok := strings.Cut(req.RawApp, "?"); ok {
		app += "?" + query
	}
	if _, query, ok := strings.Cut(req.TCURL, "?"); ok {
		tcURL += "?" + query
	}
	h := hello{args: req.Args}
	own := amf.Object{
		{Key: "app", Value: app},
		{Key: "tcUrl", Value: tcURL},
		{Key: "objectEncoding", Value: 0.0},
	}
	if route.Address != "" {
		own = append(own, amf.Pair{Key: route.Address, Value: client.address().String()})
	}
	for _, p := range req.Object {
		if p.Key == rtmpcore.ViaProperty || strings.EqualFold(p.Key, "tcUrl") {
			continue
		}
		if _, ok := own.Lookup(p.Key); !ok {
			h.object = append(h.object, p)
		}
	}
	h.object = append(own, h.object...)
	via := cfg.ID
	if before := req.Via(); before != "" {
		via = before + "," + via
	}
	h.object = append(h.object, amf.Pair{Key: rtmpcore.ViaProperty, Value: via})
	return h
}

// newLeg dials a backend.
func newLeg(ctx context.Context, cfg *Config, b *Backend, client Client, h hello) (*leg, error) {
	conn, err := cfg.Dial(ctx, b.cfg, client)
	if err != nil {
		return nil, err
	}
	return &leg{backend: b, Client: rtmpcore.NewClient(conn, rtmpcore.ClientConfig{
		Object: h.object, Args: h.args, Chunk: cfg.Chunk, Send: cfg.Send, AMF: cfg.AMF,
	})}, nil
}

// close ends the connection. Any goroutine may call it.
func (l *leg) close() { _ = l.Client.Close() } // nothing of it is needed any more

// publish begins to publish. A refusal is a *[rtmpcore.StatusError].
func (l *leg) publish(ctx context.Context, name, kind string) (err error) {
	if l.streamID, err = l.CreateStream(ctx); err != nil {
		return err
	}
	return l.PublishAs(ctx, l.streamID, name, kind)
}

// play begins to play. A refusal is a *[rtmpcore.StatusError].
func (l *leg) play(ctx context.Context, name string, req rtmpcore.PlayRequest) (err error) {
	if l.streamID, err = l.CreateStream(ctx); err != nil {
		return err
	}
	return l.PlayFrom(ctx, l.streamID, name, req.Start, req.Duration)
}

// goodbye tells the backend that a stream ends, for a limited time.
func (l *leg) goodbye(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if l.Unpublish(l.streamID, name) == nil {
		_ = l.Flush(ctx) // it has its own end
	}
}

// statusOf returns what a backend has refused with, or nil.
func statusOf(err error) *rtmpcore.StatusError {
	var status *rtmpcore.StatusError
	if errors.As(err, &status) {
		return &rtmpcore.StatusError{Code: status.Code, Description: status.Description}
	}
	return nil
}
