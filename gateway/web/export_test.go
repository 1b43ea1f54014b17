package web

import (
	"net/http"
	"time"
)

// NewAt is New with a clock.
func NewAt(cfg Config, now func() time.Time) http.Handler {
	h := New(cfg).(*handler)
	h.now = now
	return h
}

// Quote and HostName are tested as they are.
var (
	Quote    = quote
	HostName = hostName
)
