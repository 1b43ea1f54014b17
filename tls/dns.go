package tlsconf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"go.uber.org/zap"
)

// DNS is how the DNS-01 challenge (RFC 8555 §8.4) sets its TXT records. Any provider of github.com/libdns works; [RFC2136], [Webhook] and [Exec] are those
// of this package.
type DNS struct {
	Provider certmagic.DNSProvider
	// Resolvers are the servers, as host:port, that find the zone and look for the record. None: those of the system, and the zone's own.
	Resolvers []string
	// Propagation is how long the record may take until all of the zone's servers have it; 0 means two minutes, below zero it is not waited for.
	Propagation time.Duration
	// Delegate is the name that _acme-challenge of all names is an alias (CNAME) for; empty: the records are set where they belong.
	Delegate string
}

const recordTTL = time.Minute

func (d *DNS) solver(logger *zap.Logger) *certmagic.DNS01Solver {
	wait := d.Propagation
	if wait < 0 {
		wait = -1
	}
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider:        d.Provider,
		TTL:                recordTTL,
		PropagationTimeout: wait,
		Resolvers:          d.Resolvers,
		OverrideDomain:     d.Delegate,
		Logger:             logger,
	}}
}

// try sets and removes a record beside that of the challenge.
func (d *DNS) try(ctx context.Context, name string) error {
	full := "_culvert-check." + name
	if d.Delegate != "" {
		full = d.Delegate
	}
	zone, err := certmagic.FindZoneByFQDN(ctx, zap.NewNop(), full, certmagic.RecursiveNameservers(d.Resolvers))
	if err != nil {
		return fmt.Errorf("the zone of %s cannot be found: %w", full, err)
	}
	records := []libdns.Record{libdns.RR{Type: "TXT", Name: libdns.RelativeName(full+".", zone), Data: "culvert check", TTL: recordTTL}}
	set, err := d.Provider.AppendRecords(ctx, zone, records)
	if err != nil {
		return err
	}
	if len(set) != len(records) {
		return errors.New("the provider set no record")
	}
	_, err = d.Provider.DeleteRecords(ctx, zone, set)
	return err
}
