package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Target is a stream's address, parsed:
//
//	rtmp[t|s|ts|e|te]://[user:password@]host[:port]/app[/...]/name[?query]
//
// The last path segment is the stream name, everything before it the app, as
// ffmpeg splits it.
type Target struct {
	Scheme string // rtmp, rtmps, rtmpt, rtmpts, rtmpe, rtmpte
	Host   string // without port
	Port   string
	App    string
	Name   string // with its query

	// User and Password are for servers that ask for them (authmod adobe or llnw).
	User, Password string
}

var defaultPorts = map[string]string{"rtmp": "1935", "rtmps": "443", "rtmpt": "80", "rtmpts": "443", "rtmpe": "1935", "rtmpte": "80"}

// ParseTarget parses a stream's address. Its errors say what the address lacks
// and never repeat it, because it may hold a key.
func ParseTarget(raw string) (Target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Target{}, errors.New("not a URL; write rtmp://HOST/APP/NAME")
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok {
		return Target{}, fmt.Errorf("scheme %q is not one of rtmp, rtmps, rtmpt, rtmpts, rtmpe, rtmpte; write rtmp://HOST/APP/NAME", u.Scheme)
	}
	if u.Hostname() == "" {
		return Target{}, errors.New("the host is missing; write rtmp://HOST/APP/NAME")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	path := strings.Trim(u.Path, "/")
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return Target{}, errors.New("the app or the stream name is missing; write rtmp://HOST/APP/NAME")
	}
	name := path[i+1:]
	if u.RawQuery != "" {
		name += "?" + u.RawQuery
	}
	password, _ := u.User.Password() // none without a user
	return Target{
		Scheme: u.Scheme, Host: u.Hostname(), Port: port, App: path[:i], Name: name,
		User: u.User.Username(), Password: password,
	}, nil
}

// carrier returns the scheme of what RTMPE and RTMPTE go over, and every other as it is.
func (t Target) carrier() string {
	switch t.Scheme {
	case "rtmpe":
		return "rtmp"
	case "rtmpte":
		return "rtmpt"
	}
	return t.Scheme
}

// encrypted reports whether the transport is RTMPE or RTMPTE.
func (t Target) encrypted() bool { return t.Scheme != t.carrier() }

// Address returns host and port.
func (t Target) Address() string { return net.JoinHostPort(t.Host, t.Port) }

// Tunnelled reports whether the transport is RTMP in HTTP requests.
func (t Target) Tunnelled() bool { return strings.HasPrefix(t.Scheme, "rtmpt") }

// TCURL returns what the connect command names the application by.
func (t Target) TCURL() string {
	return fmt.Sprintf("%s://%s/%s", t.Scheme, t.Address(), t.App)
}

// String returns the address without the stream name, which may be a key.
func (t Target) String() string { return t.TCURL() }
