package configs

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Route leads clients to servers behind the gateway. Empty conditions match everything.
type Route struct {
	Mode     RouteMode `yaml:"mode"`
	Listener string    `yaml:"listener"`
	Host     string    `yaml:"host"`
	App      string    `yaml:"app"`
	Instance string    `yaml:"instance"`
	Stream   string    `yaml:"stream"`
	Query    string    `yaml:"query"`
	Clients  []Prefix  `yaml:"clients"`
	For      RouteUse  `yaml:"for"`
	Proxy    Proxy     `yaml:"proxy"`
}

// RouteMode is how much of RTMP a route understands.
type RouteMode string

// The modes of a route.
const (
	RouteRouted      RouteMode = "routed"      // messages: every condition may be used
	RouteTransparent RouteMode = "transparent" // bytes: listener, host and clients decide
)

// RouteUse is what clients do that a route is for.
type RouteUse string

// What a route is for.
const (
	ForAll     RouteUse = "all"
	ForPublish RouteUse = "publish"
	ForPlay    RouteUse = "play"
)

// Proxy says which servers behind the gateway serve a stream, and how they are told.
type Proxy struct {
	To             []Backend     `yaml:"to"` // none: the gateway serves it
	Balance        Balance       `yaml:"balance"`
	App            string        `yaml:"app"`
	Stream         string        `yaml:"stream"`
	Query          string        `yaml:"query"`
	TCURL          string        `yaml:"tc_url"`
	Retries        int           `yaml:"retries"`
	ConnectTimeout Duration      `yaml:"connect_timeout"`
	Reconnect      Duration      `yaml:"reconnect"`
	IdleTimeout    Duration      `yaml:"idle_timeout"`
	MaxTime        Duration      `yaml:"max_time"`
	ProxyProtocol  ProxyProtocol `yaml:"proxy_protocol"`
	ClientProperty string        `yaml:"client_property"`
	Ready          int           `yaml:"ready"`
	SlowStart      Duration      `yaml:"slow_start"`
	Check          ProxyCheck    `yaml:"check"`
	Eject          ProxyEject    `yaml:"eject"`
	TLS            ProxyTLS      `yaml:"tls"`
}

// Balance is how one of several servers is chosen.
type Balance string

// The ways to choose.
const (
	BalanceRoundRobin Balance = "round_robin"
	BalanceLeast      Balance = "least"
	BalanceHash       Balance = "hash"
	BalanceSticky     Balance = "sticky"
)

// ProxyProtocol is the version of the PROXY protocol that a server behind the gateway expects.
type ProxyProtocol string

// The versions of the PROXY protocol.
const (
	ProxyProtocolOff ProxyProtocol = "off"
	ProxyProtocolV1  ProxyProtocol = "v1"
	ProxyProtocolV2  ProxyProtocol = "v2"
)

// ProxyCheck says how servers behind the gateway are checked.
type ProxyCheck struct {
	Type     CheckType `yaml:"type"`
	Interval Duration  `yaml:"interval"`
	Timeout  Duration  `yaml:"timeout"`
	Rise     int       `yaml:"rise"`
	Fall     int       `yaml:"fall"`
	App      string    `yaml:"app"`
	Stream   string    `yaml:"stream"`
}

// CheckType is how far a check goes.
type CheckType string

// The kinds of checks.
const (
	CheckOff       CheckType = "off"
	CheckTCP       CheckType = "tcp"
	CheckHandshake CheckType = "handshake"
	CheckConnect   CheckType = "connect"
	CheckPlay      CheckType = "play"
)

// ProxyEject says when a server behind the gateway is left alone.
type ProxyEject struct {
	Failures int      `yaml:"failures"` // 0: never
	Time     Duration `yaml:"time"`
}

// ProxyTLS says how the certificate of an rtmps or rtmpts server is verified.
type ProxyTLS struct {
	CA     string `yaml:"ca"`   // path, PEM; "": the system's
	Name   string `yaml:"name"` // expected in the certificate; "": the host of the address
	Verify bool   `yaml:"verify"`
}

// Backend is the address of a server behind the gateway. As text it is the address alone.
type Backend struct {
	URL    string `yaml:"url"`
	Weight int    `yaml:"weight"`
	Drain  bool   `yaml:"drain"` // it gets no new sessions
}

// UnmarshalText reads an address.
func (b *Backend) UnmarshalText(text []byte) error {
	*b = DefaultBackend()
	b.URL = strings.TrimSpace(string(text))
	_, err := b.Parse()
	return err
}

// BackendAddress is the address of a [Backend], taken apart.
type BackendAddress struct {
	Scheme, Host, Port string
	App                string // may have places, such as {instance}; "": the client's
}

// backendPorts are the ports of addresses that name none.
var backendPorts = map[string]string{"rtmp": "1935", "rtmps": "443", "rtmpt": "80", "rtmpts": "443"}

// Parse takes the address apart. Errors say what is wrong with it.
func (b Backend) Parse() (BackendAddress, error) {
	u, err := url.Parse(b.URL)
	if err != nil || b.URL == "" {
		return BackendAddress{}, errors.New("is no address: write rtmp://HOST, or rtmp://HOST:PORT/APP")
	}
	port, ok := backendPorts[u.Scheme]
	switch {
	case !ok:
		return BackendAddress{}, fmt.Errorf("scheme %q is not one of rtmp, rtmps, rtmpt, rtmpts", u.Scheme)
	case u.User != nil:
		return BackendAddress{}, errors.New("has a user in it, which RTMP cannot carry")
	case u.Hostname() == "":
		return BackendAddress{}, errors.New("has no host: write rtmp://HOST, or rtmp://HOST:PORT/APP")
	case u.RawQuery != "":
		return BackendAddress{}, errors.New("has a query: set it with the key query")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if _, _, err := splitAddress(net.JoinHostPort(u.Hostname(), port)); err != nil {
		return BackendAddress{}, err
	}
	return BackendAddress{Scheme: u.Scheme, Host: u.Hostname(), Port: port, App: strings.Trim(u.Path, "/")}, nil
}

// DefaultBackend returns the settings that an entry of Proxy.To has where it says nothing.
func DefaultBackend() Backend { return Backend{Weight: 1} }

// DefaultRoute returns the settings that an entry of Config.Routes has where it says nothing. The caller owns all of it.
func DefaultRoute() Route {
	return Route{Mode: RouteRouted, Clients: []Prefix{}, For: ForAll, Proxy: DefaultProxy()}
}

// DefaultProxy returns the settings that a section proxy has where it says nothing. The caller owns all of it.
func DefaultProxy() Proxy {
	return Proxy{
		To:             []Backend{},
		Balance:        BalanceRoundRobin,
		Retries:        2,
		ConnectTimeout: Duration(5 * time.Second),
		ProxyProtocol:  ProxyProtocolOff,
		Check: ProxyCheck{
			Type:     CheckOff,
			Interval: Duration(5 * time.Second),
			Timeout:  Duration(2 * time.Second),
			Rise:     2,
			Fall:     3,
			App:      "live",
			Stream:   "probe",
		},
		Eject: ProxyEject{Failures: 3, Time: Duration(10 * time.Second)},
		TLS:   ProxyTLS{Verify: true},
	}
}
