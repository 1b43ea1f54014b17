package configs

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Address is a stream's address, rtmp[t|s|ts]://[user:password@]host[:port]/app/name[?query], which often holds a key. It shows as *** like any
// [Secret]. ${NAME} may stand anywhere in it for an environment variable, file:PATH in place of all of it.
type Address struct{ Secret }

// NewAddress wraps a text.
func NewAddress(text string) Address {
	if text == "" {
		return Address{}
	}
	return Address{NewSecret(text)}
}

// UnmarshalText takes the text as it is. What stands elsewhere is resolved by [Load] only.
func (a *Address) UnmarshalText(text []byte) error {
	*a = NewAddress(string(text))
	return nil
}

// MarshalYAML hides the text, unless there is none.
func (a Address) MarshalYAML() (any, error) {
	if a.Reveal() == "" {
		return "", nil
	}
	return masked, nil
}

var variableInside = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// resolve replaces ${NAME} and file:PATH by what they stand for. Errors name the reference, never the content.
func (a *Address) resolve(lookup func(string) (string, bool)) error {
	text := a.Reveal()
	if strings.HasPrefix(text, "file:") {
		return a.Secret.resolve(lookup)
	}
	var errs []error
	text = variableInside.ReplaceAllStringFunc(text, func(ref string) string {
		name := ref[2 : len(ref)-1]
		v, ok := lookup(name)
		if !ok || v == "" {
			errs = append(errs, fmt.Errorf("environment variable %s is not set", name))
		}
		return v
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	*a = NewAddress(text)
	return nil
}

// Push is a server that the streams of an application are sent on to. As text it is the address alone.
type Push struct {
	To     Address  `yaml:"to"`     // {name} and {app} stand for those of the stream
	Name   string   `yaml:"name"`   // in logs and metrics; "": scheme, host, port and app of To
	Linger Duration `yaml:"linger"` // how long the target is kept when the publisher has left
	CA     string   `yaml:"ca"`     // PEM file of the authority that the target's certificate must come from; "": the system's
}

const (
	defaultLinger = Duration(15 * time.Second)
	defaultIdle   = Duration(10 * time.Second)
	defaultLost   = Duration(time.Minute)
	defaultPulls  = 100
)

// DefaultPush returns what an entry has where it says nothing.
func DefaultPush() Push { return Push{Linger: defaultLinger} }

// UnmarshalText takes the text as the address.
func (p *Push) UnmarshalText(text []byte) error {
	*p = DefaultPush()
	p.To = NewAddress(string(text))
	return nil
}

func (p *Push) resolve(lookup func(string) (string, bool)) error { return p.To.resolve(lookup) }

// Pull is a server that streams are fetched from when somebody wants to play them and nobody publishes them here. As text it is the address
// alone.
type Pull struct {
	From    Address  `yaml:"from"`    // with {name}, which stands for the stream's; empty: off
	Idle    Duration `yaml:"idle"`    // how long a stream is kept when its last player has left
	Lost    Duration `yaml:"lost"`    // how long players wait for an origin that was lost
	Streams int      `yaml:"streams"` // most streams fetched at a time
	CA      string   `yaml:"ca"`      // PEM file of the authority that the origin's certificate must come from; "": the system's
}

// DefaultPull returns the settings of an application that fetches nothing.
func DefaultPull() Pull {
	return Pull{Idle: defaultIdle, Lost: defaultLost, Streams: defaultPulls}
}

// UnmarshalText takes the text as the address.
func (p *Pull) UnmarshalText(text []byte) error {
	*p = DefaultPull()
	p.From = NewAddress(string(text))
	return nil
}

func (p *Pull) resolve(lookup func(string) (string, bool)) error { return p.From.resolve(lookup) }

// Bounds of relay settings.
const (
	maxTargets = 64
	maxLinger  = Duration(time.Hour)
)

// relay checks push and pull of an application. What it says names places, never content.
func (v *checker) relay(key string, app App) {
	if len(app.Push) > maxTargets {
		v.add(key+".push", "has %d targets, use up to %d", len(app.Push), maxTargets)
	}
	names := map[string]int{}
	for i, p := range app.Push {
		at := fmt.Sprintf("%s.push[%d]", key, i)
		v.address(at+".to", p.To)
		between(v, at+".linger", p.Linger, 0, maxLinger)
		v.authorities(at+".ca", p.CA)
		if p.Name == "" {
			continue
		}
		if !validKeyName(p.Name) {
			v.add(at+".name", "is not a name: use 1 to %d letters, digits, dots, hyphens and underscores", maxKeyName)
		}
		if j, twice := names[p.Name]; twice {
			v.add(at+".name", "is the name of push[%d] already: choose another", j)
		}
		names[p.Name] = i
	}
	p, at := app.Pull, key+".pull"
	between(v, at+".idle", p.Idle, 0, maxLinger)
	between(v, at+".lost", p.Lost, 0, maxLinger)
	between(v, at+".streams", p.Streams, 1, maxCount)
	v.authorities(at+".ca", p.CA)
	if from := p.From.Reveal(); from != "" && v.address(at+".from", p.From) && !strings.Contains(from, "{name}") {
		v.add(at+".from", "lacks {name}, which stands for the name of the stream that is wanted: rtmp://HOST/APP/{name}")
	}
}

// address checks the address of a stream on another server.
func (v *checker) address(key string, a Address) (ok bool) {
	const form = "write rtmp://HOST/APP/NAME"
	text := a.Reveal()
	u, err := url.Parse(text)
	_, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch {
	case text == "":
		v.add(key, "is empty: %s", form)
	case strings.ContainsAny(host, "{}"):
		v.add(key, "has a placeholder in the host: only app, name and query can have one")
	case err != nil, strings.ContainsAny(text, " \t\r\n"):
		v.add(key, "is not an address, %s", form)
	case u.Scheme != "rtmp" && u.Scheme != "rtmps" && u.Scheme != "rtmpt" && u.Scheme != "rtmpts":
		v.add(key, "begins with none of rtmp://, rtmps://, rtmpt://, rtmpts://: %s", form)
	case u.Hostname() == "":
		v.add(key, "names no host: %s", form)
	case strings.LastIndexByte(strings.Trim(u.Path, "/"), '/') <= 0:
		v.add(key, "lacks the app or the stream name: %s", form)
	case u.User != nil && (u.User.Username() == "" || !hasPassword(u.User)):
		v.add(key, "has a user without a password, or the other way round: write user:password@HOST")
	default:
		return v.placeholders(key, u)
	}
	return false
}

func hasPassword(u *url.Userinfo) bool {
	password, _ := u.Password()
	return password != ""
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// placeholders checks that nothing but {name} and {app} stands in braces.
func (v *checker) placeholders(key string, u *url.URL) bool {
	rest := placeholder.ReplaceAllStringFunc(u.Path+"?"+u.RawQuery, func(s string) string {
		if s == "{name}" || s == "{app}" {
			return ""
		}
		return s
	})
	if strings.ContainsAny(rest, "{}") {
		v.add(key, "has braces that are neither {name} nor {app}")
		return false
	}
	return true
}
