package rtmpcore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is an application that writes down what it is asked.
type recorder struct {
	mu     sync.Mutex
	events []string
	ns     *rtmpcore.NetStream
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

// take returns what happened since the last call.
func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) Connect(_ *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	if req.App == "closed" {
		return nil, &rtmpcore.StatusError{Code: message.StatusConnectRejected, Description: "closed today"}
	}
	r.note("connect %s %s", req.App, req.Host())
	return r, nil
}

func (r *recorder) Publish(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	if req.Name == "taken" {
		return nil, &rtmpcore.StatusError{Code: message.StatusPublishBadName, Description: "taken", Close: true}
	}
	r.note("publish %s %s %s", req.Name, req.Query, req.Type)
	r.ns = ns
	return publication{r}, nil
}

func (r *recorder) Play(ns *rtmpcore.NetStream, req rtmpcore.PlayRequest) (rtmpcore.Playback, error) {
	r.note("play %s %v %v %v", req.Name, req.Start, req.Duration, req.Reset)
	r.ns = ns
	return playback{r}, nil
}

type publication struct{ *recorder }

func (p publication) WriteMessage(m *chunk.Message) error {
	p.note("type %d at %d: %s", m.TypeID, m.Timestamp, m.Bytes())
	m.Release()
	return nil
}

func (p publication) Close() { p.note("publication closed") }

type playback struct{ *recorder }

func (p playback) Start()               { p.note("start") }
func (p playback) Pause(paused bool)    { p.note("pause %v", paused) }
func (p playback) ReceiveAudio(on bool) { p.note("audio %v", on) }
func (p playback) ReceiveVideo(on bool) { p.note("video %v", on) }
func (p playback) Close()               { p.note("playback closed") }

// pair connects a client to a recorder.
func pair(t *testing.T, cfg rtmpcore.ClientConfig) (*rtmpcore.Client, *recorder) {
	t.Helper()
	ours, theirs := net.Pipe()
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = rtmpcore.NewConn(ours, rtmpcore.Config{}).Serve(t.Context(), r) // how it ends is for other tests
	}()
	c := rtmpcore.NewClient(theirs, cfg)
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c, r
}

func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("the server saw\n\t%q\nwant\n\t%q", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientPublishes(t *testing.T) {
	for _, digest := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, r := pair(t, rtmpcore.ClientConfig{App: "live", TCURL: "rtmp://host:1935/live", Digest: digest})
			must(t, c.Connect(t.Context()))
			id, err := c.CreateStream(t.Context())
			must(t, err)
			must(t, c.Publish(t.Context(), id, "a?key=x"))
			r.expect(t, "connect live host", "publish a key=x live")
			big := make([]byte, 70_000)
			must(t, c.Send(
				chunk.NewMessage(message.TypeAudio, id, 5, []byte("sound")),
				chunk.NewMessage(message.TypeVideo, id, 0xFFFFFFFE, []byte("picture")),
			))
			must(t, c.Flush(t.Context()))
			r.expect(t, "type 8 at 5: sound", "type 9 at 4294967294: picture")
			must(t, c.Send(chunk.NewMessage(message.TypeVideo, id, 7, big)))
			r.expect(t, "type 9 at 7: "+string(big))
			must(t, c.Send(chunk.NewMessage(message.TypeVideo, id+9, 8, []byte("nobody's"))))
			must(t, c.Unpublish(id, "a"))
			r.expect(t, "publication closed")
		})
	}
}

func TestClientPlays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := pair(t, rtmpcore.ClientConfig{App: "live", TCURL: "rtmp://host/live"})
		must(t, c.Connect(t.Context()))
		id, err := c.CreateStream(t.Context())
		must(t, err)
		must(t, c.Play(t.Context(), id, "a"))
		r.expect(t, "connect live host", "play a -2000 -1 true", "start")

		must(t, c.Pause(id, true, 40))
		must(t, c.Pause(id, false, 40))
		must(t, c.ReceiveAudio(id, false))
		must(t, c.ReceiveVideo(id, false))
		must(t, c.ReceiveVideo(id, true))

		var got []string
		read := make(chan error, 1)
		go func() {
			for {
				m, err := c.ReadMessage()
				if err != nil {
					read <- err
					return
				}
				got = append(got, fmt.Sprintf("type %d at %d", m.TypeID, m.Timestamp))
				m.Release()
			}
		}()
		r.expect(t, "pause true", "pause false", "audio false", "video false", "video true")
		m := chunk.NewMessage(message.TypeVideo, id, 9, []byte("picture"))
		must(t, r.ns.Writer().Send(m))
		parts := "\x08\x00\x00\x02\x00\x00\x10\x00\x00\x00\x00ab\x00\x00\x00\x0d" + "\x09\x00\x00\x01\x00\x00\x15\x00\x00\x00\x00c\x00\x00\x00\x0c" + "\x09\x00\x00\x09cut"
		must(t, r.ns.Writer().Send(chunk.NewMessage(message.TypeAggregate, id, 40, []byte(parts))))
		r.ns.Notify(message.Status{Level: message.LevelWarning, Code: message.StatusPlayInsufficientBW})
		r.ns.StreamEOF()
		r.ns.Notify(message.Status{Level: message.LevelStatus, Code: message.StatusPlayUnpublishNotify})
		if err := <-read; !errors.Is(err, io.EOF) {
			t.Errorf("the end of the stream is %v", err)
		}
		if want := []string{"type 18 at 0", "type 18 at 0", "type 9 at 9", "type 8 at 40", "type 9 at 45"}; !slices.Equal(got, want) {
			t.Errorf("the client got %q", got)
		}
		if c.FellBehind() != 1 {
			t.Errorf("fell behind %d times", c.FellBehind())
		}
		must(t, c.CloseStream(id))
		r.expect(t, "playback closed")
		must(t, c.DeleteStream(id))
	})
}

func TestClientIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, rtmpcore.ClientConfig{App: "closed"})
		var status *rtmpcore.StatusError
		if err := c.Connect(t.Context()); !errors.As(err, &status) || status.Code != message.StatusConnectRejected || status.Description != "closed today" {
			t.Errorf("connect: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, rtmpcore.ClientConfig{App: "live"})
		must(t, c.Connect(t.Context()))
		id, err := c.CreateStream(t.Context())
		must(t, err)
		var status *rtmpcore.StatusError
		if err := c.Publish(t.Context(), id, "taken"); !errors.As(err, &status) || status.Code != message.StatusPublishBadName {
			t.Errorf("publish: %v", err)
		}
		if _, err := c.ReadMessage(); !errors.Is(err, io.EOF) {
			t.Errorf("after the refusal: %v, want the end of the connection", err)
		}
	})
}

func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		c := rtmpcore.NewClient(theirs, rtmpcore.ClientConfig{})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		err := c.Connect(ctx)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestServeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- rtmpcore.NewConn(ours, rtmpcore.Config{}).Serve(ctx, new(recorder)) }()
		why := errors.New("enough")
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestFirstByteOfRTMPEIsRefused(t *testing.T) {
	for _, c0 := range []byte{6, 8, 9} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- rtmpcore.NewConn(ours, rtmpcore.Config{}).Serve(t.Context(), new(recorder)) }()
			go func() { _, _ = theirs.Write(append([]byte{c0}, make([]byte, 1536)...)) }()
			b, _ := io.ReadAll(theirs)
			theirs.Close()
			if err := <-done; err == nil || len(b) > 0 {
				t.Errorf("C0 %d: answered %d bytes, %v", c0, len(b), err)
			}
		})
	}
}
