//go:build interop

package interop_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"net"
	"strings"
	"testing"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
)

// adobe is a server that asks for user and password as Adobe's did, which nobody can install any more. It takes every stream and keeps nothing.
type adobe struct{ user, password string }

const (
	adobeSalt      = "c2FsdA=="
	adobeChallenge = "Y2hhbGxlbmdl"
	adobeOpaque    = "b3BhcXVl"
)

func serveAdobe(t *testing.T, user, password string) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr = answer(t, func(c net.Conn) { _ = rtmpcore.NewConn(c, rtmpcore.Config{}).Serve(ctx, adobe{user, password}) })
	t.Cleanup(cancel) // before answer waits for its connections
	return addr
}

func (a adobe) Connect(_ *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	refuse := func(text string) (rtmpcore.Session, error) {
		return nil, &rtmpcore.StatusError{Code: "NetConnection.Connect.Rejected", Description: text}
	}
	const accessManager = "[ AccessManager.Reject ] : [ authmod=adobe ] : "
	_, query, _ := strings.Cut(req.TCURL, "?")
	given := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		given[key] = value
	}
	hash := func(s string) string {
		sum := md5.Sum([]byte(s))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	switch {
	case given["authmod"] != "adobe":
		return refuse("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ")
	case given["user"] != a.user:
		return refuse(accessManager + "?reason=nosuchuser&opaque=" + adobeOpaque)
	case given["response"] == "":
		return refuse(accessManager + "?reason=needauth&user=" + a.user + "&salt=" + adobeSalt + "&challenge=" + adobeChallenge + "&opaque=" + adobeOpaque)
	case given["response"] != hash(hash(a.user+adobeSalt+a.password)+adobeOpaque+given["challenge"]) || given["opaque"] != adobeOpaque:
		return refuse(accessManager + "?reason=authfailed&opaque=" + adobeOpaque)
	}
	return a, nil
}

func (a adobe) Publish(*rtmpcore.NetStream, rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	return a, nil
}

func (adobe) Play(*rtmpcore.NetStream, rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	return nil, &rtmpcore.StatusError{Code: "NetStream.Play.StreamNotFound"}
}

func (adobe) WriteMessage(m *chunk.Message) error {
	m.Release()
	return nil
}

func (adobe) Close() {}
