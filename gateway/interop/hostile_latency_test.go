//go:build interop

package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// How late the frames of a running stream are at its 100 players: alone, while 1,000 hostile connections come at once and stay for as long as they
// are borne, and beside 1,000 that are made anew whenever they end. With CULVERT_HOSTILE_LATENCY=10s, which is how long each of thirty
// measurements lasts; without the race detector, on a machine that has nothing else to do. The figures are only printed: they are the machine's as
// much as the gateway's. Stream and players are a `culvert bench`, the crowd is a process too: none of them shares a process with what reads the
// gateway's log.
func TestHostileLatency(t *testing.T) {
	text := os.Getenv("CULVERT_HOSTILE_LATENCY")
	if text == "" {
		t.Skip("only with CULVERT_HOSTILE_LATENCY=10s or another duration")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain, key, _ := certificates(t, dir)
	config := filepath.Join(dir, "culvert.yaml")
	write(t, config, fmt.Sprintf(`log: {level: info, format: json}
listen: {rtmp: "127.0.0.1:0", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {mode: files, cert: %q, key: %q}
limits: {handshake_timeout: 2s, sniff_timeout: 2s, tunnel: {open_timeout: 2s, idle_timeout: 5s}}
`, chain, key))
	s := serveArgs(t, "serve", "-c", config)
	const rounds = 5
	for _, transport := range []string{"rtmp", "rtmpt"} {
		p99 := map[string][]float64{}
		for i := range rounds {
			for _, crowd := range []string{"", crowdAtOnce, crowdAnew} {
				url, made := s.url(t, transport, fmt.Sprint("stream", crowd, i)), ""
				if crowd == "" {
					p99[crowd] = append(p99[crowd], streamLatency(t, url, length))
					continue
				}
				c := start(t, "the crowd", []string{"chrt", "-i", "0", os.Args[0], "-test.run", "^TestHostileCrowd$", "-test.v"},
					env("CULVERT_HOSTILE_CROWD="+strings.Join([]string{crowd, s.addr(t, "rtmp"), s.addr(t, "http"), s.addr(t, "https")}, " "),
						"CULVERT_HOSTILE_LATENCY="+(length+6*time.Second).String()))
				p99[crowd] = append(p99[crowd], streamLatency(t, url, length))
				c.wait(t)
				_, made, _ = strings.Cut(c.out.String(), ".go:")
				t.Logf("%s: p99 %.1f ms alone, %.1f ms beside %s: %.60s", transport, p99[""][i], p99[crowd][i], crowd, made)
			}
		}
		alone := median(p99[""])
		for _, crowd := range []string{crowdAtOnce, crowdAnew} {
			ratios := make([]float64, rounds)
			for i, beside := range p99[crowd] {
				ratios[i] = beside / p99[""][i]
			}
			t.Logf("%s: medians of p99: %.1f ms alone, %.1f ms beside %s, ratio %.2f; median of the ratios of pairs %.2f",
				transport, alone, median(p99[crowd]), crowd, median(p99[crowd])/alone, median(ratios))
		}
	}
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// streamLatency returns the 99th percentile of the delays of video frames at 100 players in milliseconds.
func streamLatency(t *testing.T, url string, length time.Duration) float64 {
	t.Helper()
	out := run(t, "culvert bench", culvert(t), "bench", "fanout", url, "-n", "100", "-t", length.String(),
		"-q", "--json", "--min-idle", "-1", "--poll", "0s")
	var results []struct {
		Figures map[string]float64
		Invalid []string
	}
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if len(results[0].Invalid) > 0 {
		t.Errorf("%s: %v", url, results[0].Invalid)
	}
	return results[0].Figures["video_p99_ms"]
}

// pause lets time pass that is measured, not waited for.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// What the connections of a crowd do.
const (
	crowdAtOnce = "at-once"       // all come in the middle of the measurement
	crowdAnew   = "made-anew"     // each is followed by another
	crowdWaits  = 4 * time.Second // until the players are there and the measurement has begun
)

// crowdSize is how many hostile connections there are at a time.
const crowdSize = 1000

// TestHostileCrowd is not a test but the crowd of TestHostileLatency, in a process of its own that computes only where nobody else
// wants to: in life the crowd computes elsewhere.
func TestHostileCrowd(t *testing.T) {
	addrs := strings.Fields(os.Getenv("CULVERT_HOSTILE_CROWD"))
	if len(addrs) != 4 {
		t.Skip("started by TestHostileLatency")
	}
	kind, addrs := addrs[0], addrs[1:]
	length, err := time.ParseDuration(os.Getenv("CULVERT_HOSTILE_LATENCY"))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(length)
	if kind == crowdAtOnce {
		pause(crowdWaits)
	}
	var made, failed atomic.Int64
	var crowd sync.WaitGroup
	for i := range crowdSize {
		crowd.Go(func() { // ends with the time; waited below
			random := rand.New(rand.NewPCG(7, uint64(i)))
			// Not the players' address: what one address may have is the crowd's own affair.
			dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%200))}}
			for time.Now().Before(end) {
				trick := tricks[random.IntN(len(tricks))]
				conn, err := dialer.DialContext(context.Background(), "tcp", addrs[trick.listener])
				if err != nil {
					failed.Add(1)
					continue
				}
				made.Add(1)
				if kind == crowdAtOnce {
					playTrick(conn, trick.bytes, time.Until(end))
					return
				}
				playTrick(conn, trick.bytes, time.Duration(500+random.IntN(1000))*time.Millisecond)
			}
		})
	}
	crowd.Wait()
	t.Logf("%d connections in %v, %d could not be made", made.Load(), length, failed.Load())
}

