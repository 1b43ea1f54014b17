package gateway

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// challenges answers the challenges of ACME before anything else: no redirect, no path of the tunnel gets in their way.
func (g *Gateway) challenges(next http.Handler) http.Handler {
	if g.source == nil {
		return next
	}
	return g.source.ChallengeHandler(next)
}

// toHTTPS is the policy for pages: one asked for over plain HTTP is redirected when the name it was asked under has a certificate that browsers take. It
// reports whether it has answered. The tunnel never comes here.
func (g *Gateway) toHTTPS(w http.ResponseWriter, r *http.Request) bool {
	if r.TLS != nil {
		if hsts := time.Duration(g.cfg.TLS.HSTS); hsts > 0 {
			w.Header().Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(hsts.Seconds())))
		}
		return false
	}
	if !g.cfg.TLS.Redirect || g.source == nil || g.port(httpsListener) == 0 {
		return false
	}
	if r.Header.Get("X-Forwarded-Proto") == "https" { // a proxy has taken TLS off: the browser is where it should be
		return false
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), ""
	}
	if !g.source.Vouches(host) {
		return false
	}
	to := host
	if strings.Contains(host, ":") {
		to = "[" + host + "]"
	}
	if port != "" && port != "80" { // not behind a map from the standard ports
		if https := g.port(httpsListener); https != 443 {
			to = net.JoinHostPort(host, strconv.Itoa(https))
		}
	}
	http.Redirect(w, r, "https://"+to+r.URL.RequestURI(), http.StatusPermanentRedirect)
	return true
}
