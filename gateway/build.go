package gateway

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway/app"
	"culvert/gateway/auth"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/send"
	"culvert/tunnel"
)

// policies translates the applications of a configuration.
func policies(cfg configs.Config) map[string]*app.Policy {
	out := make(map[string]*app.Policy, len(cfg.Apps))
	for name, a := range cfg.Apps {
		out[name] = policy(name, a)
	}
	return out
}

func policy(name string, a configs.App) *app.Policy {
	p := &app.Policy{
		Name:     name,
		Takeover: a.Publish.OnConflict == configs.ConflictTakeover,
		Play: auth.PlayRules{
			Public:   a.Play == configs.PlayPublic,
			Loopback: a.Play == configs.PlayLoopback,
		},
		Wait: a.Wait,
		Live: live.Options{
			GOPCache: int(a.GOPCache),
			Gather:   gather(a.Gather),
			Dropped:  new(atomic.Uint64),
		},
	}
	for _, f := range a.SWF {
		p.SWF = append(p.SWF, rtmpcore.SWF{Hash: f.Hash, Size: f.Size})
	}
	for _, k := range a.Publish.Keys {
		p.Publish.Keys = append(p.Publish.Keys, auth.NewKey(k.Name, k.Key.Reveal()))
	}
	return p
}

func gather(g configs.Gather) send.Gather {
	switch g.Mode {
	case configs.GatherMessage:
		return send.Gather{Mode: send.GatherMessage}
	case configs.GatherWindow:
		return send.Gather{Mode: send.GatherTime, Window: g.Window}
	case configs.GatherVideo:
	}
	return send.Gather{Mode: send.GatherVideo}
}

func coreConfig(cfg configs.Config) rtmpcore.Config {
	l := cfg.Limits
	var exchange *handshake.Exchange
	if cfg.RTMPE.Enabled {
		exchange = handshake.NewExchange(l.RTMPEHandshakes)
	}
	return rtmpcore.Config{
		RTMPE:      exchange,
		SWFTimeout: time.Duration(l.SWFTimeout),
		Chunk: chunk.Limits{
			Media:        int(l.Message),
			Other:        int(l.Command),
			ChunkStreams: l.ChunkStreams,
			Partial:      int(l.Partial),
		},
		Send: send.Limits{
			Queue:        int(l.Queue),
			QueueTime:    time.Duration(l.QueueTime),
			QueueClose:   int(l.QueueClose),
			WriteTimeout: time.Duration(l.WriteTimeout),
		},
		AMF:              amf.Limits{Depth: l.AMFDepth, Properties: l.AMFValues, Bytes: int(l.Command)},
		HandshakeTimeout: time.Duration(l.HandshakeTimeout),
	}
}

func tunnelConfig(l configs.TunnelLimits, log zerolog.Logger) tunnel.Config {
	return tunnel.Config{
		Log:                log,
		Sessions:           l.Sessions,
		SessionsPerAddress: l.SessionsPerAddress,
		OpenTimeout:        time.Duration(l.OpenTimeout),
		IdleTimeout:        time.Duration(l.IdleTimeout),
		MaxHead:            int(l.Head),
		HeadTimeout:        time.Duration(l.HeadTimeout),
		MaxRequest:         int(l.Request),
		BodyTimeout:        time.Duration(l.BodyTimeout),
		MaxAnswer:          int(l.Answer),
		MaxUnread:          int(l.Unread),
		Received:           int(l.Received),
		StallTimeout:       time.Duration(l.StallTimeout),
		ParkedRequests:     l.EarlyRequests,
		ParkedBytes:        int(l.EarlyBytes),
		ParkTimeout:        time.Duration(l.EarlyTimeout),
		Guesses:            l.Guesses,
		GuessDelay:         time.Duration(l.GuessDelay),
		KeepAlive:          time.Duration(l.KeepAlive),
		Coalesce:           time.Duration(l.Coalesce),
		Hold:               holdTime(l.Hold),
		HoldSetup:          holdTime(l.HoldSetup),
	}
}

// forwarding says which proxies are believed.
func forwarding(l configs.Listen) tunnel.Forwarding {
	f := tunnel.Forwarding{Trusted: l.Trusted()}
	switch l.ClientHeader {
	case configs.ClientXForwardedFor:
		f.Field = tunnel.XForwardedFor
	case configs.ClientForwarded:
		f.Field = tunnel.FieldRFC7239
	case configs.ClientXRealIP:
		f.Field = tunnel.XRealIP
	}
	return f
}

// holdTime turns the configuration's 0, "not at all", into the tunnel's.
func holdTime(d configs.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}
