package configs

import (
	_ "embed"
	"time"
)

// BuiltIn is the Source of a configuration that was read from no file.
const BuiltIn = "built-in defaults"

//go:embed culvert.yaml
var reference []byte

// Reference returns culvert.yaml, the file that describes every key and sets it to its built-in value. The caller owns the slice.
func Reference() []byte { return append([]byte(nil), reference...) }

// Default returns the built-in configuration, the one that runs when there is no file. The caller owns all of it.
func Default() Config {
	return Config{
		Log: Log{Level: LogInfo, Format: LogAuto},
		Listen: Listen{
			RTMP:           ":1935",
			HTTP:           ":80",
			HTTPS:          ":443",
			Admin:          "127.0.0.1:2935",
			TrustedProxies: []Prefix{},
			ClientHeader:   ClientXForwardedFor,
		},
		TLS: TLS{
			Mode:       TLSInternal,
			Domains:    []string{},
			Hosts:      []TLSHost{},
			MinVersion: TLS12,
			Redirect:   true,
			ACME: ACME{
				Client:     ACMECertmagic,
				EAB:        EAB{HMAC: NewSecret("")},
				Fallback:   Authority{EAB: EAB{HMAC: NewSecret("")}},
				Challenges: []Challenge{HTTP01, TLSALPN01},
				KeyType:    KeyP256,
				Retry:      Duration(time.Minute),
				DNS: DNS{
					Provider:    DNSOff,
					Resolvers:   []string{},
					Propagation: Duration(2 * time.Minute),
					RFC2136:     RFC2136{Algorithm: "hmac-sha256", Secret: NewSecret("")},
					Webhook:     Webhook{Token: NewSecret("")},
					Exec:        []string{},
				},
				OnDemand: OnDemand{Allow: []string{}, Limit: 100},
			},
		},
		Apps:   map[string]App{AnyApp: DefaultApp()},
		Routes: []Route{},
		Limits: Limits{
			Message:               8 * MiB,
			Command:               256 * KiB,
			ChunkStreams:          64,
			Partial:               16 * MiB,
			AMFDepth:              32,
			AMFValues:             4096,
			HandshakeTimeout:      Duration(10 * time.Second),
			SniffTimeout:          Duration(10 * time.Second),
			IdleTimeout:           Duration(5 * time.Minute),
			WriteTimeout:          Duration(10 * time.Second),
			Queue:                 4 * MiB,
			QueueTime:             Duration(5 * time.Second),
			QueueClose:            16 * MiB,
			Connections:           20000,
			ConnectionsPerAddress: 5000,
			RTMPEHandshakes:       256,
			SWFTimeout:            Duration(5 * time.Second),
			Tunnel: TunnelLimits{
				Sessions:           10000,
				SessionsPerAddress: 1000,
				OpenTimeout:        Duration(15 * time.Second),
				IdleTimeout:        Duration(30 * time.Second),
				Head:               8 * KiB,
				HeadTimeout:        Duration(10 * time.Second),
				Request:            8*MiB + requestSlack,
				BodyTimeout:        Duration(30 * time.Second),
				Answer:             64 * KiB,
				Unread:             1 * MiB,
				Received:           256 * MiB,
				StallTimeout:       Duration(10 * time.Second),
				EarlyRequests:      8,
				EarlyBytes:         1 * MiB,
				EarlyTimeout:       Duration(5 * time.Second),
				Guesses:            100,
				GuessDelay:         Duration(time.Second),
				KeepAlive:          Duration(90 * time.Second),
				Hold:               Duration(time.Second),
				HoldSetup:          Duration(400 * time.Millisecond),
			},
		},
		Shutdown: Shutdown{Drain: Duration(10 * time.Second)},
		Source:   BuiltIn,
	}
}

// DefaultApp returns the settings that an entry of Config.Apps has where it says nothing: only clients on this machine may publish, everyone may
// play. The caller owns all of it.
func DefaultApp() App {
	return App{
		Publish:  Publish{Keys: []Key{}, OnConflict: ConflictRefuse},
		Play:     PlayPublic,
		Wait:     true,
		GOPCache: 16 * MiB,
		Gather:   Gather{Mode: GatherVideo},
		Push:     []Push{},
		Pull:     DefaultPull(),
		Proxy:    DefaultProxy(),
		SWF:      []SWF{},
	}
}
