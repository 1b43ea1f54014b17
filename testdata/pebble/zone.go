package pebble

import (
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// Zone is a primary name server for one zone. It takes dynamic updates (RFC 2136) that are signed with its key, and the authority sees what they change.
type Zone struct {
	Addr    string // host:port, UDP and TCP
	Name    string // with the final dot
	Key     string // name of the TSIG key
	Secret  string // base64
	Updates atomic.Uint64

	ca *CA
}

// Zone starts a primary server that ends with the test.
func (c *CA) Zone(tb testing.TB, name string) *Zone {
	tb.Helper()
	z := &Zone{Name: dns.Fqdn(name), Key: "culvert.", Secret: "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", ca: c}
	z.Addr = serveDNS(tb, z, map[string]string{z.Key: z.Secret})
	return z
}

// ServeDNS implements [dns.Handler].
func (z *Zone) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	switch {
	case r.Opcode == dns.OpcodeUpdate:
		z.update(w, r, m)
	case len(r.Question) == 1:
		z.answer(r.Question[0], m)
	}
	if r.IsTsig() != nil && w.TsigStatus() == nil {
		m.SetTsig(z.Key, dns.HmacSHA256, 300, int64(r.IsTsig().TimeSigned))
	}
	_ = w.WriteMsg(m) // the client may have gone
}

func (z *Zone) update(w dns.ResponseWriter, r, m *dns.Msg) {
	if r.IsTsig() == nil || w.TsigStatus() != nil {
		m.Rcode = dns.RcodeNotAuth
		return
	}
	z.Updates.Add(1)
	for _, rr := range r.Ns {
		txt, ok := rr.(*dns.TXT)
		switch {
		case !ok:
		case rr.Header().Class == dns.ClassINET:
			z.ca.addTXT(rr.Header().Name, txt.Txt[0])
		case rr.Header().Class == dns.ClassNONE:
			z.ca.removeTXT(rr.Header().Name, txt.Txt[0])
		}
	}
}

func (z *Zone) answer(q dns.Question, m *dns.Msg) {
	soa := &dns.SOA{
		Hdr: dns.RR_Header{Name: z.Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:  "ns." + z.Name, Mbox: "hostmaster." + z.Name, Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 1,
	}
	if q.Qtype == dns.TypeSOA && q.Name == z.Name {
		m.Answer = append(m.Answer, soa)
		return
	}
	if q.Qtype == dns.TypeTXT {
		for _, v := range z.ca.Names.GetDNSTXTRecords(q.Name) {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{v}})
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
		if q.Qtype == dns.TypeSOA {
			m.Rcode = dns.RcodeNameError
		}
	}
}

// Set adds (present) or removes (cleanup) a TXT record, for providers that tests write.
func (z *Zone) Set(action, name, value string) {
	z.Updates.Add(1)
	if action == "present" {
		z.ca.addTXT(dns.Fqdn(name), value)
		return
	}
	z.ca.removeTXT(dns.Fqdn(name), value)
}
