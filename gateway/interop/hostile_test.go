//go:build interop

package interop_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hostileConfig makes limits small enough to be reached and times short enough to be waited for. The running stream and the
// checks have the address 127.0.0.1, attackers others.
const hostileConfig = `limits:
  message: 2MiB
  partial: 4MiB
  handshake_timeout: 2s
  sniff_timeout: 2s
  write_timeout: 2s
  queue: 1MiB
  queue_close: 4MiB
  connections_per_address: 100
  tunnel: {sessions_per_address: 50, open_timeout: 2s, idle_timeout: 5s, head_timeout: 2s, body_timeout: 2s, hold: 100ms, hold_setup: 50ms, guess_delay: 50ms}
apps: {"*": {gop_cache: 1MiB}}`

// hostileCase is something that a peer may do. run does it and checks that it ends as it has to: the connection closed with one
// log line that has the reason, or an answer. counts is what the gateway must have counted for it, besides what run itself notes in the
// attacker's tally.
type hostileCase struct {
	name   string
	counts tally
	run    func(t *testing.T, a *attacker)
}

// silentCase is something that only time ends. begin does it; the connections must be closed by the gateway and logged with one of the words.
type silentCase struct {
	name   string
	counts tally // by then
	begin  func(t *testing.T, a *attacker) []*raw
	words  []string
}

// Every hostile case against one gateway, in two rounds. After each a new stream can be published and played, a stream that runs
// all the time loses no frame, and after the second round the gateway holds no more memory, descriptors and goroutines than
// after the first.
func TestHostile(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	s := serve(t, hostileConfig)
	book, books := keepLog(s), newLedger(t, s)
	beside := runStream(t, s, "beside", 20*time.Millisecond, "rtmp", "rtmpt")

	var levels [2]level
	for round := range levels {
		t.Run([]string{"first", "again"}[round], func(t *testing.T) { hostileRound(t, s, book, books, beside, round) })
		if round == 0 {
			levels[0] = settledLevel(t, s)
			continue
		}
		requireLevel(t, s, levels[0])
	}

	url := s.url(t, "rtmp", "last")
	p := playFFmpeg(t, url)
	publishFFmpeg(t, film.file(t), url).wait(t)
	p.require(t, film.media(t), anywhere, exact)
	beside.finish(t)
}

func hostileRound(t *testing.T, s *server, book *logbook, books *ledger, beside *running, round int) {
	t.Helper()
	next := 0
	newAttacker := func() *attacker {
		next++
		return &attacker{s, book, fmt.Sprintf("127.0.%d.%d", round+1, next), tally{}}
	}
	check := func(t *testing.T, name string) {
		t.Helper()
		transport := []string{"rtmp", "rtmp", "rtmp", "rtmpt"}[next%4]
		checkFresh(t, s.url(t, transport, "fresh-"+strings.ReplaceAll(name, " ", "-")))
		beside.check(t)
	}

	for _, c := range append(append(append([]hostileCase(nil), chunkCases...), commandCases...), append(mediaCases, webCases...)...) {
		t.Run(c.name, func(t *testing.T) {
			a := newAttacker()
			c.run(t, a)
			check(t, c.name)
			books.require(t, c.counts, a.counted)
		})
	}
	// Those that only time ends wait together; what is counted is the sum of them.
	silent, counts := map[string][]*raw{}, []tally(nil)
	for _, c := range silentCases {
		a := newAttacker()
		silent[c.name] = c.begin(t, a)
		counts = append(counts, c.counts, a.counted)
	}
	for _, c := range silentCases {
		t.Run(c.name, func(t *testing.T) {
			for _, conn := range silent[c.name] {
				conn.t = t
				conn.ends(c.words...)
			}
			check(t, c.name)
		})
	}
	books.require(t, counts...)
}

// level is what the gateway holds.
type level struct {
	memory      int64 // bytes: resident, 0 where the system does not tell; under the race detector heap and stacks in use
	goroutines  int
	descriptors int
	connections int
	collections int // of garbage, since the start
}

// measure asks the gateway. Asking makes garbage, so asking again and again makes it collect, and give memory back.
func measure(t *testing.T, s *server) level {
	t.Helper()
	metrics := s.get(t, "/metrics")
	metric := func(name string) int { return int(sumOf(t, metrics, name)) }
	memory := s.memory(t)
	if raceEnabled { // most of what is resident is the detector's, which grows with what was ever touched and gives nothing back
		memory = int64(metric("go_memstats_heap_inuse_bytes") + metric("go_memstats_stack_inuse_bytes"))
	}
	return level{
		memory:      memory,
		goroutines:  metric("go_goroutines"),
		descriptors: metric("process_open_fds"),
		connections: metric("culvert_connections"),
		collections: metric("go_gc_duration_seconds_count"),
	}
}

// settledLevel waits until what the round left behind has had time to go: the tunnel remembers ended sessions for 10 s, and memory
// is collected twice before the pools let go of theirs.
func settledLevel(t *testing.T, s *server) level {
	t.Helper()
	first := measure(t, s)
	begin := time.Now()
	var now level
	eventually(t, "garbage collections", func() bool {
		now = measure(t, s)
		return time.Since(begin) > 5*time.Second && now.collections >= first.collections+3
	})
	return now
}

// requireLevel waits until the gateway holds no more than before.
func requireLevel(t *testing.T, s *server, before level) {
	t.Helper()
	// Sockets and goroutines of the checks' last connections, and of the question itself, come and go.
	const few = 8
	// The heap is a saw: asking makes garbage until it is collected and given back. What counts is that it comes down again.
	allowed := before.memory + before.memory/10
	now := measure(t, s)
	t.Logf("after the first round %+v, after the second %+v", before, now)
	defer func() { t.Logf("in the end %+v", now) }()
	eventually(t, "the level after the first round", func() bool {
		now = measure(t, s)
		return now.memory <= allowed && now.goroutines <= before.goroutines+few &&
			now.descriptors <= before.descriptors+few && now.connections <= before.connections
	})
}
