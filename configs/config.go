package configs

// Config is a whole configuration. A loaded one is not changed any more: a reload loads a second one.
type Config struct {
	Log      Log            `yaml:"log"`
	Listen   Listen         `yaml:"listen"`
	TLS      TLS            `yaml:"tls"`
	RTMPE    RTMPE          `yaml:"rtmpe"`
	Apps     map[string]App `yaml:"apps"`
	Routes   []Route        `yaml:"routes"`
	Limits   Limits         `yaml:"limits"`
	Shutdown Shutdown       `yaml:"shutdown"`

	// Source says where the configuration was read from: the path of the file, or "built-in defaults". It is no key of the file.
	Source string `yaml:"-" json:"-"`
}

// AnyApp is the name in Config.Apps that stands for every application without an entry of its own.
const AnyApp = "*"

// App returns the settings of the application called name: its own entry, else the entry [AnyApp]. It reports false when there is neither,
// which means that this gateway does not serve the application. Names are compared exactly, case included.
func (c Config) App(name string) (App, bool) {
	if app, ok := c.Apps[name]; ok {
		return app, true
	}
	app, ok := c.Apps[AnyApp]
	return app, ok
}

// Log says what is logged and how.
type Log struct {
	Level  LogLevel  `yaml:"level"`
	Format LogFormat `yaml:"format"`
}

// LogLevel is the least severe kind of line that is logged.
type LogLevel string

// The log levels, from the most talkative to the most silent.
const (
	LogTrace LogLevel = "trace" // every message
	LogDebug LogLevel = "debug" // protocol events
	LogInfo  LogLevel = "info"  // one line when a session opens, one when it closes
	LogWarn  LogLevel = "warn"  // degraded but serving
	LogError LogLevel = "error" // an operator must act
)

// LogFormat is the form of log lines.
type LogFormat string

// The log formats.
const (
	LogAuto    LogFormat = "auto"    // console on a terminal, JSON otherwise
	LogConsole LogFormat = "console" // for people
	LogJSON    LogFormat = "json"    // one JSON object per line
)

// Listen holds the addresses that are listened on, as host:port or :port. An empty address switches that listener off. Every listener takes
// every transport; the names say which one clients expect there.
type Listen struct {
	RTMP  string `yaml:"rtmp"`
	HTTP  string `yaml:"http"`
	HTTPS string `yaml:"https"`
	Admin string `yaml:"admin"`

	// TrustedProxies are the addresses whose PROXY protocol header and forwarding headers are believed.
	TrustedProxies []Prefix `yaml:"trusted_proxies"`
	// ClientHeader is the one HTTP header in which they name the client.
	ClientHeader ClientHeader `yaml:"client_header"`
}

// ClientHeader is an HTTP header in which proxies name the client.
type ClientHeader string

// The headers that name the client.
const (
	ClientXForwardedFor ClientHeader = "x-forwarded-for"
	ClientForwarded     ClientHeader = "forwarded" // RFC 7239
	ClientXRealIP       ClientHeader = "x-real-ip"
)

// TLS says where certificates come from.
type TLS struct {
	Mode    TLSMode  `yaml:"mode"`
	Domains []string `yaml:"domains"` // DNS names and IP addresses
	Cert    string   `yaml:"cert"`    // path, PEM, full chain; mode files
	Key     string   `yaml:"key"`     // path, PEM; mode files
	// Hosts are names whose certificates come from elsewhere than Mode says.
	Hosts      []TLSHost  `yaml:"hosts"`
	Storage    string     `yaml:"storage"` // directory; "" is a default that depends on the user
	MinVersion TLSVersion `yaml:"min_version"`
	HTTP2      bool       `yaml:"http2"` // prefer h2 over http/1.1
	ClientCA   ClientCA   `yaml:"client_ca"`
	Redirect   bool       `yaml:"redirect"` // pages over plain HTTP to HTTPS
	HSTS       Duration   `yaml:"hsts"`     // 0 is off
	ACME       ACME       `yaml:"acme"`
}

// TLSHost gives names a source of their own. In YAML it is {names: [a.example], mode: files, cert: PATH, key: PATH}.
type TLSHost struct {
	Names []string `yaml:"names"`
	Mode  TLSMode  `yaml:"mode"` // files or internal
	Cert  string   `yaml:"cert"`
	Key   string   `yaml:"key"`
}

// ClientCA names, per listener, the file of the authorities of which a client has to show a certificate; "" asks for none.
type ClientCA struct {
	RTMP  string `yaml:"rtmp"`
	HTTP  string `yaml:"http"`
	HTTPS string `yaml:"https"`
}

// TLSVersion is a version of the protocol.
type TLSVersion string

