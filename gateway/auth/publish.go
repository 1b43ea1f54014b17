package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
)

// ErrDenied is what every refusal wraps. Its text is for the person at the
// client and gives no secret away.
var ErrDenied = errors.New("not allowed")

// Key is a publish key. It never prints its secret.
type Key struct {
	name   string
	digest [sha256.Size]byte
}

// NewKey returns a key. With a name, it is good for the stream of that name
// only, and may be given instead of the name: encoders with nothing but a "stream
// key" field then publish the stream without the key showing in its address.
func NewKey(name, secret string) Key {
	return Key{name: name, digest: sha256.Sum256([]byte(secret))}
}

// String returns the key's stream name.
func (k Key) String() string { return "key for " + k.name }

// is compares in a time that does not depend on the secret.
func (k Key) is(digest [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(k.digest[:], digest[:]) == 1
}

// PublishRules says who may publish in an application.
type PublishRules struct {
	Keys []Key // none: only clients on this machine
}

// PublishRequest is what a client wants to publish.
type PublishRequest struct {
	App      string
	Name     string // stream name, or a key
	Query    string // of stream name, app and tcUrl
	Loopback bool   // the client is on this machine
}

// Decide returns the name that the stream gets, or an error that wraps
// [ErrDenied].
func (r PublishRules) Decide(req PublishRequest) (name string, err error) {
	if len(r.Keys) == 0 {
		if req.Loopback {
			return req.Name, nil
		}
		return "", fmt.Errorf("%w: publishing to app %q from another machine needs a publish key, and none is configured (apps.%s.publish.keys)", ErrDenied, req.App, req.App)
	}
	if name, ok := r.byName(req.Name); ok {
		return name, nil
	}
	values, _ := url.ParseQuery(req.Query) // what can be read counts
	given := values["key"]
	if len(given) == 0 {
		return "", fmt.Errorf("%w: the publish key is missing: add ?key=KEY to the stream name", ErrDenied)
	}
	if !r.byKey(req.Name, given) {
		return "", fmt.Errorf("%w: the publish key is wrong", ErrDenied)
	}
	return req.Name, nil
}

// byName finds a named key that was given in place of the stream name.
func (r PublishRules) byName(given string) (name string, ok bool) {
	digest := sha256.Sum256([]byte(given))
	for _, k := range r.Keys {
		if k.is(digest) && k.name != "" {
			name, ok = k.name, true
		}
	}
	return name, ok
}

// maxGiven bounds the work that one request can ask for.
const maxGiven = 4

// byKey reports whether one of the keys given opens the stream.
func (r PublishRules) byKey(name string, given []string) (ok bool) {
	for _, g := range given[:min(len(given), maxGiven)] {
		digest := sha256.Sum256([]byte(g))
		for _, k := range r.Keys {
			if k.is(digest) && (k.name == "" || k.name == name) {
				ok = true
			}
		}
	}
	return ok
}
