package tunnel

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/rs/zerolog"
)

// Config is the configuration of a Server. A zero field means its default,
// except where the field says what zero does.
type Config struct {
	// Log receives debug and trace events; the zero Logger is silent.
	Log zerolog.Logger
	// Addr is what the Server's Addr method returns. It is for display only.
	Addr net.Addr

	// Sessions is the number of sessions at a time. Default 10000. Beyond it
	// open is answered 503 with an empty body.
	Sessions int
	// SessionsPerAddress is the number of sessions per client address (per /64
	// for IPv6). Default 1000. Beyond it open is answered 503.
	SessionsPerAddress int
	// OpenTimeout ends a session that was opened and never used. Default 15 s.
	OpenTimeout time.Duration
	// IdleTimeout ends a session without requests, and bounds the time that
	// the last bytes of a closed session wait for the client. Default 30 s.
	IdleTimeout time.Duration
	// StallTimeout ends a session whose received bytes are not read while the
	// next send waits for room. Default 10 s.
	StallTimeout time.Duration

	// MaxRequest is the largest request body in bytes, and the number of
	// received bytes that wait to be read per session. Default 8 MiB + 64 KiB.
	// A larger body is answered 413 and the connection closed.
	MaxRequest int
	// MaxAnswer is the largest answer body in bytes, poll byte included.
	// Default 64 KiB.
	MaxAnswer int
	// MaxUnread is the number of answer bytes kept for a connection whose
	// client does not read them; beyond it the connection is closed. Default
	// 1 MiB.
	MaxUnread int
	// Received is the number of bytes of sends that wait to be read, all sessions
	// together; beyond it a send is answered 503 and its connection closed.
	// Default 256 MiB.
	Received int
	// QueueBytes is the number of bytes a session queues towards its client.
	// It is small so that the writer's own queue, which knows what to drop,
	// rules. Default 128 KiB.
	QueueBytes int

	// Hold is how long an idle request waits for data. Default 1 s; negative:
	// not at all.
	Hold time.Duration
	// HoldSetup is Hold before media flows to the client. Default 400 ms;
	// negative: not at all.
	HoldSetup time.Duration
	// Coalesce is how long a held idle request waits for more after the first
	// byte. Default 0.
	Coalesce time.Duration

	// MaxHead is the largest request head in bytes, at most 16 KiB. Default
	// 8 KiB. A larger one is answered 400 and the connection closed.
	MaxHead int
	// HeadTimeout is the time a request head may take from its first byte.
	// Default 10 s.
	HeadTimeout time.Duration
	// BodyTimeout is the time a request body may go without progress. After it a
	// body has to bring 4 KiB a second on average. Default 30 s.
	BodyTimeout time.Duration
	// KeepAlive is the least time that a connection without requests is kept.
	// Default 90 s.
	KeepAlive time.Duration

	// ParkedRequests is how many requests of a session may wait for an earlier
	// one. Default 8.
	ParkedRequests int
	// ParkedBytes is the sum of their bodies. Default 1 MiB.
	ParkedBytes int
	// ParkTimeout ends the session when the earlier one has not arrived by
	// then. Default 5 s.
	ParkTimeout time.Duration

	// Guesses is how many requests with unknown session ids are answered at once
	// per address and 10 s. Default 100. Answers to more are late by GuessDelay.
	Guesses int
	// GuessDelay is that delay. Default 1 s.
	GuessDelay time.Duration

	// Ident2 is the answer to /fcs/ident2, an IP address that clients then use
	// instead of the name they were given. Default "": answer 404, which every
	// client accepts.
	Ident2 string

	// Forwarding says which proxies are believed about their clients'
	// addresses. Default: none.
	Forwarding Forwarding

	// Found is told what proxies do to the tunnel. It may be called often, at
	// the same time, and with a session's mutex held: it must not wait nor call
	// the tunnel.
	Found func(Report)

	// Refused is told of everything that is counted in Stats.Rejected, by the index
	// there. client is a proxy where the requests of a connection are not read far
	// enough to name their own; why may be nil. For the call the same holds as for
	// Found.
	Refused func(reason int, client net.Addr, why error)

	// Handle is given each session with its first send or idle request, in place of
	// [Server.Accept]: by the goroutine that has the request, which then calls the
	// step of a session that Handle has parked. It must not wait. Default nil: sessions
	// wait for Accept.
	Handle func(*Conn)

	// Fallback takes over a connection at its first request that is not the
	// tunnel's; that request is read again from it. It is called on the
	// goroutine of ServeConn and owns the connection, which has a method
	// ConnInfo() that returns what ServeConn was told. If nil, such requests
	// are answered 404.
	Fallback func(net.Conn)
}