// The versions that may be the oldest one.
const (
	TLS10 TLSVersion = "1.0" // with the cipher suites of the time, for devices that know no better
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// TLSMode is a source of certificates.
type TLSMode string

// The sources of certificates.
const (
	TLSInternal TLSMode = "internal" // a certificate authority of the gateway's own
	TLSFiles    TLSMode = "files"    // TLS.Cert and TLS.Key
	TLSACME     TLSMode = "acme"     // a public authority
	TLSOff      TLSMode = "off"      // no TLS on any listener
)

// RTMPE is the encryption of Flash Player, on any listener, and in the tunnel (RTMPTE).
type RTMPE struct {
	Enabled bool `yaml:"enabled"`
}

// App holds the settings of one application, the first part of a stream's address.
type App struct {
	Publish  Publish    `yaml:"publish"`
	Play     PlayPolicy `yaml:"play"`
	Wait     bool       `yaml:"wait"`      // a player may come before its publisher
	GOPCache Size       `yaml:"gop_cache"` // most bytes kept per stream for late joiners; 0 is off
	Gather   Gather     `yaml:"gather"`
	Push     []Push     `yaml:"push"` // servers that streams are sent on to
	Pull     Pull       `yaml:"pull"` // server that streams are fetched from
	Proxy    Proxy      `yaml:"proxy"`
	SWF      []SWF      `yaml:"swf"` // none: players are not asked for theirs
}

// Publish says who may publish.
type Publish struct {
	Keys       []Key    `yaml:"keys"` // none: only clients on this machine may publish
	OnConflict Conflict `yaml:"on_conflict"`
}

// Conflict is what happens when somebody publishes a stream that has a publisher.
type Conflict string

// What happens to a second publisher.
const (
	ConflictRefuse   Conflict = "refuse"   // the second one gets NetStream.Publish.BadName and is closed
	ConflictTakeover Conflict = "takeover" // the first one is closed
)

// PlayPolicy says who may play.
type PlayPolicy string

// Who may play.
const (
	PlayPublic   PlayPolicy = "public"   // everyone
	PlayLoopback PlayPolicy = "loopback" // only clients on this machine
	PlayOff      PlayPolicy = "off"      // nobody
)

// Limits caps what a peer can make the gateway spend. culvert.yaml says for each what happens beyond.
type Limits struct {
	Message               Size         `yaml:"message"`
	Command               Size         `yaml:"command"`
	ChunkStreams          int          `yaml:"chunk_streams"`
	Partial               Size         `yaml:"partial"`
	AMFDepth              int          `yaml:"amf_depth"`
	AMFValues             int          `yaml:"amf_values"`
	HandshakeTimeout      Duration     `yaml:"handshake_timeout"`
	SniffTimeout          Duration     `yaml:"sniff_timeout"`
	IdleTimeout           Duration     `yaml:"idle_timeout"`
	WriteTimeout          Duration     `yaml:"write_timeout"`
	Queue                 Size         `yaml:"queue"`
	QueueTime             Duration     `yaml:"queue_time"`
	QueueClose            Size         `yaml:"queue_close"`
	Connections           int          `yaml:"connections"`
	ConnectionsPerAddress int          `yaml:"connections_per_address"`
	RTMPEHandshakes       int          `yaml:"rtmpe_handshakes"`
	SWFTimeout            Duration     `yaml:"swf_timeout"`
	Tunnel                TunnelLimits `yaml:"tunnel"`
}

// TunnelLimits caps what RTMPT sessions can make the gateway spend.
type TunnelLimits struct {
	Sessions           int      `yaml:"sessions"`
	SessionsPerAddress int      `yaml:"sessions_per_address"`
	OpenTimeout        Duration `yaml:"open_timeout"`
	IdleTimeout        Duration `yaml:"idle_timeout"`
	Head               Size     `yaml:"head"`
	HeadTimeout        Duration `yaml:"head_timeout"`
	Request            Size     `yaml:"request"`
	BodyTimeout        Duration `yaml:"body_timeout"`
	Answer             Size     `yaml:"answer"`
	Unread             Size     `yaml:"unread"`
	Received           Size     `yaml:"received"`
	StallTimeout       Duration `yaml:"stall_timeout"`
	EarlyRequests      int      `yaml:"early_requests"`
	EarlyBytes         Size     `yaml:"early_bytes"`
	EarlyTimeout       Duration `yaml:"early_timeout"`
	Guesses            int      `yaml:"guesses"`
	GuessDelay         Duration `yaml:"guess_delay"`
	KeepAlive          Duration `yaml:"keep_alive"`
	Hold               Duration `yaml:"hold"`
	HoldSetup          Duration `yaml:"hold_setup"`
	Coalesce           Duration `yaml:"coalesce"`
}

// Shutdown says how the gateway stops.
type Shutdown struct {
	Drain Duration `yaml:"drain"` // longest time given to sessions that are being ended
}
