package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// Every setting under limits that refuses something is gone up to and one beyond in a gateway: what is within goes on, what is
// beyond is counted by its reason and has one line in the log that says why.

// limited is a gateway whose limits are being tried.
type limited struct {
	*gateway.Gateway

	log *logBuffer
}

func startLimited(t *testing.T, change func(l *configs.Limits)) limited {
	t.Helper()
	cfg, log := config(t), new(logBuffer)
	change(&cfg.Limits)
	cfg.Shutdown.Drain = 0 // sessions that were only opened are left behind
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})
	return limited{g, log}
}

// lines are the log lines about a client that have the words. The end of a session in the tunnel has a line of its own beneath
// that of the RTMP connection in it.
func (g limited) lines(remote, words string) (found []string) {
	beneath := ""
	for line := range strings.Lines(g.log.String()) {
		var entry struct {
			Message, Remote, Reason, Error string
			Refused                        int
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Remote != remote || !strings.Contains(entry.Reason+" "+entry.Error, words) || entry.Refused > 0 {
			continue
		}
		if entry.Message == "tunnel session ended" {
			beneath = line
		} else {
			found = append(found, line)
		}
	}
	if len(found) == 0 && beneath != "" {
		found = append(found, beneath)
	}
	return found
}

// alarm waits for the line that tells the operator, who does not debug, that a limit was reached and which setting raises it.
func (g limited) alarm(t *testing.T, reason, setting, remote string) {
	t.Helper()
	setting = "limits." + strings.TrimSuffix(setting, " in TLS")
	eventually(t, fmt.Sprintf("a warning that names %s", setting), func() bool {
		for line := range strings.Lines(g.log.String()) {
			var entry struct {
				Level, Reason, Setting, Address, Remote string
				Refused                                 int
			}
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Refused == 0 || entry.Reason != reason {
				continue
			}
			named := slices.Contains(strings.Split(entry.Setting, ", "), setting)
			each := strings.HasSuffix(setting, "_per_address") || strings.HasSuffix(setting, "guesses")
			if entry.Level != "warn" || entry.Refused != 1 || entry.Remote != remote || !named || (entry.Address == "127.0.0.1") != each {
				t.Errorf("%s, of %s: %s", setting, remote, line)
			}
			return true
		}
		return false
	})
}

// refused waits until a reason is counted once more than before, and requires one line that says why.
func (g limited) refused(t *testing.T, before map[string]uint64, reason, remote, words string) {
	t.Helper()
	waitForRejected(t, g.Gateway, reason, before[reason]+1)
	eventually(t, fmt.Sprintf("a line about %s with %q", remote, words), func() bool { return len(g.lines(remote, words)) > 0 })
	after := g.Snapshot().Rejected
	for name, n := range after {
		if name == reason {
			n--
		}
		if n != before[name] {
			t.Errorf("%s was counted %d times, %s is expected once", name, n-before[name], reason)
		}
	}
	if lines := g.lines(remote, words); len(lines) != 1 {
		t.Errorf("%d lines about %s say %q:\n%s", len(lines), remote, words, g.log)
	}
	waitForMetric(t, g.Gateway, fmt.Sprintf("culvert_rejected_total{reason=%q} %d\n", reason, after[reason]))
}

// byHand is a connection whose bytes a test writes by hand.
type byHand struct {
	net.Conn
	t *testing.T
}

func (g limited) dial(t *testing.T, listener string) byHand {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr(listener).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return byHand{conn, t}
}

func (c byHand) remote() string { return c.LocalAddr().String() }

// write writes; the gateway may have hung up already, which shows elsewhere.
func (c byHand) write(parts ...[]byte) {
	for _, b := range parts {
		_, _ = c.Write(b)
	}
}

// await reads until a word has come.
func (c byHand) await(word string) {
	c.t.Helper()
	var got []byte
	buf := make([]byte, 32<<10)
	for !bytes.Contains(got, []byte(word)) {
		n, err := c.Read(buf)
		if err != nil {
			c.t.Fatalf("no %q: %v, got %q", word, err, got)
		}
		got = append(got, buf[:n]...)
	}
}

// ends reads until the gateway has hung up.
func (c byHand) ends() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("the connection was not closed: %v", err)
	}
}

