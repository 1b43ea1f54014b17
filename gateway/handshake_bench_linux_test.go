package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway"
	"culvert/testdata/pebble"
)

const (
	shakesInBlock = 300 // handshakes with one server before it is the other's turn
	shakers       = 4   // of them at a time
)

// BenchmarkHandshakes compares the gateway's TLS port, with a certificate from ACME, with a bare crypto/tls server that has the same key. The clients are
// another process; each operation is a block of handshakes with one server and a block with the other, first this one, then that one. x-bare is the median
// over these pairs of the gateway's handshakes per second divided by those of the bare server; cpu-x-bare compares the processor time of the servers alone,
// which the clients' own work does not blur.
//
//	go test -run '^$' -bench Handshakes -benchtime 20x ./gateway
func BenchmarkHandshakes(b *testing.B) {
	ca := pebble.New(b, pebble.Config{})
	cfg := acmeConfig(b, ca)
	g, err := gateway.New(cfg, gateway.Options{Log: zerolog.New(io.Discard).Level(zerolog.InfoLevel)})
	if err != nil {
		b.Fatal(err)
	}
	ca.Serve(port(b, g.Addr("http")), port(b, g.Addr("https")))
	run(b, g)
	certificate(b, g, ca.Host, in("valid"))
	servers := []string{bareServer(b, storedPair(b, cfg.TLS.Storage, ca.Host)), g.Addr("https").String()}
	clients := startShaker(b, ca)
	for _, kind := range []string{"full", "resumed"} {
		b.Run(kind, func(b *testing.B) {
			for _, addr := range servers {
				clients.block(b, kind, addr) // sessions begin, caches fill
			}
			var rates [2][]float64
			var ratios, cpuRatios []float64
			for i := 0; b.Loop(); i++ {
				var cpu [2]time.Duration
				for j := range servers {
					s := (i + j) % 2
					before := processorTime(b)
					took := clients.block(b, kind, servers[s])
					cpu[s] = processorTime(b) - before
					rates[s] = append(rates[s], shakesInBlock/took.Seconds())
				}
				ratios = append(ratios, rates[1][i]/rates[0][i])
				cpuRatios = append(cpuRatios, float64(cpu[0])/float64(cpu[1]))
			}
			b.ReportMetric(median(rates[0]), "bare/s")
			b.ReportMetric(median(rates[1]), "culvert/s")
			b.ReportMetric(median(ratios), "x-bare")
			b.ReportMetric(median(cpuRatios), "cpu-x-bare")
		})
	}
}

// processorTime is what this process, in which both servers are, has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
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

// shaker is the process with the clients.
type shaker struct {
	orders  io.WriteCloser
	answers *bufio.Reader
}

func startShaker(b *testing.B, ca *pebble.CA) *shaker {
	b.Helper()
	roots := filepath.Join(b.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, ca.Roots(), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestShaker$", ca.Host, roots) // ends with its input
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	s := &shaker{orders, bufio.NewReader(answers)}
	b.Cleanup(func() {
		orders.Close()
		_, _ = io.Copy(io.Discard, s.answers) // what the test framework says at its end
		if err := cmd.Wait(); err != nil {
			b.Errorf("the clients: %v", err)
		}
	})
	return s
}

// block has a number of handshakes done and returns how long they took.
func (s *shaker) block(b *testing.B, kind, addr string) (took time.Duration) {
	b.Helper()
	if _, err := fmt.Fprintln(s.orders, kind, addr); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(s.answers, &took); err != nil {
		b.Fatalf("the clients do not answer: %v", err)
	}
	return took
}

// TestShaker is the process with the clients of BenchmarkHandshakes: it does a block of handshakes for each line that it reads, and writes how many
// nanoseconds it took.
func TestShaker(t *testing.T) {
	args := flag.Args()
	if len(args) != 2 {
		t.Skip("a program for a benchmark")
	}
	roots, err := os.ReadFile(args[1])
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{ServerName: args[0], RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(roots)
	sessions := make(map[string]*tls.Config) // by address of the server
	for {
		var kind, addr string
		if _, err := fmt.Scanln(&kind, &addr); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		client := config
		if kind == "resumed" {
			if sessions[addr] == nil {
				sessions[addr] = resuming(t, addr, config)
			}
			client = sessions[addr]
		}
		var clients sync.WaitGroup
		began := time.Now()
		for range shakers {
			clients.Go(func() {
				for range shakesInBlock / shakers {
					if state := shake(t, addr, client); state.DidResume != (kind == "resumed") {
						t.Errorf("resumed: %v", state.DidResume)
					}
				}
			})
		}
		clients.Wait()
		fmt.Println(time.Since(began).Nanoseconds())
	}
}

func shake(t *testing.T, addr string, config *tls.Config) (state tls.ConnectionState) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Error(err)
		return state
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState()
}

// session is a cache that always has the same session.
type session struct{ state *tls.ClientSessionState }

func (s *session) Get(string) (*tls.ClientSessionState, bool) { return s.state, s.state != nil }
func (s *session) Put(string, *tls.ClientSessionState)        {}

// firstSession is a cache that keeps the first session.
type firstSession struct{ session }

func (s *firstSession) Put(_ string, state *tls.ClientSessionState) {
	if s.state == nil {
		s.state = state
	}
}

// resuming connects once, waits for the ticket and returns a configuration that always resumes with it.
func resuming(t *testing.T, addr string, config *tls.Config) *tls.Config {
	t.Helper()
	first := new(firstSession)
	config = config.Clone()
	config.ClientSessionCache = first
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // a broken conn shows below
	_, _ = conn.Read(make([]byte, 1))                     // the ticket comes with the first read, and nothing else
	if first.state == nil {
		t.Fatal("no ticket")
	}
	config.ClientSessionCache = &first.session
	return config
}
