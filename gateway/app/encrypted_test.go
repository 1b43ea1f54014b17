package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// An encrypted publisher and an encrypted player, beside a plain one that shares the
// publisher's messages: each reads what was sent.
func TestCase32_EncryptedMedia(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		open := func(loopback, encrypt bool) *peer {
			p := s.dialAs(loopback, nil, handshake.ClientConfig{Encrypt: encrypt}).connect("live")
			p.expect(connectAnswers)
			p.command(0, "createStream")
			p.take()
			return p
		}
		publisher := open(true, true)
		publisher.command(1, "publish", "a", "live")
		publisher.take()
		secure, plain := open(false, true), open(false, false)
		for _, p := range []*peer{secure, plain} {
			p.command(1, "play", "a")
			p.take()
		}
		publisher.headers()
		publisher.key(0)
		publisher.sound(10)
		publisher.inter(40)
		for _, p := range []*peer{secure, plain} {
			p.expectMedia("H0 h0 k0 a10 p40")
		}
	})
}

var (
	swfA = rtmpcore.SWF{Hash: [32]byte{1, 2, 3}, Size: 1000}
	swfB = rtmpcore.SWF{Hash: [32]byte{4, 5, 6}, Size: 2000}
)

// swfReply is the tests' own reading of the answer.
func (p *peer) swfReply(f rtmpcore.SWF) []byte {
	b := binary.BigEndian.AppendUint32([]byte{1, 1}, f.Size)
	b = binary.BigEndian.AppendUint32(b, f.Size)
	h := hmac.New(sha256.New, p.serverTail[:])
	h.Write(f.Hash[:])
	return h.Sum(b)
}

func (p *peer) verify(data []byte) {
	p.t.Helper()
	p.send(0, message.UserControl{Event: message.EventSWFVerifyReply, Data: data})
}

// swfServer admits two players.
func swfServer(t *testing.T) *server {
	t.Helper()
	policy := public()
	policy.SWF = []rtmpcore.SWF{swfA, swfB}
	return newServer(t, policy)
}

const swfAnswers = "WindowAckSize SetPeerBandwidth StreamBegin(0) SWFVerifyRequest(0) _result:NetConnection.Connect.Success"

// swfPlayer connects, is asked, and creates a stream.
func swfPlayer(t *testing.T, cfg handshake.ClientConfig) *peer {
	t.Helper()
	p := swfServer(t).dialAs(true, nil, cfg).connect("live")
	p.expect(swfAnswers)
	p.command(0, "createStream")
	p.expect("_result:1")
	return p
}

// A player that is one of those allowed plays, over every handshake, whether it answers
// before it wants to or behind; its further answers change nothing.
func TestSWFVerified(t *testing.T) {
	for name, cfg := range map[string]handshake.ClientConfig{"plain": {}, "digest": {Digest: true}, "encrypted": {Encrypt: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := swfPlayer(t, cfg)
				p.verify(p.swfReply(swfB))
				p.command(1, "play", "a")
				p.expect(playAnswers)
				p.verify([]byte("again"))
				p.command(0, "createStream")
				p.expect("_result:2")
			})
			bubble(t, func(t *testing.T) {
				p := swfPlayer(t, cfg)
				p.command(1, "play", "a")
				p.command(0, "createStream")
				time.Sleep(5*time.Second - 1)
				p.expect("")
				p.verify(p.swfReply(swfA))
				p.expect(playAnswers + " _result:2")
				time.Sleep(time.Minute) // the time for the answer was not that of the connection
				p.command(0, "createStream")
				p.expect("_result:3")
			})
		})
	}
}

// Who publishes has no SWF, and needs none.
func TestSWFPublisher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := swfServer(t)
		p := s.dial(true, nil).connect("live")
		p.command(0, "createStream")
		p.command(1, "publish", "a", "live")
		p.take()
		time.Sleep(time.Minute)
		player := s.dial(false, nil).connect("live")
		player.verify(player.swfReply(swfA))
		player.command(0, "createStream")
		player.command(1, "play", "a")
		player.take()
		p.headers()
		p.key(0)
		player.expectMedia("H0 h0 k0")
		p.command(1, "play", "a") // it has a minute behind it and no answer
		requireRefused(t, p, "onStatus:NetStream.Play.Failed", "SWF verification failed: the player did not answer.")
	})
}