// session does the handshake and connects.
func (c byHand) session() {
	c.t.Helper()
	if _, err := handshake.Client(c, handshake.ClientConfig{}); err != nil {
		c.t.Fatal(err)
	}
	c.write(connectCommand(c.t))
	c.await("NetConnection.Connect.Success")
}

// publisher does that and publishes.
func (c byHand) publisher(name string) {
	c.t.Helper()
	c.session()
	c.write(encode(c.t, 0, message.Command{Name: "createStream", TransactionID: 2}), encode(c.t, 1, message.Command{Name: "publish", Args: []any{name}}))
	c.await("NetStream.Publish.Start")
}

// chunks are a message in chunks of 128 bytes.
func chunks(csid byte, typeID uint8, payload []byte) []byte {
	b := chunkHeader(csid, typeID, len(payload))
	for i, part := range slices.Collect(slices.Chunk(payload, 128)) {
		if i > 0 {
			b = append(b, 3<<6|csid)
		}
		b = append(b, part...)
	}
	return b
}

func unknownCommand(t *testing.T, args ...any) []byte {
	t.Helper()
	b, err := message.Command{Name: "frobnicate", TransactionID: 9, Args: args}.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	return chunks(3, message.TypeCommandAMF0, b)
}

// ping is answered while the connection lives.
func ping(t *testing.T) []byte {
	t.Helper()
	return encode(t, 0, message.UserControl{Event: message.EventPingRequest, Value: 0x70696E67})
}

func TestLimitsOfRTMP(t *testing.T) {
	const command, media, depth, values, streams, partial = 4096, 64 << 10, 4, 64, 20, 1 << 20
	g := startLimited(t, func(l *configs.Limits) {
		l.Command, l.Message, l.AMFDepth, l.AMFValues, l.ChunkStreams, l.Partial = command, media, depth, values, streams, partial
	})
	nested := func(n int) any {
		v := any(true)
		for range n {
			v = amf.Object{{Key: "x", Value: v}}
		}
		return v
	}
	// Chunk stream 3 is in use already.
	used := func(n int) []byte {
		var b []byte
		for csid := 4; csid < 3+n; csid++ {
			b = append(b, chunks(byte(csid), message.TypeDataAMF0, []byte{2, 0, 1, 'x'})...)
		}
		return b
	}
	// What is not complete holds the memory of a segment from its first byte on.
	whole := chunk.NewMessage(message.TypeVideo, 1, 0, make([]byte, media))
	segment := whole.Footprint()
	whole.Release()
	held := func(n int) []byte {
		var b []byte
		for csid := range byte(n) {
			b = append(append(b, chunkHeader(4+csid, message.TypeVideo, media)...), make([]byte, 128)...)
		}
		return b
	}
	for _, tt := range []struct {
		setting        string
		within, beyond []byte
		reason, words  string
	}{
		{
			"command", chunks(5, message.TypeDataAMF0, make([]byte, command)), chunkHeader(5, message.TypeDataAMF0, command+1),
			"message_length", "message length 4097 is over the limit of 4096",
		},
		{
			"message", chunks(6, message.TypeVideo, make([]byte, media)), chunkHeader(6, message.TypeVideo, media+1),
			"message_length", "message length 65537 is over the limit of 65536",
		},
		{
			"chunk_streams", used(streams), used(streams + 1),
			"chunk_streams", "chunk streams 21 is over the limit of 20",
		},
		{
			"partial", held(partial / segment), held(partial/segment + 1),
			"partial_bytes", fmt.Sprintf("partial bytes %d is over the limit of %d", (partial/segment+1)*segment, partial),
		},
		{
			"amf_depth", unknownCommand(t, nested(depth)), unknownCommand(t, nested(depth+1)),
			"amf", "more than 4 levels",
		},
		{ // the name, the transaction, the object and the array are four
			"amf_values", unknownCommand(t, make(amf.StrictArray, values-4)), unknownCommand(t, make(amf.StrictArray, values-3)),
			"amf", "more than 64 properties",
		},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			c := g.dial(t, "rtmp")
			c.publisher(tt.setting)
			c.write(tt.within, ping(t))
			c.await("ping")
			c.Close()

			c = g.dial(t, "rtmp")
			c.publisher(tt.setting + "2")
			before := g.Snapshot().Rejected
			c.write(tt.beyond)
			c.await("NetStream.Failed")
			c.ends()
			g.refused(t, before, tt.reason, c.remote(), tt.words)
			if before[tt.reason] == 0 { // the next line comes a minute later
				g.alarm(t, tt.reason, tt.setting, c.remote())
			}
		})
	}
}

