package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"

	tlsconf "culvert/tls"
)

// tickets counts the session tickets that a client is given.
type tickets struct {
	tls.ClientSessionCache
	mu    sync.Mutex
	count int
}

func (c *tickets) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.mu.Lock()
		c.count++
		c.mu.Unlock()
	}
	c.ClientSessionCache.Put(key, s)
}

// TestTickets: rtmpdump and GStreamer's librtmp, which send neither server name nor ALPN, die of a ticket; everyone else resumes.
func TestTickets(t *testing.T) {
	src, pool := internal(t, tlsconf.Config{})
	server := src.ServerConfig()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tests := []struct {
			name, serverName string
			alpn             []string
			resumes          bool
		}{
			{"neither server name nor ALPN", "127.0.0.1", nil, false}, // crypto/tls sends no server name for an address
			{"server name", "localhost", nil, true},
			{"ALPN", "127.0.0.1", []string{"http/1.1"}, true},
			{"both", "localhost", []string{"http/1.1"}, true},
		}
		for _, tt := range tests {
			t.Run(tls.VersionName(version)+"/"+tt.name, func(t *testing.T) {
				cache := &tickets{ClientSessionCache: tls.NewLRUClientSessionCache(4)}
				client := &tls.Config{RootCAs: pool, ServerName: tt.serverName, NextProtos: tt.alpn, ClientSessionCache: cache, MinVersion: version, MaxVersion: version}
				for i := range 4 {
					state, err := dial(t, server, client)
					if err != nil {
						t.Fatal(err)
					}
					if state.DidResume != (tt.resumes && i > 0) {
						t.Errorf("connection %d: resumed %v", i, state.DidResume)
					}
				}
				if (cache.count > 0) != tt.resumes {
					t.Errorf("%d tickets", cache.count)
				}
			})
		}
	}
}

// TestTicketsSurviveSilence: clients without tickets in between do not disturb the sessions of others.
func TestTicketsSurviveSilence(t *testing.T) {
	src, pool := internal(t, tlsconf.Config{})
	server := src.ServerConfig()
	named := &tls.Config{RootCAs: pool, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	silent := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for i, client := range []*tls.Config{named, silent, named, silent, named} {
		state, err := dial(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		if want := client == named && i > 0; state.DidResume != want {
			t.Errorf("connection %d: resumed %v", i, state.DidResume)
		}
	}
}

func TestALPN(t *testing.T) {
	tests := []struct {
		name          string
		http2         bool
		server        []string
		client        []string
		want, refused string
	}{
		{"none", false, nil, nil, "", ""},
		{"browser", false, nil, []string{"h2", "http/1.1"}, "http/1.1", ""},
		{"only HTTP/1.1", false, nil, []string{"http/1.1"}, "http/1.1", ""},
		{"only h2", false, nil, []string{"h2"}, "h2", ""},
		{"browser, HTTP2", true, nil, []string{"http/1.1", "h2"}, "h2", ""},
		{"only HTTP/1.1, HTTP2", true, nil, []string{"http/1.1"}, "http/1.1", ""},
		{"unknown and known", false, nil, []string{"rtmp", "http/1.1"}, "http/1.1", ""},
		{"unknown", false, nil, []string{"rtmp"}, "", "no application protocol"},
		{"own list", true, []string{"http/1.1"}, []string{"h2", "http/1.1"}, "http/1.1", ""},
		{"own list refuses", false, []string{"http/1.1"}, []string{"h2"}, "", "no application protocol"},
		{"own order", false, []string{"acme-tls/1", "http/1.1", "h2"}, []string{"h2", "acme-tls/1"}, "acme-tls/1", ""},
	}
	for _, serverName := range []string{"localhost", "127.0.0.1"} {
		for _, tt := range tests {
			t.Run(serverName+"/"+tt.name, func(t *testing.T) {
				src, pool := internal(t, tlsconf.Config{HTTP2: tt.http2})
				state, serverErr, err := handshake(src.ServerConfig(tt.server...), &tls.Config{RootCAs: pool, ServerName: serverName, NextProtos: tt.client})
				if tt.refused != "" {
					if err == nil || !strings.Contains(err.Error(), tt.refused) || serverErr == nil {
						t.Errorf("client %v, server %v", err, serverErr)
					}
					return
				}
				if err != nil || serverErr != nil || state.NegotiatedProtocol != tt.want {
					t.Errorf("protocol %q, client %v, server %v", state.NegotiatedProtocol, err, serverErr)
				}
			})
		}
	}
}

func TestServerConfigKeepsCallersList(t *testing.T) {
	src, _ := internal(t, tlsconf.Config{HTTP2: true})
	protos := []string{"a", "b"}
	cfg := src.ServerConfig(protos...)
	protos[0] = "c"
	if cfg.NextProtos[0] != "a" {
		t.Error("the configuration shares the caller's list")
	}
	if !cfg.DynamicRecordSizingDisabled {
		t.Error("records start small")
	}
}

func TestVersions(t *testing.T) {
	tests := []struct {
		server, client uint16
		ok             bool
	}{
		{0, tls.VersionTLS11, false},
		{0, tls.VersionTLS12, true},
		{0, tls.VersionTLS13, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS13, tls.VersionTLS13, true},
		{tls.VersionTLS10, tls.VersionTLS10, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%#x/%#x", tt.server, tt.client), func(t *testing.T) {
			src, pool := internal(t, tlsconf.Config{MinVersion: tt.server})
			client := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tt.client} // old versions are the test
			state, err := dial(t, src.ServerConfig(), client)
			if (err == nil) != tt.ok || tt.ok && state.Version != tt.client {
				t.Errorf("version %#x, %v", state.Version, err)
			}
		})
	}
}

func TestUnknownMode(t *testing.T) {
	if _, err := tlsconf.New(tlsconf.Config{Mode: "magic"}); err == nil || !strings.Contains(err.Error(), `unknown mode "magic"`) {
		t.Errorf("error %v", err)
	}
}

func TestConcurrentHandshakes(t *testing.T) {
	src, pool := internal(t, tlsconf.Config{Storage: t.TempDir()})
	server := src.ServerConfig()
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			name := []string{"localhost", "127.0.0.1", "::1"}[i%3]
			if _, err := dial(t, server, &tls.Config{RootCAs: pool, ServerName: name}); err != nil {
				t.Error(err)
			}
			if len(src.CAPEM()) == 0 || src.Warnings() != nil {
				t.Error("source changed")
			}
		})
	}
	wg.Wait()
}

// anyName is a client that trusts the authority and does not compare names, as most encoders.
func anyName(pool *x509.CertPool, serverName string) *tls.Config {
	return &tls.Config{
		ServerName:         serverName,
		InsecureSkipVerify: true, // VerifyConnection verifies all but the name
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool})
			return err
		},
	}
}
