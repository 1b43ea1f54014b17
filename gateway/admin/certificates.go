package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificates lists the certificates of the gateway. It is asked from many goroutines.
type Certificates interface {
	Certificates() []CertificateInfo
	// Authority returns the certificate of the gateway's own authority in PEM form, nil without one.
	Authority() []byte
}

// CertificateInfo describes a certificate as the API shows it.
type CertificateInfo struct {
	Name string `json:"name"`
	// Source is acme, files or internal.
	Source string `json:"source"`
	// State is valid, failing (valid, but not renewed), expired, pending or fallback (clients get the internal certificate).
	State  string   `json:"state"`
	Issuer string   `json:"issuer,omitempty"`
	Names  []string `json:"names,omitempty"`

	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	DaysLeft  *int       `json:"days_left,omitempty"`
	// LastError says in words what went wrong, and what to do.
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	// Failures in a row.
	Failures int `json:"failures"`
	// NextTry is when it is ordered or renewed next.
	NextTry *time.Time `json:"next_try,omitempty"`
}

func (h *handler) certificates(w http.ResponseWriter, _ *http.Request) {
	var list []CertificateInfo
	if h.cfg.Certificates != nil {
		list = h.cfg.Certificates.Certificates()
	}
	answerList(h, w, "certificates", list)
}

func (h *handler) authority(w http.ResponseWriter, _ *http.Request) {
	var pem []byte
	if h.cfg.Certificates != nil {
		pem = h.cfg.Certificates.Authority()
	}
	if pem == nil {
		text(w, http.StatusNotFound, "this gateway has no authority of its own\n")
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="culvert-ca.pem"`)
	_, _ = w.Write(pem) // the client may have gone
}

var (
	descCertExpiry = prometheus.NewDesc("culvert_tls_certificate_expiry_timestamp_seconds",
		"When the certificate that is served for a name ends; no series while there is none.", []string{"name", "source"}, nil)
	descCertState = prometheus.NewDesc("culvert_tls_certificate_state",
		"1 for the state a certificate is in: valid, failing, expired, pending, fallback.", []string{"name", "source", "state"}, nil)
	descCertFailures = prometheus.NewDesc("culvert_tls_certificate_failures",
		"Failed tries to replace a certificate since the last success.", []string{"name", "source"}, nil)
	descOrders = prometheus.NewDesc("culvert_acme_orders_total",
		"Orders for certificates by result; refused: a client asked for a name that is not allowed.", []string{"result"}, nil)
)

// collectCertificates sends the series of certificates. Names are configured or allowed by the operator, and limited.
func collectCertificates(ch chan<- prometheus.Metric, s Snapshot) {
	seen := make(map[[2]string]bool)
	for _, c := range s.Certificates {
		if seen[[2]string{c.Name, c.Source}] { // two sources may stand for one name
			continue
		}
		seen[[2]string{c.Name, c.Source}] = true
		if c.NotAfter != nil {
			ch <- prometheus.MustNewConstMetric(descCertExpiry, prometheus.GaugeValue, float64(c.NotAfter.Unix()), c.Name, c.Source)
		}
		ch <- prometheus.MustNewConstMetric(descCertState, prometheus.GaugeValue, 1, c.Name, c.Source, c.State)
		ch <- prometheus.MustNewConstMetric(descCertFailures, prometheus.GaugeValue, float64(c.Failures), c.Name, c.Source)
	}
	for result, n := range s.Orders {
		ch <- prometheus.MustNewConstMetric(descOrders, prometheus.CounterValue, float64(n), result)
	}
}
