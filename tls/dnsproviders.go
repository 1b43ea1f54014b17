package tlsconf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// dnsTimeout bounds one change of a record by a provider.
const dnsTimeout = 60 * time.Second

// RFC2136 changes records with dynamic updates (RFC 2136), signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others take them.
type RFC2136 struct {
	Server    string // host or host:port of the zone's primary server
	KeyName   string // name of the TSIG key; empty: not signed
	Algorithm string // such as hmac-sha256, which is the default
	Secret    string // the key in base64
}

// AppendRecords implements [libdns.RecordAppender].
func (p *RFC2136) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Insert)
}

// DeleteRecords implements [libdns.RecordDeleter].
func (p *RFC2136) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Remove)
}

func (p *RFC2136) update(ctx context.Context, zone string, records []libdns.Record, change func(*dns.Msg, []dns.RR)) ([]libdns.Record, error) {
	msg := new(dns.Msg)
	msg.SetUpdate(dns.Fqdn(zone))
	var rrs []dns.RR
	for _, r := range records {
		rr := r.RR()
		rrs = append(rrs, &dns.TXT{
			Hdr: dns.RR_Header{Name: dns.Fqdn(libdns.AbsoluteName(rr.Name, zone)), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(rr.TTL.Seconds())},
			Txt: []string{rr.Data},
		})
	}
	change(msg, rrs)
	client := &dns.Client{Net: "tcp", Timeout: dnsTimeout}
	if p.KeyName != "" {
		algorithm := p.Algorithm
		if algorithm == "" {
			algorithm = dns.HmacSHA256
		}
		key := strings.ToLower(dns.Fqdn(p.KeyName))
		msg.SetTsig(key, dns.Fqdn(algorithm), 300, time.Now().Unix())
		client.TsigSecret = map[string]string{key: p.Secret}
	}
	server := p.Server
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	answer, _, err := client.ExchangeContext(ctx, msg, server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("dns update of %s at %s: %w", zone, server, err)
	case answer.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("dns update of %s at %s is refused: %s", zone, server, dns.RcodeToString[answer.Rcode])
	}
	return records, nil
}

// Webhook changes records with a request to a server of the operator's own: POST with a JSON object of action (present or cleanup), zone, name (with
// the zone, without a final dot), type, value and ttl (seconds). Any 2xx is success.
type Webhook struct {
	URL    string
	Token  string // sent as Authorization: Bearer; empty: none
	Client *http.Client
}

// AppendRecords implements [libdns.RecordAppender].
func (p *Webhook) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.each(ctx, "present", zone, records)
}

// DeleteRecords implements [libdns.RecordDeleter].
func (p *Webhook) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.each(ctx, "cleanup", zone, records)
}

func (p *Webhook) each(ctx context.Context, action, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for _, r := range records {
		if err := p.post(ctx, action, zone, r.RR()); err != nil {
			return nil, fmt.Errorf("dns webhook: %w", err)
		}
	}
	return records, nil
}

func (p *Webhook) post(ctx context.Context, action, zone string, rr libdns.RR) error {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	body, err := json.Marshal(struct {
		Action string `json:"action"`
		Zone   string `json:"zone"`
		Name   string `json:"name"`
		Type   string `json:"type"`
		Value  string `json:"value"`
		TTL    int    `json:"ttl"`
	}{action, strings.TrimSuffix(zone, "."), recordName(rr, zone), rr.Type, rr.Data, int(rr.TTL.Seconds())})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // as much as there is
		return fmt.Errorf("%s answers %s: %s", p.URL, resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// Exec changes records with a program: COMMAND present|cleanup NAME VALUE, with the same and the zone in CULVERT_DNS_ACTION, CULVERT_DNS_NAME,
// CULVERT_DNS_VALUE and CULVERT_DNS_ZONE. Exit code 0 is success.
type Exec struct{ Command []string }

// AppendRecords implements [libdns.RecordAppender].
func (p *Exec) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.each(ctx, "present", zone, records)
}

// DeleteRecords implements [libdns.RecordDeleter].
func (p *Exec) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.each(ctx, "cleanup", zone, records)
}

func (p *Exec) each(ctx context.Context, action, zone string, records []libdns.Record) ([]libdns.Record, error) {
	if len(p.Command) == 0 {
		return nil, errors.New("dns program: none is named")
	}
	for _, r := range records {
		if err := p.run(ctx, action, zone, r.RR()); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (p *Exec) run(ctx context.Context, action, zone string, rr libdns.RR) error {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	name := recordName(rr, zone)
	args := append(append([]string(nil), p.Command[1:]...), action, name, rr.Data)
	cmd := exec.CommandContext(ctx, p.Command[0], args...)
	cmd.Env = append(os.Environ(), "CULVERT_DNS_ACTION="+action, "CULVERT_DNS_NAME="+name, "CULVERT_DNS_VALUE="+rr.Data, "CULVERT_DNS_ZONE="+strings.TrimSuffix(zone, "."))
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dns program %s %s %s: %w: %s", p.Command[0], action, name, err, bytes.TrimSpace(out[:min(len(out), 200)]))
	}
	return nil
}

// recordName returns the whole name of a record without the final dot.
func recordName(rr libdns.RR, zone string) string {
	return strings.TrimSuffix(libdns.AbsoluteName(rr.Name, zone), ".")
}