// playTrick sends the bytes and stays until the gateway hangs up or the time is over.
func playTrick(conn net.Conn, b []byte, stay time.Duration) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(stay)) != nil {
		return
	}
	if _, err := conn.Write(b); err != nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// hello is what comes before a client's first message.
var hello = append([]byte{3}, make([]byte, 2*1536)...)

// tricks are what the crowd does: the shapes of TestHostile that one write can carry.
var tricks = []struct {
	listener int // 0 rtmp, 1 http, 2 https
	bytes    []byte
}{
	{0, nil},
	{0, hello[:1]},
	{0, hello[:700]},
	{0, hello[:1537]},
	{0, hello},
	{0, bytesOf(hello, setChunkSize(0))},
	{0, bytesOf(hello, header0(3, 0xFFFFFF, 20, 0))},
	{0, bytesOf(hello, []byte{0xC6}, make([]byte, 4096))},
	{0, bytesOf(hello, command(values("connect", 1.0), badValues["objects 10,000 deep"].value))},
	{0, bytesOf(hello, command(values("connect", 1.0), badValues["reference bomb"].value))},
	{0, bytesOf(hello, command(values("connect", 1.0, connectObject("rtmp://host/live"))), command(argument(badValues["strict array of 50,000"].value...)))},
	{0, bytesOf(hello, command(values("connect", 1.0, connectObject("rtmp://host/live"))), setChunkSize(65536), header0(9, 200_000, 20, 0), make([]byte, 65536), header0(10, 200_000, 20, 0), make([]byte, 65536))},
	{0, bytesOf(hello, command(values("connect", 1.0, connectObject("rtmp://host/live"))), command(values("createStream", 2.0, nil)), message0(3, 20, 1, values("publish", 3.0, nil, "measured", "live")))},
	{1, []byte("POST /open/1 HTTP/1.1\r\nX: y")},
	{1, []byte("POST /send/" + sessionID + "/0 HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n")},
	{1, []byte("POST /send/" + sessionID + "/0 HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")},
	{1, []byte("POST /send/" + sessionID + "/0 HTTP/1.1\r\nContent-Length: 100000\r\n\r\nabc")},
	{1, []byte("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("y", 10_000))},
	{1, []byte(strings.Repeat(openSession, 20))},
	{1, []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1234 1935\r\n\x03")},
	{2, []byte("\x16\x03\x01\x02\x00")},
	{2, append([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), make([]byte, 506)...)},
}

func bytesOf(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
