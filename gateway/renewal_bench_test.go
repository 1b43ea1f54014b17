package gateway_test

import (
	"encoding/binary"
	"slices"
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

const (
	frameEvery = time.Millisecond
	frameSize  = 4 << 10
	// Both belong to a renewal's window: a key is made before the order, and the question when to renew next follows it.
	beforeOrder, afterOrder = 50 * time.Millisecond, 100 * time.Millisecond
)

// BenchmarkRenewalLatency measures what a renewal costs a running stream: how long frames take from a publisher to a player, both over RTMPS, a thousand a
// second. Each operation is a renewal, from before its order to after its last request, and a window of the same length before it without one. spike-ms
// is the median over these pairs of the longest delay in the one less the longest in the other; worst-spike-ms is the longest delay in any renewal less the
// longest in any other window. The authority runs in the same process and takes its share.
//
//	go test -run '^$' -bench RenewalLatency -benchtime 10x ./gateway
func BenchmarkRenewalLatency(b *testing.B) {
	for _, name := range acmeClients {
		b.Run(string(name), func(b *testing.B) {
			cfg := pebble.Config{Life: 12 * time.Second} // autocert renews when two thirds of the life are over
			if name == configs.ACMECertmagic {
				cfg.Life = 0
			}
			ca := pebble.New(b, cfg)
			if name == configs.ACMECertmagic {
				ca.RenewIn(3 * time.Second) // certmagic asks
			}
			renewalLatency(b, ca, name)
		})
	}
}

func renewalLatency(b *testing.B, ca *pebble.CA, name configs.ACMEClient) {
	b.Helper()
	cfg := acmeConfig(b, ca)
	cfg.TLS.ACME.Client = name
	g, err := gateway.New(cfg, gateway.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ca.Serve(port(b, g.Addr("http")), port(b, g.Addr("https")))
	run(b, g)
	certificate(b, g, ca.Host, in("valid"))
	stream := startStream(b, g, ca)
	var quiet, renewing []time.Duration
	settled(b, ca)
	for last := time.Now(); b.Loop(); {
		begin, end := renewal(b, g, ca)
		window := end.Sub(begin)
		if begin.Sub(last) < window {
			b.Fatalf("a renewal took %v, %v after the one before: too long to compare", window, begin.Sub(last))
		}
		quiet = append(quiet, stream.longest(b, begin.Add(-window), begin))
		renewing = append(renewing, stream.longest(b, begin, end))
		last = end
	}
	stream.stop()
	spikes := make([]float64, len(quiet))
	for i := range spikes {
		spikes[i] = milliseconds(renewing[i] - quiet[i])
	}
	b.ReportMetric(median(spikes), "spike-ms")
	b.ReportMetric(milliseconds(slices.Max(renewing)-slices.Max(quiet)), "worst-spike-ms")
	b.ReportMetric(milliseconds(slices.Max(quiet)), "quiet-max-ms")
	b.ReportMetric(milliseconds(slices.Max(renewing)), "renewal-max-ms")
	b.ReportMetric(milliseconds(stream.middle()), "p50-ms")
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// renewal waits for the next renewal and returns when it began and ended.
func renewal(b *testing.B, g *gateway.Gateway, ca *pebble.CA) (begin, end time.Time) {
	b.Helper()
	served := func() time.Time {
		for _, c := range g.Certificates() {
			if c.Source == "acme" {
				return *c.NotAfter
			}
		}
		b.Fatal("no certificate")
		return time.Time{}
	}
	before, ordered := served(), ca.Orders.Load()
	eventually(b, "an order", func() bool { return ca.Orders.Load() != ordered })
	begin = time.Now().Add(-beforeOrder)
	eventually(b, "a renewal", func() bool { return !served().Equal(before) })
	settled(b, ca)
	return begin, time.Now()
}

// settled waits until the authority has been left in peace for a while.
func settled(b *testing.B, ca *pebble.CA) {
	b.Helper()
	asked, since := ca.Requests.Load(), time.Now()
	eventually(b, "an end of requests", func() bool {
		if n := ca.Requests.Load(); n != asked {
			asked, since = n, time.Now()
		}
		return time.Since(since) > afterOrder
	})
}

// watched is a publisher and a player of it.
type watched struct {
	stop func()

	mu sync.Mutex
	// guarded by mu
	frames []sample
}

// sample says when a frame was sent and how long it took.
type sample struct {
	at    time.Time
	delay time.Duration
}

func startStream(b *testing.B, g *gateway.Gateway, ca *pebble.CA) *watched {
	b.Helper()
	opts := client.Options{TLS: clientTLS(ca)}
	opts.TLS.InsecureSkipVerify = true //nolint:gosec // certificates that end within seconds
	tg := target(b, url(g, "rtmps", "live/latency"))
	publisher, err := client.Connect(b.Context(), tg, opts)
	if err != nil {
		b.Fatal(err)
	}
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
	s := new(watched)
	began := time.Now()
	var stopping atomic.Bool
	var work sync.WaitGroup
	work.Go(func() { // ends when stop closes the player
		for {
			m, err := player.ReadMessage()
			if err != nil {
				if !stopping.Load() {
					b.Errorf("play: %v", err)
				}
				return
			}
			if p := m.Bytes(); m.TypeID == 9 && len(p) == frameSize {
				sent := time.Duration(binary.BigEndian.Uint64(p[5:]))
				s.mu.Lock()
				s.frames = append(s.frames, sample{began.Add(sent), time.Since(began) - sent})
				s.mu.Unlock()
			}
			m.Release()
		}
	})
	work.Go(func() { // ends when stop says so
		tick := time.NewTicker(frameEvery)
		defer tick.Stop()
		for !stopping.Load() {
			<-tick.C
			payload := make([]byte, frameSize)
			payload[0], payload[1] = 0x17, 1 // AVC, key frame
			sent := time.Since(began)
			binary.BigEndian.PutUint64(payload[5:], uint64(sent))
			if err := publisher.Send(chunk.NewMessage(9, out, chunk.Timestamp(sent.Milliseconds()), payload)); err != nil {
				if !stopping.Load() {
					b.Errorf("publish: %v", err)
				}
				return
			}
		}
	})
	s.stop = sync.OnceFunc(func() {
		stopping.Store(true)
		publisher.Close()
		player.Close()
		work.Wait()
	})
	b.Cleanup(s.stop)
	return s
}

// longest returns the longest delay of the frames that were sent between two times.
func (s *watched) longest(b *testing.B, from, to time.Time) (longest time.Duration) {
	b.Helper()
	eventually(b, "the last frame of a window", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.frames) > 0 && s.frames[len(s.frames)-1].at.After(to)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.frames {
		if f.at.Before(from) || f.at.After(to) {
			continue
		}
		n++
		longest = max(longest, f.delay)
	}
	if want := int(to.Sub(from) / frameEvery / 2); n < want {
		b.Errorf("%d frames in %v, want %d at least", n, to.Sub(from), want)
	}
	return longest
}

// middle returns the median delay of all frames.
func (s *watched) middle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	delays := make([]time.Duration, len(s.frames))
	for i, f := range s.frames {
		delays[i] = f.delay
	}
	slices.Sort(delays)
	return delays[len(delays)/2]
}
