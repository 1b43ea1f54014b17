package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Proxies in front of a gateway that serves the streams: other programs, and a
// gateway in each of its modes.
const (
	proxyTransparent = "culvert transparent"
	proxyRouted      = "culvert routed"
	proxyHAProxy     = "haproxy tcp"
	proxyNginxStream = "nginx stream"
	proxyStunnel     = "stunnel"
)

// isProxy reports whether a server of a load is a proxy.
func isProxy(server string) bool {
	switch server {
	case proxyTransparent, proxyRouted, proxyHAProxy, proxyNginxStream, proxyStunnel:
		return true
	}
	return false
}

// spawnProxy starts a gateway from the given binary, and a proxy in front of it. env
// configures both where they are gateways.
func (cfg *SuiteConfig) spawnProxy(ctx context.Context, kind string, env ...string) (_ *Server, stop func(), err error) {
	behind, err := SpawnGateway(ctx, cfg.Culvert, "", append([]string{"CULVERT_LISTEN_HTTP=", "CULVERT_LISTEN_HTTPS="}, env...)...)
	if err != nil {
		return nil, nil, err
	}
	front, err := cfg.spawnFront(ctx, kind, behind.addrs["rtmp"], env)
	if err != nil {
		behind.Stop()
		return nil, nil, err
	}
	return front, func() { front.Stop(); behind.Stop() }, nil
}

func (cfg *SuiteConfig) spawnFront(ctx context.Context, kind, backend string, env []string) (*Server, error) {
	switch kind {
	case proxyRouted:
		s, err := SpawnGateway(ctx, cfg.Culvert, "", append([]string{"CULVERT_APPS_DEFAULT_PROXY_TO=rtmp://" + backend}, env...)...)
		return named(s, kind), err
	case proxyTransparent:
		return cfg.spawnTransparent(ctx, backend, env)
	}
	plain, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	secure, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	args, err := frontArgs(cfg, kind, dir, plain, secure, backend)
	if err == nil {
		var s *Server
		if s, err = start(ctx, kind, dir, nil, args, nil, secure); err == nil {
			s.addrs = map[string]string{"rtmp": plain, "rtmps": secure}
			if kind == proxyStunnel {
				delete(s.addrs, "rtmp")
			}
			return s, nil
		}
		return nil, err
	}
	os.RemoveAll(dir)
	return nil, err
}

// spawnTransparent starts a gateway that passes everything through.
func (cfg *SuiteConfig) spawnTransparent(ctx context.Context, backend string, env []string) (*Server, error) {
	f, err := os.CreateTemp("", "culvert-bench-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "routes: [{mode: transparent, proxy: {to: ['rtmp://%s']}}]\n", backend)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	s, err := SpawnGateway(ctx, cfg.Culvert, f.Name(), env...)
	return named(s, proxyTransparent), err
}

func named(s *Server, name string) *Server {
	if s != nil {
		s.Name = name
	}
	return s
}

// Configurations of the others, as their manuals have them: all cores, no logs. In the
// first two %[1]s is the plain address, %[2]s that for TLS, %[3]s the server behind, %[4]s
// the certificate with its key, %[5]d the number of cores; stunnel takes the middle three.
const (
	haproxyConfig = `global
  nbthread %[5]d
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind %[1]s
  bind %[2]s ssl crt %[4]s
  default_backend b
backend b
  server s %[3]s
`
	streamConfig = `daemon off; worker_processes %[5]d; worker_rlimit_nofile 65536; pid nginx.pid; error_log stderr warn;
%[6]sevents { worker_connections 16384; }
stream { server { listen %[1]s; tcp_nodelay on; proxy_pass %[3]s; }
server { listen %[2]s ssl; tcp_nodelay on; ssl_certificate %[4]s; ssl_certificate_key %[4]s; proxy_pass %[3]s; } }
`
	stunnelConfig = `foreground = yes
pid =
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[rtmps]
accept = %[1]s
connect = %[2]s
cert = %[3]s
`
	streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

func frontArgs(cfg *SuiteConfig, kind, dir, plain, secure, backend string) ([]string, error) {
	cert := filepath.Join(dir, "cert.pem")
	if err := writeCertificate(cert); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "front.conf")
	configure := func(format string, more ...any) error {
		args := append([]any{plain, secure, backend, cert, runtime.NumCPU()}, more...)
		return os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600)
	}
	switch kind {
	case proxyHAProxy:
		path, err := exec.LookPath("haproxy")
		if err != nil {
			return nil, errAbsent
		}
		return []string{path, "-db", "-f", file}, configure(haproxyConfig)
	case proxyNginxStream:
		module := ""
		if _, err := os.Stat(streamModule); err == nil {
			module = "load_module " + streamModule + ";\n"
		}
		if cfg.Nginx == "" || module == "" {
			return nil, errAbsent
		}
		return []string{cfg.Nginx, "-p", dir, "-c", file, "-e", "stderr"}, configure(streamConfig, module)
	default:
		path, err := exec.LookPath("stunnel")
		if err != nil {
			return nil, errAbsent
		}
		return []string{path, file}, os.WriteFile(file, fmt.Appendf(nil, stunnelConfig, secure, backend, cert), 0o600)
	}
}

// writeCertificate makes a certificate and its key for loopback.
func writeCertificate(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return os.WriteFile(path, out, 0o600)
}
