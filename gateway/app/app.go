package app

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"culvert/gateway/auth"
	"culvert/gateway/live"
	"culvert/rtmpcore"
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
}

// Server is the set of applications. Its methods may be called by any goroutine.
type Server struct {
	hub      *live.Hub
	policies map[string]*Policy
	refused  atomic.Uint64
}

// NewServer returns a server of the applications in policies, by name.
func NewServer(hub *live.Hub, policies map[string]*Policy) *Server {
	return &Server{hub: hub, policies: policies}
}

// Policy returns an application's policy, or nil when it is not served.
func (s *Server) Policy(app string) *Policy {
	if p := s.policies[app]; p != nil {
		return p
	}
	return s.policies[AnyApp]
}

// Refused returns how many publish and play commands were refused by the rules.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Client is one connection's way to the applications.
type Client struct {
	Server   *Server
	Log      zerolog.Logger // with the connection's fields
	Source   live.Source
	Loopback bool // the client is on this machine, not behind a proxy
}

var _ rtmpcore.Handler = (*Client)(nil)

// Connect implements [rtmpcore.Handler].
func (c *Client) Connect(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	policy := c.Server.Policy(req.App)
	if policy == nil {
		return nil, &rtmpcore.StatusError{
			Code:        message.StatusConnectInvalidApp,
			Description: fmt.Sprintf("There is no application %.100q on this server.", req.App),
		}
	}
	c.Log.Debug().Str("app", req.App).Str("flashver", req.FlashVer).Msg("connected")
	return &session{client: c, nc: nc, app: req.App, query: req.Query, policy: policy}, nil
}

// session is a client's connection to an application.
type session struct {
	client *Client
	nc     *rtmpcore.NetConn
	app    string
	query  string // of app and tcUrl
	policy *Policy
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
		Source:    s.client.Source,
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
	if err := s.policy.Play.Decide(s.app, s.client.Loopback); err != nil {
		return nil, s.denied("play", message.StatusPlayFailed, err, false)
	}
	p := &player{ns: ns, log: s.log(ns, req.Name)}
	subscription, err := s.client.Server.hub.Subscribe(live.Key{App: s.app, Name: req.Name}, s.policy.Live, live.Request{
		Player:   p,
		Source:   s.client.Source,
		Writer:   ns.Writer(),
		StreamID: ns.ID(),
		Behind:   p.behind,
		Wait:     s.policy.Wait,
	})
	if errors.Is(err, live.ErrNotFound) {
		return nil, s.denied("play", message.StatusPlayStreamNotFound, fmt.Errorf("nobody publishes stream %.100q", req.Name), false)
	}
	if err != nil {
		return nil, err
	}
	p.Subscription = subscription
	p.log.Info().Msg("playing")
	return p, nil
}
