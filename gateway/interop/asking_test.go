//go:build interop

package interop_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
)

// asking is a server that asks for user and password as Adobe's or Limelight's did, which nobody can install any more. It takes every stream, keeps nothing, and plays one frame.
type asking struct{ authmod, user, password string }

const (
	adobeSalt      = "c2FsdA=="
	adobeChallenge = "Y2hhbGxlbmdl"
	adobeOpaque    = "b3BhcXVl"
)

func serveAsking(t *testing.T, server asking) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr = answer(t, func(c net.Conn) { _ = rtmpcore.NewConn(c, rtmpcore.Config{}).Serve(ctx, server) })
	t.Cleanup(cancel) // before answer waits for its connections
	return addr
}

func (a asking) Connect(_ *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	refuse := func(text string) (rtmpcore.Session, error) {
		return nil, &rtmpcore.StatusError{Code: "NetConnection.Connect.Rejected", Description: text}
	}
	accessManager := "[ AccessManager.Reject ] : [ authmod=" + a.authmod + " ] : "
	_, query, _ := strings.Cut(req.TCURL, "?")
	given := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		given[key] = value
	}
	question, right := a.adobe(given)
	if a.authmod == "llnw" {
		question, right = a.llnw(req.App, given)
	}
	switch {
	case given["authmod"] != a.authmod:
		return refuse("[ AccessManager.Reject ] : [ code=403 need auth; authmod=" + a.authmod + " ] : ")
	case given["user"] != a.user:
		return refuse(accessManager + "?reason=nosuchuser&opaque=" + adobeOpaque)
	case given["response"] == "":
		return refuse(accessManager + "?reason=needauth&user=" + a.user + question)
	case !right:
		return refuse(accessManager + "?reason=authfailed&opaque=" + adobeOpaque)
	}
	return a, nil
}

// adobe says what the answer depends on, and whether the one that was given is right.
func (a asking) adobe(given map[string]string) (question string, right bool) {
	hash := func(s string) string {
		sum := md5.Sum([]byte(s))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	return "&salt=" + adobeSalt + "&challenge=" + adobeChallenge + "&opaque=" + adobeOpaque,
		given["response"] == hash(hash(a.user+adobeSalt+a.password)+adobeOpaque+given["challenge"]) && given["opaque"] == adobeOpaque
}

// llnw is adobe for Limelight.
func (a asking) llnw(app string, given map[string]string) (question string, right bool) {
	const nonce = "0f1e2d3c"
	hash := func(s ...string) string {
		sum := md5.Sum([]byte(strings.Join(s, ":")))
		return hex.EncodeToString(sum[:])
	}
	path := "/" + app
	if !strings.Contains(app, "/") {
		path += "/_definst_"
	}
	return "&nonce=" + nonce, given["nonce"] == nonce && given["nc"] == "00000001" &&
		given["response"] == hash(hash(a.user, "live", a.password), nonce, "00000001", given["cnonce"], "auth", hash("publish", path))
}

func (a asking) Publish(*rtmpcore.NetStream, rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	return a, nil
}

func (asking) Play(ns *rtmpcore.NetStream, _ rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	return asked{ns}, nil
}

func (asking) WriteMessage(m *chunk.Message) error {
	m.Release()
	return nil
}

func (asking) Close() {}

// asked is what an asking server plays: one key frame.
type asked struct{ ns *rtmpcore.NetStream }

func (a asked) Start() {
	_ = a.ns.Writer().Send(chunk.NewMessage(videoType, a.ns.ID(), 0, avcHeader), chunk.NewMessage(videoType, a.ns.ID(), 40, keyFrame("let in")))
}

func (asked) Pause(bool)        {}
func (asked) ReceiveAudio(bool) {}
func (asked) ReceiveVideo(bool) {}
func (asked) Close()            {}
