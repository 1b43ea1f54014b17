package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"culvert/gateway/admin"
)

// certificates is what the handler shows in this test.
type certificates struct {
	list []admin.CertificateInfo
	pem  []byte
}

func (c certificates) Certificates() []admin.CertificateInfo { return c.list }
func (c certificates) Authority() []byte                     { return c.pem }

func TestCertificates(t *testing.T) {
	end, days := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), 12
	list := []admin.CertificateInfo{
		{Name: "a.example", Source: "acme", State: "failing", Issuer: "R1", Names: []string{"a.example"}, NotAfter: &end, DaysLeft: &days, LastError: "why", Failures: 3},
		{Name: "b.example", Source: "acme", State: "pending"},
		{Name: "b.example", Source: "acme", State: "pending"}, // a name twice must not break the scrape
	}
	g := &gateway{snapshot: admin.Snapshot{Certificates: list, Orders: map[string]uint64{"failed": 3}}}
	cfg := config(g)
	cfg.Certificates = certificates{list, []byte("PEM\n")}
	h := admin.New(cfg)
	_, header, body := get(t, h, http.MethodGet, "/api/v1/certificates")
	for _, part := range []string{
		`{"certificates":[{"name":"a.example","source":"acme","state":"failing","issuer":"R1","names":["a.example"],"not_after":"2027-01-02T03:04:05Z","days_left":12,"last_error":"why","failures":3},`,
		`{"name":"b.example","source":"acme","state":"pending","failures":0}`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("%s is missing in %s", part, body)
		}
	}
	if header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", header)
	}
	if code, _, body := get(t, h, http.MethodGet, "/ca.pem"); code != 200 || body != "PEM\n" {
		t.Errorf("/ca.pem: %d %q", code, body)
	}
	code, _, metrics := get(t, h, http.MethodGet, "/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, metrics)
	}
	for _, line := range []string{
		`culvert_tls_certificate_expiry_timestamp_seconds{name="a.example",source="acme"} 1.798859045e+09`,
		`culvert_tls_certificate_state{name="a.example",source="acme",state="failing"} 1`,
		`culvert_tls_certificate_failures{name="a.example",source="acme"} 3`,
		`culvert_tls_certificate_state{name="b.example",source="acme",state="pending"} 1`,
		`culvert_acme_orders_total{result="failed"} 3`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
	if strings.Contains(metrics, `expiry_timestamp_seconds{name="b.example"`) {
		t.Error("a certificate that is not there has an end")
	}
}

func TestNoCertificates(t *testing.T) {
	h := admin.New(config(new(gateway)))
	if _, _, body := get(t, h, http.MethodGet, "/api/v1/certificates"); body != "{\"certificates\":[]}\n" {
		t.Errorf("%s", body)
	}
	if code, _, _ := get(t, h, http.MethodGet, "/ca.pem"); code != 404 {
		t.Errorf("/ca.pem: %d", code)
	}
}
