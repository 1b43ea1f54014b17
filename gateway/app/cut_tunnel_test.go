package app_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/app"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/send"
	"culvert/tunnel"
)

// The same as cut_test.go for conversations in HTTP requests.

const (
	openRequest = "POST /open/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n\x00"
	anyID       = "000000000000000000" // where the session's is to be
)

// tunnelled puts a conversation into requests: pieces of several sizes, with and
// without a length, and an idle now and then.
func tunnelled(b []byte) []byte {
	sizes := []int{1, 1000, 536, 1536, 90, 7, 500, 128, 3}
	out := []byte(openRequest)
	for seq := 0; len(b) > 0; seq++ {
		n := min(sizes[seq%len(sizes)], len(b))
		switch {
		case seq%5 == 3:
			out = fmt.Appendf(out, "POST /idle/%s/%d HTTP/1.1\r\nContent-Length: 1\r\n\r\n\x00", anyID, seq)
			continue
		case seq%5 == 4:
			out = fmt.Appendf(out, "POST /send/%s/%d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", anyID, seq, n, b[:n])
		default:
			out = fmt.Appendf(out, "POST /send/%s/%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", anyID, seq, n, b[:n])
		}
		b = b[n:]
	}
	return out
}

// tunnelConversations are those that were captured, and the one that was made. The ID
// is left open in all.
func tunnelConversations(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"made": tunnelled(madeConversation(t))}
	names, err := filepath.Glob("../../tunnel/testdata/conversations/*.c2s.bin")
	if err != nil || len(names) < 3 {
		t.Fatalf("%d conversations, %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = bytes.ReplaceAll(b, []byte("/ID/"), []byte("/"+anyID+"/"))
	}
	return all
}

// tunnelReplay is a client whose requests are known, and a player of the stream
// live/made.
type tunnelReplay struct {
	*server
	t      *testing.T
	tunnel *tunnel.Server
	player *takingConn
	sub    *live.Subscription
	seen   *watcher

	conn net.Conn
	id   string

	mu      sync.Mutex
	answers []byte // of the connection
}

func newTunnelReplay(t *testing.T) *tunnelReplay {
	t.Helper()
	r := &tunnelReplay{t: t, server: newServer(t, public()), tunnel: tunnel.NewServer(tunnel.Config{Sessions: 4}), seen: &watcher{}}
	idle, other := net.Pipe()
	r.player = &takingConn{Conn: idle}
	sub, err := r.hub.Subscribe(live.Key{App: "live", Name: "made"}, public().Live,
		live.Request{Player: r.seen, Writer: send.NewWriter(r.player, send.Limits{}), StreamID: 1, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	sub.Start()
	r.sub = sub

	var running sync.WaitGroup
	running.Go(func() { // stopped by closing the tunnel; waited by the cleanup
		for {
			c, err := r.tunnel.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with its session; waited by the cleanup
				_ = rtmpcore.NewConn(c, rtmpcore.Config{}).Serve(t.Context(), &app.Client{Server: r.apps, Loopback: true})
			})
		}
	})
	ours, theirs := net.Pipe()
	r.conn = theirs
	running.Go(func() {
		_ = r.tunnel.ServeConn(ours, tunnel.ConnInfo{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}})
	}) // ends with the connection; waited likewise
	running.Go(func() { // likewise
		buf := make([]byte, 32<<10)
		for {
			n, err := theirs.Read(buf)
			r.mu.Lock()
			r.answers = append(r.answers, buf[:n]...)
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		theirs.Close()
		_ = r.tunnel.Close()
		running.Wait()
		other.Close()
	})
	return r
}

// deliver sends a conversation, cut at some places, with a delay at each of them. Its
// first request opens the session, whose ID is put into the others.
func (r *tunnelReplay) deliver(delay time.Duration, whole []byte, cuts ...int) {
	r.t.Helper()
	opened := len(whole) // unless there is a second request
	if i := bytes.Index(whole[min(1, len(whole)):], []byte("POST ")); i >= 0 {
		opened = 1 + i
	}
	whole = bytes.Clone(whole)
	at := 0
	for i, cut := range append(cuts, len(whole)) {
		if i > 0 {
			time.Sleep(delay)
		}
		for at < cut {
			to := cut
			if at < opened {
				to = min(cut, opened)
			} else if r.id == "" {
				r.id = r.session()
				copy(whole[at:], bytes.ReplaceAll(whole[at:], []byte(anyID), []byte(r.id)))
			}
			if _, err := r.conn.Write(whole[at:to]); err != nil {
				r.t.Fatalf("byte %d: %v", at, err)
			}
			at = to
		}
	}
	synctest.Wait()
}

// session waits for the answer to open, and returns the ID in it.
func (r *tunnelReplay) session() string {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	_, body, _ := strings.Cut(string(r.answers), "\r\n\r\n")
	if len(body) != len(anyID)+1 {
		r.t.Fatalf("open was answered %q", r.answers)
	}
	return body[:len(anyID)]
}

