package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"

	"culvert/gateway/auth"
	"culvert/gateway/live"
	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// AnyApp is the name of the application that stands for all without an entry.
const AnyApp = "*"

// Policy is how an application behaves.
type Policy struct {
	Name     string // the configured one, AnyApp for all others
	Publish  auth.PublishRules
	Takeover bool // a second publisher replaces the first; else it is refused
	Play     auth.PlayRules
	Wait     bool // players may come before the publisher
	Live     live.Options
	Origin   Origin         // nil: none
	SWF      []rtmpcore.SWF // the Flash applications that may play; none: players are not asked
}

// Origin fetches streams that nobody publishes here, for players who have subscribed.
type Origin interface {
	// Await returns nil when the stream is there, or may yet come and the player is
	// ready to wait. It does not wait for long.
	Await(ctx context.Context, key live.Key, wait bool) error
}

// Server is the set of applications. Its methods may be called by any goroutine.
type Server struct {
	hub      *live.Hub
	router   *proxy.Router
	policies map[string]*Policy
	refused  atomic.Uint64

	// ID is this gateway's name in [rtmpcore.ConnectRequest.Via]: a client that has it
	// relays the gateway's own streams back to it and is refused. It is set before the
	// first connection.
	ID string
}

// NewServer returns a server of the applications in policies, by name, and of the
// streams that a router finds a route for. router may be nil.
func NewServer(hub *live.Hub, router *proxy.Router, policies map[string]*Policy) *Server {
	return &Server{hub: hub, router: router, policies: policies}
}

// Policy returns an application's policy, or nil when it is not served.
func (s *Server) Policy(app string) *Policy {
	if p := s.policies[app]; p != nil {
		return p
	}
	return s.policies[AnyApp]
}

// Refused returns how many connect, publish and play commands were refused by the rules.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Client is one connection's way to the applications.
type Client struct {
	Server   *Server
	Log      zerolog.Logger // with the connection's fields
	Source   live.Source
	Loopback bool // the client is on this machine, not behind a proxy
	Proxy    proxy.Client
}

var _ rtmpcore.Handler = (*Client)(nil)

// Connect implements [rtmpcore.Handler].
func (c *Client) Connect(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	policy := c.Server.Policy(req.App)
	if err := c.Server.checkVia(req.Via()); err != nil {
		c.Server.refused.Add(1)
		c.Log.Warn().Str("app", req.App).Str("reason", err.Error()).Msg("connect refused")
		return nil, &rtmpcore.StatusError{Code: message.StatusConnectRejected, Description: err.Error()}
	}
	proxied, err := c.proxied(nc, req, policy != nil)
	if err != nil {
		return nil, err
	}
	if policy == nil && proxied == nil {
		c.Server.refused.Add(1)
		return nil, &rtmpcore.StatusError{
			Code:        message.StatusConnectInvalidApp,
			Description: fmt.Sprintf("There is no application %.100q on this server.", req.App),
		}
	}
	c.Log.Debug().Str("app", req.App).Str("flashver", req.FlashVer).Msg("connected")
	source := c.Source
	source.Via = req.Via()
	s := &session{client: c, nc: nc, app: req.App, query: req.Query, policy: policy, source: source, proxied: proxied}
	if proxied != nil {
		return relaying{s}, nil
	}
	return s, nil
}

// LightConnect reports that Connect never waits: there is no backend to wait for.
func (c *Client) LightConnect() bool { return c.Server.router == nil || !c.Server.router.Routes() }

// proxied returns what knows the client's streams that are at backends, or nil. local says that
// there may be others.
func (c *Client) proxied(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest, local bool) (*proxy.Session, error) {
	if c.Server.router == nil {
		return nil, nil
	}
	return c.Server.router.Connect(nc, c.Log, c.Proxy, req, local)
}

// maxVia and maxHops bound what a client may claim to be relayed through: culvert names
// the last 8 gateways.
const (
	maxVia  = 1024
	maxHops = 16
)

// checkVia refuses streams that come back, and chains that have no end.
func (s *Server) checkVia(via string) error {
	if via == "" {
		return nil
	}
	hops := strings.Split(via, ",")
	switch {
	case slices.Contains(hops, s.ID):
		return errors.New("a relay loop: the stream is relayed from this gateway back to itself")
	case len(hops) > maxHops, len(via) > maxVia:
		return fmt.Errorf("the stream is relayed through more than %d gateways", maxHops)
	}
	return nil
}

// session is a client's connection to an application.
type session struct {
	client  *Client
	nc      *rtmpcore.NetConn
	app     string
	query   string  // of app and tcUrl
	policy  *Policy // nil: every stream is at a backend
	source  live.Source
	proxied *proxy.Session // nil: every stream is here
}

// Close ends what the connection has at backends beside its streams.
func (s *session) Close() {
	if s.proxied != nil {
		s.proxied.Close()
	}
}

// relaying is a session of which streams may be at backends. It implements
// [rtmpcore.Relayer].
type relaying struct{ *session }

