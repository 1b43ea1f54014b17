package tlsconf

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// answer serves probes on the ports of the gateway while it does not run.
func (p Preflight) answer(ctx context.Context) (stop func(), found []Finding) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answerProbe(w, strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/"))
	})
	var servers []*http.Server
	var done []chan struct{}
	for _, at := range []struct{ key, addr string }{{"listen.http", p.HTTPAddr}, {"listen.https", p.HTTPSAddr}} {
		if at.addr == "" {
			continue
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", at.addr)
		if err != nil {
			if errors.Is(err, os.ErrPermission) {
				found = append(found, Finding{false, at.key, "cannot be opened: " + err.Error() + ": ports below 1024 need root or CAP_NET_BIND_SERVICE"})
			}
			continue // in use: the gateway runs
		}
		if at.key == "listen.https" {
			config, err := probesOnly()
			if err != nil {
				_ = ln.Close()
				found = append(found, Finding{false, at.key, err.Error()})
				continue
			}
			ln = tls.NewListener(ln, config)
		}
		srv := &http.Server{Handler: handler, ReadTimeout: checkTimeout, ErrorLog: log.New(io.Discard, "", 0)}
		ended := make(chan struct{})
		servers, done = append(servers, srv), append(done, ended)
		go func() { defer close(ended); _ = srv.Serve(ln) }() // stopped and waited for by stop
	}
	return func() {
		for i, srv := range servers {
			_ = srv.Close()
			<-done[i]
		}
	}, found
}

// probesOnly serves TLS to probes and to nobody else.
func probesOnly() (*tls.Config, error) {
	own, _, err := newInternal(Config{})
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if config := probeConfig(hello, own.certificate); config != nil {
				return config, nil
			}
			return nil, errors.New("the gateway does not run")
		},
	}, nil
}

func newProbe() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return probePrefix + hex.EncodeToString(b)
}

// place returns where a probe goes to and how a finding calls it.
func place(name string, addr netip.Addr, port int) (dial, what string) {
	text := strconv.Itoa(port)
	return net.JoinHostPort(addr.Unmap().String(), text), fmt.Sprintf("%s, port %s at %s", name, text, addr.Unmap())
}

// probeHTTP asks for a token below the path of HTTP-01 and expects this gateway's answer.
func (p Preflight) probeHTTP(ctx context.Context, name string, addr netip.Addr) Finding {
	dial, what := place(name, addr, cmp.Or(p.HTTPPort, 80))
	token := newProbe()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name+"/.well-known/acme-challenge/"+token, nil)
	if err != nil {
		return Finding{false, what, err.Error()}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return Finding{false, what, "cannot be reached from here: let it through to listen.http (" + err.Error() + "); behind some routers this check fails and the authority still gets through"}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // as much as there is
	if strings.TrimSpace(string(body)) != token+".culvert" {
		return Finding{false, what, "another server answers there (" + resp.Status + "): point the name to this gateway, or the port to listen.http"}
	}
	return Finding{true, what, "reaches this gateway"}
}

// probeTLS offers a protocol in a handshake that only this gateway chooses: what stands in between passes TLS through, as TLS-ALPN-01 needs it.
func (p Preflight) probeTLS(ctx context.Context, name string, addr netip.Addr) Finding {
	dial, what := place(name, addr, cmp.Or(p.HTTPSPort, 443))
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", dial)
	if err != nil {
		return Finding{false, what, "cannot be reached from here: let it through to listen.https (" + err.Error() + "); behind some routers this check fails and the authority still gets through"}
	}
	defer raw.Close()
	probe := newProbe()
	// Which certificate there is does not matter: this is about who answers.
	conn := tls.Client(raw, &tls.Config{ServerName: name, NextProtos: []string{probe}, InsecureSkipVerify: true}) //nolint:gosec // nothing is sent
	err = conn.HandshakeContext(ctx)
	state := conn.ConnectionState()
	const cure = ": point the name to this gateway, or the port to listen.https; what stands in between must pass TLS through as it is"
	switch {
	case err != nil:
		return Finding{false, what, "another server answers there (" + err.Error() + ")" + cure}
	case state.NegotiatedProtocol != probe:
		return Finding{false, what, "another server answers there, with a certificate for " + subject(state.PeerCertificates[0]) + cure}
	}
	return Finding{true, what, "reaches this gateway"}
}
