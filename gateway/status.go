package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"culvert/gateway/admin"
)

// WriteStatus writes for people what the admin listener answers to /api/v1/certificates: a paragraph for each certificate. The error says how many need
// somebody.
func WriteStatus(w io.Writer, body []byte, now time.Time) error {
	var answer struct {
		Certificates []admin.CertificateInfo `json:"certificates"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the gateway's answer cannot be read: %w", err)
	}
	list := answer.Certificates
	var text bytes.Buffer
	bad := writeCertificates(&text, list, now)
	if _, err := text.WriteTo(w); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d certificates need attention", bad, len(list))
	}
	return nil
}

// writeCertificates returns how many need somebody.
func writeCertificates(w *bytes.Buffer, list []admin.CertificateInfo, now time.Time) (bad int) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no certificates: tls.mode is off")
	}
	for _, c := range list {
		fmt.Fprintf(w, "\n%s  (%s)\n", c.Name, c.Source)
		fmt.Fprintf(w, "  state      %s\n", stateWords(c))
		if c.NotAfter != nil {
			fmt.Fprintf(w, "  issuer     %s\n", c.Issuer)
			fmt.Fprintf(w, "  names      %s\n", strings.Join(c.Names, ", "))
			fmt.Fprintf(w, "  ends       %s, %s\n", c.NotAfter.Local().Format(time.DateTime), fromNow(c.NotAfter.Sub(now)))
		}
		if c.LastError != "" {
			at := ""
			if c.LastErrorAt != nil {
				at = " (" + fromNow(c.LastErrorAt.Sub(now)) + ", " + times(c.Failures) + ")"
			}
			fmt.Fprintf(w, "  problem    %s%s\n", c.LastError, at)
		}
		if c.NextTry != nil {
			what := "renewal   "
			if c.Failures > 0 || c.NotAfter == nil {
				what = "next try  "
			}
			fmt.Fprintf(w, "  %s %s\n", what, fromNow(c.NextTry.Sub(now)))
		}
		if c.State == "expired" || c.State == "fallback" {
			bad++
		}
	}
	return bad
}

func stateWords(c admin.CertificateInfo) string {
	switch c.State {
	case "valid":
		return "valid"
	case "failing":
		return "valid, but its renewal fails"
	case "expired":
		return "EXPIRED, and still served because nothing replaced it"
	case "pending":
		return "being ordered; clients get the internal certificate until then"
	case "fallback":
		return "NOT OBTAINED; clients get the internal certificate"
	}
	return c.State
}

func times(n int) string {
	if n <= 1 {
		return "once"
	}
	return fmt.Sprintf("%d times in a row", n)
}

// fromNow says a distance in time in words.
func fromNow(d time.Duration) string {
	past := d < 0
	d = d.Abs()
	var text string
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		text = fmt.Sprintf("%d seconds", int(d.Seconds()))
	case d < 2*time.Hour:
		text = fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		text = fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		text = fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}