func TestLimitsOfTime(t *testing.T) {
	const limit = configs.Duration(300 * time.Millisecond)
	opened := func(c byHand) {
		c.write(post("/open/1", "", nil))
		c.await("Content-Length: 19")
	}
	for _, tt := range []struct {
		setting       string
		change        func(l *configs.Limits)
		listener      string
		begin         func(c byHand)
		reason, words string
	}{
		{
			"sniff_timeout", func(l *configs.Limits) { l.SniffTimeout = limit }, "rtmp", func(byHand) {},
			"timeout", "timeout",
		},
		{
			"sniff_timeout in TLS", func(l *configs.Limits) { l.SniffTimeout = limit }, "https", func(c byHand) { c.write([]byte{0x16, 3}) },
			"timeout", "timeout",
		},
		{
			"handshake_timeout", func(l *configs.Limits) { l.HandshakeTimeout = limit }, "rtmp", func(c byHand) { c.write([]byte{3, 0}) },
			"handshake_timeout", "timeout",
		},
		{
			"idle_timeout", func(l *configs.Limits) { l.IdleTimeout = limit }, "rtmp", func(c byHand) {
				c.publisher("a")
				c.await("NetStream.Publish.Idle")
			},
			"idle_timeout", "the client sends nothing",
		},
		{
			"tunnel.open_timeout", func(l *configs.Limits) { l.Tunnel.OpenTimeout = limit }, "http", opened,
			"tunnel_open_timeout", "session expired",
		},
		{
			"tunnel.head_timeout", func(l *configs.Limits) { l.Tunnel.HeadTimeout = limit }, "http", func(c byHand) { c.write([]byte("POST /open/1")) },
			"tunnel_slow", "timeout",
		},
		{
			"tunnel.body_timeout", func(l *configs.Limits) { l.Tunnel.BodyTimeout = limit }, "http",
			func(c byHand) { c.write([]byte("POST /open/1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nx")) },
			"tunnel_slow", "timeout",
		},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			t.Parallel()
			g := startLimited(t, tt.change)
			c := g.dial(t, tt.listener)
			before := g.Snapshot().Rejected
			begin := time.Now()
			tt.begin(c)
			g.refused(t, before, tt.reason, c.remote(), tt.words)
			if tt.setting != "idle_timeout" { // everybody's end, with a line at info
				g.alarm(t, tt.reason, tt.setting, c.remote())
			}
			if took := time.Since(begin); took < time.Duration(limit) {
				t.Errorf("ended after %v, before its time", took)
			}
		})
	}
}