func (s relaying) Opened() { s.proxied.Opened() }

func (s relaying) Relay(m *chunk.Message, cmd message.Envelope) (taken bool) {
	return s.proxied.Relay(m, cmd)
}

// notHere refuses a stream of an application that only backends serve, and not this one.
func (s *session) notHere(what, code string) error {
	return s.denied(what, code, fmt.Errorf("application %.100q has no such stream", s.app), true)
}

// SWFs makes [rtmpcore] play only to clients that come from one of these files.
func (s *session) SWFs() []rtmpcore.SWF {
	if s.policy == nil {
		return nil
	}
	return s.policy.SWF
}

func (s *session) log(ns *rtmpcore.NetStream, stream string) zerolog.Logger {
	return s.client.Log.With().Str("app", s.app).Str("stream", stream).Uint32("msid", ns.ID()).Logger()
}

// denied counts and logs a refusal and turns it into a status. The stream's name
// is not logged: it may be a mistyped key.
func (s *session) denied(what, code string, err error, hangUp bool) error {
	s.client.Server.refused.Add(1)
	s.client.Log.Info().Str("app", s.app).Str("reason", err.Error()).Msg(what + " refused")
	return &rtmpcore.StatusError{Code: code, Description: err.Error(), Close: hangUp}
}

// Publish implements [rtmpcore.Session].
func (s *session) Publish(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	if p, ok, err := s.publishAway(ns, req); ok || err != nil {
		return p, err
	}
	if s.policy == nil {
		return nil, s.notHere("publish", message.StatusPublishDenied)
	}
	name, err := s.policy.Publish.Decide(auth.PublishRequest{
		App:      s.app,
		Name:     req.Name,
		Query:    req.Query + "&" + s.query,
		Loopback: s.client.Loopback,
	})
	if err != nil {
		return nil, s.denied("publish", message.StatusPublishDenied, err, true)
	}
	p := &publisher{ns: ns}
	publication, err := s.client.Server.hub.Publish(live.Key{App: s.app, Name: name}, s.policy.Live, live.Offer{
		Publisher: p,
		Source:    s.source,
		Takeover:  s.policy.Takeover,
	})
	if errors.Is(err, live.ErrBusy) {
		return nil, s.denied("publish", message.StatusPublishBadName, fmt.Errorf("stream %q has a publisher already", name), true)
	}
	if err != nil {
		return nil, err
	}
	p.Publication, p.log = publication, s.log(ns, name)
	p.log.Info().Msg("publishing")
	return p, nil
}

// Play implements [rtmpcore.Session].
func (s *session) Play(ns *rtmpcore.NetStream, req rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	if err := s.mayPlay(); err != nil {
		return nil, s.denied("play", message.StatusPlayFailed, err, false)
	}
	if s.proxied != nil {
		if p, ok, err := s.proxied.Play(ns, req); ok {
			return p, err
		}
	}
	if s.policy == nil {
		return nil, s.notHere("play", message.StatusPlayStreamNotFound)
	}
	p := &player{ns: ns, log: s.log(ns, req.Name)}
	subscription, err := s.client.Server.hub.Subscribe(live.Key{App: s.app, Name: req.Name}, s.policy.Live, live.Request{
		Player:   p,
		Source:   s.source,
		Writer:   ns.Writer(),
		StreamID: ns.ID(),
		Behind:   p.behind,
		Wait:     s.policy.Wait || s.policy.Origin != nil,
	})
	if errors.Is(err, live.ErrNotFound) {
		return nil, s.denied("play", message.StatusPlayStreamNotFound, fmt.Errorf("nobody publishes stream %.100q", req.Name), false)
	}
	if err == nil && s.policy.Origin != nil {
		if err := s.policy.Origin.Await(s.nc.Context(), live.Key{App: s.app, Name: req.Name}, s.policy.Wait); err != nil {
			subscription.Close()
			return nil, s.denied("play", message.StatusPlayStreamNotFound, err, false)
		}
	}
	if err != nil {
		return nil, err
	}
	p.Subscription = subscription
	p.log.Info().Msg("playing")
	return p, nil
}

// mayPlay decides on players here also for streams at backends.
func (s *session) mayPlay() error {
	if s.policy == nil {
		return nil
	}
	return s.policy.Play.Decide(s.app, s.client.Loopback)
}

// publishAway publishes a stream at a backend, if a route says so. Keys are looked at
// here when there are some; who may publish without is up to the backend.
func (s *session) publishAway(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (p rtmpcore.Publication, ok bool, err error) {
	if s.proxied == nil {
		return nil, false, nil
	}
	if s.policy != nil && len(s.policy.Publish.Keys) > 0 {
		name, err := s.policy.Publish.Decide(auth.PublishRequest{
			App: s.app, Name: req.Name, Query: req.Query + "&" + s.query, Loopback: s.client.Loopback,
		})
		if err != nil {
			return nil, true, s.denied("publish", message.StatusPublishDenied, err, true)
		}
		req.Name = name
	}
	return s.proxied.Publish(ns, req)
}
