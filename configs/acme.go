package configs

// ACME says how certificates are obtained from public authorities; mode acme.
type ACME struct {
	Client     ACMEClient  `yaml:"client"`
	Email      string      `yaml:"email"`
	Directory  string      `yaml:"directory"` // URL; "" is Let's Encrypt
	Roots      string      `yaml:"roots"`     // path, PEM; "" is those of the system
	EAB        EAB         `yaml:"eab"`
	Fallback   Authority   `yaml:"fallback"` // no directory: none
	Challenges []Challenge `yaml:"challenges"`
	KeyType    KeyType     `yaml:"key_type"`
	Retry      Duration    `yaml:"retry"` // first pause after a failed order
	DNS        DNS         `yaml:"dns"`
	OnDemand   OnDemand    `yaml:"on_demand"`
}

// ACMEClient is the library that speaks ACME.
type ACMEClient string

// The ACME clients.
const (
	ACMECertmagic ACMEClient = "certmagic" // all challenges, several authorities
	ACMEAutocert  ACMEClient = "autocert"  // the small one: HTTP-01 and TLS-ALPN-01
)

// EAB is an external account binding: what some authorities want to know an account by.
type EAB struct {
	KID  string `yaml:"kid"`
	HMAC Secret `yaml:"hmac"` // base64url
}

// Authority is a second certificate authority.
type Authority struct {
	Directory string `yaml:"directory"`
	Roots     string `yaml:"roots"`
	EAB       EAB    `yaml:"eab"`
}

// Challenge is a way to prove that a name is ours.
type Challenge string

// The challenges of ACME (RFC 8555 §8, RFC 8737).
const (
	HTTP01    Challenge = "http-01"
	TLSALPN01 Challenge = "tls-alpn-01"
	DNS01     Challenge = "dns-01" // needs DNS.Provider
)

// KeyType is the kind of key in certificates.
type KeyType string

// The key types.
const (
	KeyP256    KeyType = "p256"
	KeyP384    KeyType = "p384"
	KeyRSA2048 KeyType = "rsa2048"
	KeyRSA4096 KeyType = "rsa4096"
)

// DNSProvider sets the TXT records of DNS-01.
type DNSProvider string

// The providers.
const (
	DNSOff     DNSProvider = "off"
	DNSRFC2136 DNSProvider = "rfc2136" // dynamic updates with TSIG
	DNSWebhook DNSProvider = "webhook" // a request to a server of the operator's own
	DNSExec    DNSProvider = "exec"    // a program
)

// DNS says how the DNS-01 challenge sets its records.
type DNS struct {
	Provider    DNSProvider `yaml:"provider"`
	Resolvers   []string    `yaml:"resolvers"`   // host:port; none are those of the system
	Propagation Duration    `yaml:"propagation"` // 0 does not wait
	Delegate    string      `yaml:"delegate"`    // name that _acme-challenge is an alias for
	RFC2136     RFC2136     `yaml:"rfc2136"`
	Webhook     Webhook     `yaml:"webhook"`
	Exec        []string    `yaml:"exec"` // program and its first arguments
}

// RFC2136 is a name server that takes dynamic updates.
type RFC2136 struct {
	Server    string `yaml:"server"`
	Key       string `yaml:"key"` // name of the TSIG key
	Algorithm string `yaml:"algorithm"`
	Secret    Secret `yaml:"secret"` // base64
}

// Webhook is a server that sets records.
type Webhook struct {
	URL   string `yaml:"url"`
	Token Secret `yaml:"token"`
}

// OnDemand allows certificates for names that clients ask for.
type OnDemand struct {
	Allow []string `yaml:"allow"` // names and wildcards
	Ask   string   `yaml:"ask"`   // URL that decides about others
	Limit int      `yaml:"limit"`
}

// Enabled tells whether any name may be asked for.
func (o OnDemand) Enabled() bool { return len(o.Allow) > 0 || o.Ask != "" }
