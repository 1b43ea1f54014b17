package client

import (
	"context"
	"crypto/md5" //nolint:gosec // what the scheme asks for
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"culvert/rtmpcore"
)

// ErrLogin is what a server's refusal of user and password wraps.
var ErrLogin = errors.New("user or password is wrong")

// authmod is a way to prove user and password, in three connections, which ffmpeg and librtmp
// know, too. Values are not URL-escaped.
//
//	connect                       → refused: authmod=M
//	connect ?authmod=M&user=U     → refused: ?reason=needauth, what the answer depends on
//	connect ?authmod=M&user=U&…   → accepted
type authmod struct {
	name   string
	answer func(t Target, fields map[string]string, challenge string) (query string) // behind the user's name
}

var authmods = []authmod{{"adobe", adobeAnswer}, {"llnw", llnwAnswer}}

// authenticate goes on after a refusal of the first connect.
func authenticate(ctx context.Context, t Target, opts Options, first error) (*rtmpcore.Client, error) {
	text, ok := refusal(first)
	i := slices.IndexFunc(authmods, func(m authmod) bool { return strings.Contains(text, "authmod="+m.name) })
	if !ok || i < 0 {
		return nil, first
	}
	query := "?authmod=" + authmods[i].name + "&user=" + t.User
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
	c, err = connect(ctx, t, opts, query+authmods[i].answer(t, fields, clientChallenge()))
	if text, ok = refusal(err); ok && strings.Contains(text, "?reason=") {
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	return c, err
}

// adobeAnswer answers as Adobe's server asks.
func adobeAnswer(t Target, fields map[string]string, challenge string) string {
	opaque, end := fields["challenge"], ""
	if o, ok := fields["opaque"]; ok {
		opaque, end = o, "&opaque="+o
	}
	response := digest(digest(t.User+fields["salt"]+t.Password) + opaque + challenge)
	return "&challenge=" + challenge + "&response=" + response + end
}

// llnwAnswer answers as Limelight's servers ask, which is HTTP's digest authentication with
// fixed values for what has no sense here.
func llnwAnswer(t Target, fields map[string]string, challenge string) string {
	const realm, count, quality = "live", "00000001", "auth"
	path := t.App
	if !strings.Contains(path, "/") {
		path += "/_definst_"
	}
	response := hexDigest(strings.Join([]string{
		hexDigest(t.User + ":" + realm + ":" + t.Password), fields["nonce"], count, challenge, quality, hexDigest("publish:/" + path),
	}, ":"))
	return "&nonce=" + fields["nonce"] + "&cnonce=" + challenge + "&nc=" + count + "&response=" + response
}

func hexDigest(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // what the scheme asks for
	return hex.EncodeToString(sum[:])
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