// Everybody else is told that it failed, and closed; on the stream if it wants to play.
func TestSWFRefused(t *testing.T) {
	for name, reply := range map[string]func(p *peer) []byte{
		"another player": func(p *peer) []byte { return p.swfReply(rtmpcore.SWF{Hash: [32]byte{9}, Size: swfA.Size}) },
		"another size":   func(p *peer) []byte { return p.swfReply(rtmpcore.SWF{Hash: swfA.Hash, Size: 1001}) },
		"of another connection": func(p *peer) []byte {
			p.serverTail[0] ^= 1
			return p.swfReply(swfA)
		},
		"cut short": func(p *peer) []byte { return p.swfReply(swfA)[:41] },
		"too long":  func(p *peer) []byte { return append(p.swfReply(swfA), 0) },
		"empty":     func(*peer) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			const description = "SWF verification failed: the player is not one that this application allows."
			bubble(t, func(t *testing.T) {
				p := swfPlayer(t, handshake.ClientConfig{})
				p.verify(reply(p))
				requireRefused(t, p, "onStatus:NetConnection.Connect.Rejected", description)
			})
			bubble(t, func(t *testing.T) {
				p := swfPlayer(t, handshake.ClientConfig{})
				p.command(1, "play", "a")
				p.verify(reply(p))
				requireRefused(t, p, "onStatus:NetStream.Play.Failed", description)
			})
		})
	}
}

func requireRefused(t *testing.T, p *peer, want, description string) {
	t.Helper()
	got := p.take()
	if brief(got) != want {
		t.Errorf("the server sent %s, want %s", brief(got), want)
	} else if s := status(t, got); s.Level != "error" || s.Description != description {
		t.Errorf("status %+v", s)
	}
	time.Sleep(2 * time.Second) // the server leaves time to read that
	if !p.isClosed() || !errors.Is(p.err, rtmpcore.ErrSWF) {
		t.Errorf("closed %v: %v", p.isClosed(), p.err)
	}
}

// A player that does not know the question is refused when its time is over, which
// began when it connected.
func TestSWFUnanswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := swfPlayer(t, handshake.ClientConfig{})
		time.Sleep(2 * time.Second)
		p.command(1, "play", "a")
		time.Sleep(3*time.Second - 1)
		p.expect("")
		time.Sleep(time.Nanosecond)
		requireRefused(t, p, "onStatus:NetStream.Play.Failed", "SWF verification failed: the player did not answer.")
	})
}

// One whose time is over before it wants to play is refused at once.
func TestSWFLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := swfPlayer(t, handshake.ClientConfig{})
		time.Sleep(5 * time.Second)
		p.command(1, "play", "a")
		requireRefused(t, p, "onStatus:NetStream.Play.Failed", "SWF verification failed: the player did not answer.")
	})
}

// What waited behind a command that ends the connection is not obeyed.
func TestSWFHeldBehindTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := swfPlayer(t, handshake.ClientConfig{})
		p.command(1, "play", strings.Repeat("a", 4097))
		p.command(0, "createStream")
		p.verify(p.swfReply(swfA))
		p.expect("onStatus:NetStream.Play.StreamNotFound")
		if !p.isClosed() || !errors.Is(p.err, rtmpcore.ErrName) {
			t.Errorf("closed %v: %v", p.isClosed(), p.err)
		}
	})
}

// What may wait for the answer is limited.
func TestSWFHeldCommands(t *testing.T) {
	for n, ends := range map[int]bool{16: false, 17: true} {
		bubble(t, func(t *testing.T) {
			p := swfPlayer(t, handshake.ClientConfig{})
			p.command(1, "play", "a")
			for range n - 1 {
				p.command(0, "getStreamLength", "a")
			}
			p.expect("")
			if p.isClosed() != ends || ends && !errors.As(p.err, new(*rtmpcore.ProtocolError)) {
				t.Errorf("%d commands: closed %v: %v", n, p.isClosed(), p.err)
			}
		})
	}
}

// An answer to a question that was not asked means nothing.
func TestSWFUnasked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil).connect("live")
		p.expect(connectAnswers)
		p.verify(p.swfReply(swfA))
		p.command(0, "createStream")
		p.expect("_result:1")
	})
}