// bodies returns what the answers carry of the server's bytes, and whether the last
// one carries none. All must be answers of a session that lives.
func (r *tunnelReplay) bodies() (all string, done bool) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	answers := bufio.NewReader(bytes.NewReader(r.answers))
	for i := 0; ; i++ {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) || answers.Buffered() > 0 {
				r.t.Fatalf("answer %d: %v", i, err)
			}
			return all, done
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || len(body) == 0 {
			r.t.Fatalf("answer %d: status %d with %q, %v", i, resp.StatusCode, body, err)
		}
		if i > 0 { // behind the one to open
			all += string(body[1:])
			done = len(body) == 1
		}
	}
}

var numbered = regexp.MustCompile(`POST /(?:send|idle)/\d{18}/(\d+) `)

// rest fetches what the server still has to say to the one who said b.
func (r *tunnelReplay) rest(b []byte) string {
	r.t.Helper()
	all := numbered.FindAllSubmatch(b, -1)
	seq, err := strconv.Atoi(string(all[len(all)-1][1]))
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		seq++
		if _, err := fmt.Fprintf(r.conn, "POST /idle/%s/%d HTTP/1.1\r\nContent-Length: 1\r\n\r\n\x00", r.id, seq); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // longer than an idle is held
		synctest.Wait()
		if said, done := r.bodies(); done {
			return said[min(handshakeSize, len(said)):]
		}
	}
}

// end loses the connection for good. The session must end by itself, and let go of the
// stream.
func (r *tunnelReplay) end() outcome {
	r.t.Helper()
	r.conn.Close()
	time.Sleep(time.Minute)
	synctest.Wait()
	if n := r.tunnel.Stats().Sessions; n != 0 {
		r.t.Errorf("%d sessions are left", n)
	}
	for _, stream := range r.hub.Streams() {
		if stream.Live {
			r.t.Errorf("stream %s/%s is still published", stream.App, stream.Name)
		}
	}
	o := outcome{played: r.player.bytes(), watcher: *r.seen}
	r.sub.Close()
	r.player.Close()
	if n := len(r.hub.Streams()); n != 0 {
		r.t.Errorf("%d streams are left", n)
	}
	return o
}

// tunnelPositions are where a conversation is cut: at every byte of the one that was made, which has
// all kinds of requests, but for the random ones of C1 and C2, and here and there in the others.
func tunnelPositions(name string, b []byte) []int {
	step, random := 17, -1
	if name == "made" {
		step, random = 1, bytes.LastIndex(b, signedHello()[handshakeSize-400:][:100]) // near the end of C2
	}
	var all []int
	for i := 0; i < len(b); i += step {
		if i > len(openRequest)+400 && i < random && i%37 != 0 && !bytes.Contains(b[i-40:i+40], []byte("\r\n")) {
			continue
		}
		all = append(all, i)
	}
	return all
}

func TestTunnelConversationsCutAnywhere(t *testing.T) {
	for name, b := range tunnelConversations(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try := func(delay time.Duration, cuts ...int) (o outcome) {
				bubble(t, func(t *testing.T) {
					r := newTunnelReplay(t)
					r.deliver(delay, b, cuts...)
					answers := r.rest(b)
					o = r.end()
					o.answers = answers
				})
				return o
			}
			want := try(0)
			if len(want.answers) < 300 || (name == "made") != (want.watcher == watcher{1, 1}) || name == "made" && !strings.Contains(want.played, "onTextData") {
				t.Fatalf("uncut: %d bytes of answers, a player got %d, %+v", len(want.answers), len(want.played), want.watcher)
			}
			for _, i := range tunnelPositions(name, b) {
				if got := try(3*time.Second, i); got != want {
					t.Fatalf("cut at %d: %d bytes of answers, a player got %d, %+v; uncut %d, %d, %+v", i,
						len(got.answers), len(got.played), got.watcher, len(want.answers), len(want.played), want.watcher)
				}
			}
			for _, size := range []int{1, 2, 7, 128, 1460} {
				var cuts []int
				for i := size; i < len(b); i += size {
					cuts = append(cuts, i)
				}
				if got := try(time.Millisecond, cuts...); got != want {
					t.Errorf("in pieces of %d bytes the outcome differs", size)
				}
			}
		})
	}
}

func TestTunnelConversationsEndAnywhere(t *testing.T) {
	for name, b := range tunnelConversations(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			played := 0
			for _, i := range tunnelPositions(name, b) {
				var got outcome
				bubble(t, func(t *testing.T) {
					r := newTunnelReplay(t)
					r.deliver(0, b[:i])
					got = r.end()
				})
				if got.watcher.came != got.watcher.left || len(got.played) < played {
					t.Fatalf("ended at %d: %+v, a player got %d bytes, %d when it ended before", i, got.watcher, len(got.played), played)
				}
				played = len(got.played)
			}
		})
	}
}