func TestLimitsOfConnections(t *testing.T) {
	for _, tt := range []struct {
		setting string
		change  func(l *configs.Limits)
	}{
		{"connections", func(l *configs.Limits) { l.Connections = 3 }},
		{"connections_per_address", func(l *configs.Limits) { l.ConnectionsPerAddress = 3 }},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			g := startLimited(t, tt.change)
			var within []byHand
			for range 3 {
				c := g.dial(t, "rtmp")
				c.session()
				within = append(within, c)
			}
			before := g.Snapshot().Rejected
			beyond := g.dial(t, "rtmp")
			beyond.ends()
			g.refused(t, before, tt.setting, beyond.remote(), tt.setting)
			g.alarm(t, tt.setting, tt.setting, beyond.remote())
			for _, c := range within {
				c.write(ping(t))
				c.await("ping")
			}
			// One that leaves makes room.
			within[0].Close()
			eventually(t, "room", func() bool { return g.Snapshot().Transports["rtmp"].Open == 2 })
			g.dial(t, "rtmp").session()
		})
	}
}

// post is a request with a body.
func post(path, more string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nContent-Length: %d\r\n%s\r\n", path, len(body), more), body...)
}

// tunnelSession opens a session whose first request, C0 and C1, is answered.
func (g limited) tunnelSession(t *testing.T) (*poller, string) {
	t.Helper()
	p := dialTunnel(t, g.Gateway)
	p.post("send", capturedC0C1(t, handshake.ClientConfig{}))
	return p, p.conn.LocalAddr().String()
}

func TestLimitsOfTheTunnel(t *testing.T) {
	const head, body = 600, 100 << 10
	padded := func(n int) []byte { // a request whose head has n bytes
		const path = "/open/1"
		bare := len(post(path, "X: \r\n", nil))
		return post(path, "X: "+strings.Repeat("x", n-bare)+"\r\n", nil)
	}
	unknown := post("/send/123456789012345678/1", "", []byte("x"))
	for _, tt := range []struct {
		setting       string
		change        func(l *configs.TunnelLimits)
		reason, words string
		try           func(t *testing.T, g limited, beyond bool) (remote string)
	}{
		{"sessions", func(l *configs.TunnelLimits) { l.Sessions = 2 }, "tunnel_sessions", "sessions", opens(2)},
		{"sessions_per_address", func(l *configs.TunnelLimits) { l.SessionsPerAddress = 2 }, "tunnel_address", "address", opens(2)},
		{"head", func(l *configs.TunnelLimits) { l.Head = head }, "tunnel_head", "request head is too large: more than 600 bytes", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			c := g.dial(t, "http")
			if !beyond {
				c.write(padded(head))
				c.await("Content-Length: 19")
				return ""
			}
			c.write(padded(head + 1))
			c.await(" 400 ")
			c.ends()
			return c.remote()
		}},
		{"request", func(l *configs.TunnelLimits) { l.Request = body }, "tunnel_too_large", "request body is too large: 102401 bytes, the limit is 102400", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			c := g.dial(t, "http")
			if !beyond {
				c.write(post("/open/1", "", make([]byte, body)))
				c.await("Content-Length: 19")
				return ""
			}
			c.write(post("/open/1", "", make([]byte, body+1)))
			c.await(" 413 ")
			c.ends()
			return c.remote()
		}},
		{"unread", func(l *configs.TunnelLimits) { l.Unread = 1 << 20 }, "tunnel_unread", "does not read its answers", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			c := g.dial(t, "http")
			requests := bytes.Repeat(post("/close/2", "", []byte{0}), 1000)
			if !beyond {
				c.write(requests) // some hundred kilobytes of answers
				c.await("200 OK")
				return ""
			}
			for {
				if _, err := c.Write(requests); err != nil {
					return c.remote()
				}
			}
		}},
		{"received", func(l *configs.TunnelLimits) { l.Received = body }, "tunnel_received", "too many received bytes wait to be read", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			p, remote := g.tunnelSession(t)
			if !beyond {
				p.post("send", make([]byte, 1536)) // C2
				return ""
			}
			// A body counts from its first byte on, and is not read before its last.
			p.write(p.path("send"), make([]byte, 2*body))
			c := byHand{p.conn, t}
			c.await(" 503 ")
			return remote
		}},
		{"early_requests", func(l *configs.TunnelLimits) { l.EarlyRequests = 2 }, "tunnel_lost", "a request of the session was lost: too much waits for it", early(2, 1)},
		{"early_bytes", func(l *configs.TunnelLimits) { l.EarlyBytes = 2000 }, "tunnel_lost", "a request of the session was lost: too much waits for it", early(1, 2000)},
		{"early_timeout", func(l *configs.TunnelLimits) { l.EarlyTimeout = configs.Duration(300 * time.Millisecond) }, "tunnel_lost", "a request of the session was lost: it did not come in time", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			p, remote := g.tunnelSession(t)
			if beyond {
				p.seq++
				p.write(p.path("send"), []byte("x"))
			}
			return remote
		}},
		{"idle_timeout", func(l *configs.TunnelLimits) { l.IdleTimeout = configs.Duration(time.Second) }, "tunnel_idle_timeout", "session expired", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			p, remote := g.tunnelSession(t)
			if !beyond {
				p.post("close", nil)
			}
			return remote
		}},
		{"guesses", func(l *configs.TunnelLimits) { l.Guesses = 3; l.GuessDelay = configs.Duration(time.Millisecond) }, "tunnel_guesses", "guesses", func(t *testing.T, g limited, beyond bool) string {
			t.Helper()
			c := g.dial(t, "http")
			n := 3
			if beyond { // those within count for the address too
				n = 1
			}
			for range n {
				c.write(unknown)
				c.await(" 404 ")
			}
			return c.remote()
		}},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			t.Parallel()
			g := startLimited(t, func(l *configs.Limits) { tt.change(&l.Tunnel) })
			tt.try(t, g, false)
			before := g.Snapshot().Rejected
			if before[tt.reason] > 0 {
				t.Errorf("refused within the limit:\n%s", g.log)
			}
			remote := tt.try(t, g, true)
			g.refused(t, before, tt.reason, remote, tt.words)
			if tt.setting != "idle_timeout" {
				g.alarm(t, tt.reason, "tunnel."+tt.setting, remote)
			}
		})
	}
}

