package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/client"
	"culvert/rtmpcore/chunk"
	"culvert/testdata/pebble"
)

// BenchmarkHandshakes compares the gateway's TLS port, with a certificate from ACME, with a bare crypto/tls server that has the same key: one connection,
// handshake and close after the other.
func BenchmarkHandshakes(b *testing.B) {
	ca := pebble.New(b, pebble.Config{})
	cfg := acmeConfig(b, ca)
	g, err := gateway.New(cfg, gateway.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ca.Serve(port(b, g.Addr("http")), port(b, g.Addr("https")))
	run(b, g)
	certificate(b, g, ca.Host, in("valid"))
	bare := bareServer(b, storedPair(b, cfg.TLS.Storage, ca.Host))
	for _, server := range []struct{ name, addr string }{{"bare", bare}, {"culvert", g.Addr("https").String()}} {
		for _, resumed := range []bool{false, true} {
			name := server.name + "/full"
			config := clientTLS(ca)
			if resumed {
				name = server.name + "/resumed"
				config.ClientSessionCache = oneSession(b, server.addr, config)
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if state := shake(b, server.addr, config); state.DidResume != resumed {
						b.Fatalf("resumed: %v", state.DidResume)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
			})
		}
	}
}

func shake(b *testing.B, addr string, config *tls.Config) tls.ConnectionState {
	b.Helper()
	raw, err := new(net.Dialer).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	conn.Close()
	return conn.ConnectionState()
}

// storedPair reads the one certificate that certmagic has stored.
func storedPair(b *testing.B, storage, name string) tls.Certificate {
	b.Helper()
	found, err := filepath.Glob(filepath.Join(storage, "acme", "certificates", "*", name, name+".crt"))
	if err != nil || len(found) != 1 {
		b.Fatal(found, err)
	}
	pair, err := tls.LoadX509KeyPair(found[0], strings.TrimSuffix(found[0], ".crt")+".key")
	if err != nil {
		b.Fatal(err)
	}
	return pair
}

// bareServer does with each connection what crypto/tls needs and no more.
func bareServer(b *testing.B, pair tls.Certificate) string {
	b.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	return backend(b, func(c *net.TCPConn) {
		conn := tls.Server(c, config)
		if conn.HandshakeContext(context.Background()) == nil {
			_, _ = conn.Read(make([]byte, 1)) // until the client closes
		}
	})
}

// session is a cache that always has the same session.
type session struct{ state *tls.ClientSessionState }

func (s *session) Get(string) (*tls.ClientSessionState, bool) { return s.state, s.state != nil }
func (s *session) Put(_ string, state *tls.ClientSessionState) {
	if s.state == nil {
		s.state = state
	}
}

// oneSession connects once and waits for the ticket.
func oneSession(b *testing.B, addr string, config *tls.Config) *session {
	b.Helper()
	cache := new(session)
	first := config.Clone()
	first.ClientSessionCache = cache
	conn, err := (&tls.Dialer{Config: first}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // a broken conn shows below
	_, _ = conn.Read(make([]byte, 1))                     // the ticket comes with the first read, and nothing else
	if cache.state == nil {
		b.Fatal("no ticket")
	}
	return cache
}

// BenchmarkRenewalLatency measures how long a frame of 4 KiB takes from a publisher to a player, both over RTMPS, 200 of them a second, without renewals and
// with one after the other. Run it with -benchtime=2000x or more. The authority runs in the same process and takes its share.
func BenchmarkRenewalLatency(b *testing.B) {
	for _, life := range []time.Duration{0, 2 * time.Second} {
		name := "no renewal"
		if life > 0 {
			name = "renewals"
		}
		b.Run(name, func(b *testing.B) { renewalLatency(b, life) })
	}
}

const frameEvery = 5 * time.Millisecond

func renewalLatency(b *testing.B, life time.Duration) {
	b.Helper()
	ca := pebble.New(b, pebble.Config{Life: life})
	cfg := acmeConfig(b, ca)
	cfg.TLS.ACME.Client = configs.ACMEAutocert // renews when two thirds are over, not at a random time
	g, err := gateway.New(cfg, gateway.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ca.Serve(port(b, g.Addr("http")), port(b, g.Addr("https")))
	run(b, g)
	certificate(b, g, ca.Host, in("valid"))
	opts := client.Options{TLS: clientTLS(ca)}
	opts.TLS.InsecureSkipVerify = true //nolint:gosec // certificates that end within seconds
	tg := target(b, url(g, "rtmps", "live/latency"))
	publisher, err := client.Connect(b.Context(), tg, opts)
	if err != nil {
		b.Fatal(err)
	}
	defer publisher.Close()
	player, err := client.Connect(b.Context(), tg, opts)
	if err != nil {
		b.Fatal(err)
	}
	out, err := publisher.CreateStream(b.Context())
	if err == nil {
		err = publisher.Publish(b.Context(), out, tg.Name)
	}
	var id uint32
	if err == nil {
		id, err = player.CreateStream(b.Context())
	}
	if err == nil {
		err = player.Play(b.Context(), id, tg.Name)
	}
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var delays []time.Duration
	var arrived atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			m, err := player.ReadMessage()
			if err != nil {
				return // closed below
			}
			if p := m.Bytes(); m.TypeID == 9 && len(p) > 13 {
				delays = append(delays, time.Since(began)-time.Duration(binary.BigEndian.Uint64(p[5:])))
				arrived.Add(1)
			}
			m.Release()
		}
	})
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for i := range b.N {
		<-tick.C
		payload := make([]byte, 4<<10)
		payload[0], payload[1] = 0x17, 1 // AVC, key frame
		binary.BigEndian.PutUint64(payload[5:], uint64(time.Since(began)))
		if err := publisher.Send(chunk.NewMessage(9, out, chunk.Timestamp(i*int(frameEvery/time.Millisecond)), payload)); err != nil {
			b.Fatal(err)
		}
	}
	if err := publisher.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	eventually(b, "all frames", func() bool { return arrived.Load() == int64(b.N) })
	player.Close()
	reading.Wait()
	slices.Sort(delays)
	_, metrics := get(b, g.Addr("admin"), "/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, `culvert_acme_orders_total{result="succeeded"}`) {
			b.Log(strings.TrimSpace(line))
		}
	}
	ms := func(p float64) float64 { return delays[int(p*float64(len(delays)-1))].Seconds() * 1000 }
	b.ReportMetric(ms(0.5), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
	b.ReportMetric(ms(0.999), "p99.9-ms")
	b.ReportMetric(ms(1), "max-ms")
}