// ConnInfo says what is known about a connection given to ServeConn.
type ConnInfo struct {
	// RemoteAddr is the address of the client, or of the last proxy that is not
	// transparent; nil means the connection's. If Config.Forwarding trusts it,
	// each request names its client.
	RemoteAddr net.Addr
	// TLS is set if the connection arrived over TLS.
	TLS *tls.ConnectionState
	// Transport is the name of the transport in log lines: rtmpt or rtmpts.
	Transport string
	// Host is set by ServeConn: the Host field of the request that opens a session.
	Host string
	// Proxied is set if the connection is known to come from a proxy. Sessions
	// opened on it report so.
	Proxied bool
}

func or[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (c Config) withDefaults() Config {
	or(&c.Sessions, 10000)
	or(&c.SessionsPerAddress, 1000)
	or(&c.OpenTimeout, 15*time.Second)
	or(&c.IdleTimeout, 30*time.Second)
	or(&c.StallTimeout, 10*time.Second)
	or(&c.MaxRequest, 8<<20+64<<10)
	or(&c.MaxAnswer, 64<<10)
	or(&c.MaxUnread, 1<<20)
	or(&c.Received, 256<<20)
	or(&c.QueueBytes, 128<<10)
	or(&c.Hold, time.Second)
	or(&c.HoldSetup, 400*time.Millisecond)
	or(&c.MaxHead, maxHead)
	or(&c.HeadTimeout, 10*time.Second)
	or(&c.BodyTimeout, 30*time.Second)
	or(&c.KeepAlive, 90*time.Second)
	or(&c.ParkedRequests, 8)
	or(&c.ParkedBytes, 1<<20)
	or(&c.ParkTimeout, 5*time.Second)
	or(&c.Guesses, 100)
	or(&c.GuessDelay, time.Second)
	c.MaxAnswer = max(c.MaxAnswer, 2)
	return c
}

// Times and limits that are not settings.
const (
	tombstone      = 10 * time.Second       // an ended session is remembered this long
	sendWaitSetup  = time.Second            // a send waits for its answer's data this long during the handshake
	sendWait       = 20 * time.Millisecond  // and this long later
	setupAnswers   = 2                      // answers with data that make up the handshake
	publisherBusy  = 2 * time.Second        // the idles of a session that publishes are not held for this long after a send
	mediaFlows     = 16 << 10               // bytes to the client after which media flows
	guessWindow    = 10 * time.Second       // unknown session ids are counted this long
	maxHead        = 8 << 10                // bytes of a request head, unless set; of an answer's
	lingerTime     = 500 * time.Millisecond // a refused request is read on for this long, so that the client sees the answer
	lastWriteWait  = 5 * time.Second        // unread answers of an ended connection wait this long
	firstWait      = 200 * time.Millisecond // an idle with the number 1 waits this long for number 0
	replayDepth    = 8                      // answers kept for repeated requests, as many as requests may be unanswered
	replayLeast    = 2                      // however large: an idle and the send that was pipelined after it
	replayBytes    = 3 << 10                // payload of more than that: less than a handshake's, which all idle sessions would keep
	parkedDistance = 8                      // a request is early up to this many numbers
)