// opens opens as many sessions as there may be, or one more.
func opens(limit int) func(t *testing.T, g limited, beyond bool) string {
	return func(t *testing.T, g limited, beyond bool) string {
		t.Helper()
		c := g.dial(t, "http")
		if beyond {
			c.write(post("/open/1", "", nil))
			c.await(" 503 ")
			return c.remote()
		}
		for range limit {
			c.write(post("/open/1", "", nil))
			c.await("Content-Length: 19")
		}
		return ""
	}
}

// early sends requests ahead of one that is missing: as many and as large as may wait, and then that one; or one more.
func early(requests, size int) func(t *testing.T, g limited, beyond bool) string {
	return func(t *testing.T, g limited, beyond bool) string {
		t.Helper()
		p, remote := g.tunnelSession(t)
		// Each waits on a connection of its own.
		ahead := func(n int) {
			c := g.dial(t, "http")
			c.write(post(fmt.Sprintf("/send/%s/%d", p.id, p.seq+n), "", make([]byte, size)))
		}
		for n := range requests {
			ahead(n + 1)
		}
		if beyond {
			ahead(requests + 1)
			return remote
		}
		p.post("send", []byte{0})
		return ""
	}
}

// TestSlowPlayerLimits has a player that does not read, against each limit of what may wait for it.
func TestSlowPlayerLimits(t *testing.T) {
	const large, long = 1 << 30, configs.Duration(time.Hour)
	boundless := func(l *configs.Limits) {
		l.Queue, l.QueueClose, l.QueueTime, l.WriteTimeout = large, large, long, long
	}
	for _, tt := range []struct {
		setting       string
		change        func(l *configs.Limits)
		reason, words string // none: frames are dropped
	}{
		{"queue", func(l *configs.Limits) { l.Queue = 64 << 10 }, "", ""},
		{"queue_time", func(l *configs.Limits) { l.QueueTime = configs.Duration(100 * time.Millisecond) }, "", ""},
		{"queue_close", func(l *configs.Limits) { l.QueueClose = 1 << 20 }, "too_slow", "the peer reads too slowly"},
		{"write_timeout", func(l *configs.Limits) { l.WriteTimeout = configs.Duration(300 * time.Millisecond) }, "write_timeout", "the peer reads nothing"},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			t.Parallel()
			g := startLimited(t, func(l *configs.Limits) { boundless(l); tt.change(l) })
			player, p := g.dial(t, "rtmp"), g.dial(t, "rtmp")
			player.session()
			player.write(encode(t, 0, message.Command{Name: "createStream", TransactionID: 2}), encode(t, 1, message.Command{Name: "play", Args: []any{"a"}}))
			waitForPlayers(t, g.Gateway, 1)
			p.publisher("a")
			before := g.Snapshot().Rejected
			p.write(encode(t, 0, message.SetChunkSize{Size: 1 << 20}))
			kinds := [2]byte{0x17, 0x27}
			sent := 0
			eventually(t, "the limit", func() bool {
				frame := make([]byte, 256<<10)
				frame[0], frame[1] = kinds[min(sent, 1)], 1
				if sent++; sent < 400 { // 100 MB: more than any socket takes, less than what no limit is
					p.write(chunkHeader(6, message.TypeVideo, len(frame)), frame)
				}
				if tt.reason == "" {
					return g.Snapshot().Apps["*"].Dropped["video"] > 0
				}
				return g.Snapshot().Rejected[tt.reason] > before[tt.reason]
			})
			if tt.reason != "" {
				g.refused(t, before, tt.reason, player.remote(), tt.words)
				g.alarm(t, tt.reason, tt.setting, player.remote())
				return
			}
			_, metrics := get(t, g.Addr("admin"), "/metrics")
			if strings.Contains(metrics, `culvert_frames_dropped_total{app="*",kind="video"} 0`) {
				t.Error("dropped frames are not in the metrics")
			}
			// The player is told when it reads again.
			player.await("NetStream.Play.InsufficientBW")
		})
	}
}

