package tlsconf

import (
	"crypto/tls"
	"net/http"
	"strings"
)

// probePrefix begins what a pre-flight asks for: a token under the path of HTTP-01, and a protocol (ALPN) in a TLS handshake. They are no challenges, and the
// answer says that this gateway gave it.
const probePrefix = "culvert-check-"

// maxProbe is the longest one that is answered.
const maxProbe = 64

func isProbe(text string) bool {
	return strings.HasPrefix(text, probePrefix) && len(text) <= maxProbe && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

func answerProbe(w http.ResponseWriter, token string) {
	if !isProbe(token) {
		http.Error(w, "no such challenge", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(token + ".culvert\n")) // the client may have gone
}

// probeConfig answers a handshake that offers nothing but a probe: it chooses it, which no other server does. Whatever takes the connection closes it then. nil:
// it is none.
func probeConfig(hello *tls.ClientHelloInfo, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	if len(hello.SupportedProtos) != 1 || !isProbe(hello.SupportedProtos[0]) {
		return nil
	}
	return &tls.Config{
		GetCertificate:         certificate,
		NextProtos:             hello.SupportedProtos,
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
	}
}
