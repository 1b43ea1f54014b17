package client

import (
	"context"
	"crypto/md5" //nolint:gosec // what the scheme asks for
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"culvert/rtmpcore"
)

// ErrLogin is what a server's refusal of user and password wraps.
var ErrLogin = errors.New("user or password is wrong")

// Authentication as Adobe's server does it, in three connections:
//
//	connect                                  → refused: authmod=adobe
//	connect ?authmod=adobe&user=U            → refused: salt, challenge, opaque
//	connect ?…&challenge=C&response=R        → accepted
//
// It is answered as ffmpeg and librtmp do; values are not URL-escaped.
const adobeScheme = "authmod=adobe"

// authenticate goes on after a refusal of the first connect.
func authenticate(ctx context.Context, t Target, opts Options, first error) (*rtmpcore.Client, error) {
	text, ok := refusal(first)
	if !ok || !strings.Contains(text, adobeScheme) {
		return nil, first
	}
	query := "?" + adobeScheme + "&user=" + t.User
	c, err := connect(ctx, t, opts, query)
	if err == nil {
		return c, nil // a server that asks for the name only
	}
	text, ok = refusal(err)
	if !ok {
		return nil, err
	}
	_, challenge, found := strings.Cut(text, "?")
	fields := authFields(challenge)
	if !found || fields["reason"] != "needauth" {
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	c, err = connect(ctx, t, opts, query+adobeResponse(t, fields, clientChallenge()))
	if text, ok = refusal(err); ok && strings.Contains(text, "?reason=") {
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	return c, err
}

// adobeResponse is what follows the user's name in the last query.
func adobeResponse(t Target, fields map[string]string, challenge string) string {
	opaque, end := fields["challenge"], ""
	if o, ok := fields["opaque"]; ok {
		opaque, end = o, "&opaque="+o
	}
	response := digest(digest(t.User+fields["salt"]+t.Password) + opaque + challenge)
	return "&challenge=" + challenge + "&response=" + response + end
}

func digest(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // what the scheme asks for
	return base64.StdEncoding.EncodeToString(sum[:])
}

func clientChallenge() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// refusal returns what a server said that refused a connect.
func refusal(err error) (text string, ok bool) {
	var status *rtmpcore.StatusError
	if !errors.As(err, &status) {
		return "", false
	}
	return status.Description, true
}

// authFields reads key=value pairs joined by "&", in any order, whose values may
// contain "=".
func authFields(s string) map[string]string {
	fields := make(map[string]string)
	for pair := range strings.SplitSeq(s, "&") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return fields
}