// TestEveryLimitIsUsed changes one setting at a time and finds its value in what the parts of the gateway are given.
func TestEveryLimitIsUsed(t *testing.T) {
	elsewhere := []string{ // given to others, tried above
		"SniffTimeout", "IdleTimeout", "Connections", "ConnectionsPerAddress", "RTMPEHandshakes",
	}
	var walk func(v reflect.Value, path string, f func(leaf reflect.Value, path string))
	walk = func(v reflect.Value, path string, f func(reflect.Value, string)) {
		for i := range v.NumField() {
			field, name := v.Field(i), path+v.Type().Field(i).Name
			if field.Kind() == reflect.Struct {
				walk(field, name+".", f)
			} else {
				f(field, name)
			}
		}
	}
	render := func(cfg configs.Config) string {
		core := gateway.CoreConfig(cfg)
		return fmt.Sprintf("%+v %+v %+v %v %v %+v", core.Chunk, core.Send, core.AMF, int64(core.HandshakeTimeout), int64(core.SWFTimeout), gateway.TunnelConfig(cfg.Limits.Tunnel))
	}
	base := configs.Default()
	plain := render(base)
	cfg := configs.Default()
	walk(reflect.ValueOf(&cfg.Limits).Elem(), "", func(leaf reflect.Value, path string) {
		old := leaf.Int()
		leaf.SetInt(old + 1)
		changed := render(cfg)
		leaf.SetInt(old)
		if (changed == plain) != slices.Contains(elsewhere, path) {
			t.Errorf("limits.%s: changes something in the parts: %v", path, changed != plain)
		}
	})
}
