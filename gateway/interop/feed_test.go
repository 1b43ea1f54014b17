//go:build interop

package interop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/gateway/client"
	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
)

// light is a publisher or player inside the test process.
type light struct {
	*rtmpcore.Client
	id   uint32
	name string
}

// joinLight connects and creates a stream. dial, which may be nil, makes the connection in place of the URL's host.
func joinLight(ctx context.Context, url string, dial func(context.Context) (net.Conn, error)) (*light, error) {
	target, err := client.ParseTarget(url)
	if err != nil {
		return nil, err
	}
	c, err := client.Connect(ctx, target, client.Options{
		Timeout: patience,
		TLS:     &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // a gateway of the test's own
		Dial:    dial,
	})
	if err != nil {
		return nil, err
	}
	l := &light{Client: c, name: target.Name}
	if l.id, err = c.CreateStream(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return l, nil
}

func publishLight(ctx context.Context, url string) (*light, error) { return publishOver(ctx, url, nil) }

func publishOver(ctx context.Context, url string, dial func(context.Context) (net.Conn, error)) (*light, error) {
	l, err := joinLight(ctx, url, dial)
	if err != nil {
		return nil, err
	}
	if err := l.Publish(ctx, l.id, l.name); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func playLight(ctx context.Context, url string) (*light, error) {
	l, err := joinLight(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	if err := l.Play(ctx, l.id, l.name); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// joined is a client that has joined by publishLight or playLight. The connection is closed with the test at the latest.
func joined(t *testing.T, join func(context.Context, string) (*light, error), url string) *light {
	t.Helper()
	l, err := join(background(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ReadMessage is the client's, on a connection that is closed when nothing comes for too long.
func (l *light) ReadMessage() (*chunk.Message, error) {
	tooLong := time.AfterFunc(patience, func() { l.Close() })
	defer tooLong.Stop()
	return l.Client.ReadMessage()
}

// next returns the payload of the next audio or video message.
func (l *light) next() ([]byte, error) {
	for {
		m, err := l.ReadMessage()
		if err != nil {
			return nil, err
		}
		media, b := m.TypeID == audioType || m.TypeID == videoType, m.AppendPayload(nil)
		m.Release()
		if media {
			return b, nil
		}
	}
}

const (
	audioType = 8
	videoType = 9
)

// Media as encoders make it.
var (
	avcHeader = []byte{0x17, 0, 0, 0, 0, 1, 100, 0, 30}
	aacHeader = []byte{0xAF, 0, 0x12, 0x10}
)

func keyFrame(text string) []byte { return append([]byte{0x17, 1, 0, 0, 0}, text...) }

// checkFresh publishes a stream and plays it: everything arrives, and the end too.
func checkFresh(t *testing.T, url string) {
	t.Helper()
	if err := fresh(background(t), url); err != nil {
		t.Errorf("a new stream %s: %v", url, err)
	}
}

func fresh(ctx context.Context, url string) error {
	player, err := playLight(ctx, url)
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	defer player.Close()
	publisher, err := publishLight(ctx, url)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer publisher.Close()
	inter := func(s string) []byte { return append([]byte{0x27, 1, 0, 0, 0}, s...) }
	large := bytes.Repeat([]byte("large"), 20_000)
	sent := []struct {
		typeID  uint8
		payload []byte
	}{
		{videoType, avcHeader},
		{audioType, aacHeader},
		{videoType, keyFrame("one")},
		{audioType, []byte("\xAF\x01two")},
		{videoType, inter(string(large))},
		{audioType, []byte("\xAF\x01three")},
		{videoType, inter("four")},
	}
	for i, m := range sent {
		if err := publisher.Send(chunk.NewMessage(m.typeID, publisher.id, chunk.Timestamp(20*i), m.payload)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if err := errors.Join(publisher.Unpublish(publisher.id, publisher.name), publisher.Flush(ctx)); err != nil {
		return fmt.Errorf("unpublish: %w", err)
	}
	for i, m := range sent {
		got, err := player.next()
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if !bytes.Equal(got, m.payload) {
			return fmt.Errorf("message %d is %.40q, was sent as %.40q", i, got, m.payload)
		}
	}
	if _, err := player.next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end: %w", err)
	}
	return nil
}

// running is a stream that runs while other things happen, with a player on each of some transports. Every video frame has a
// number.
type running struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	period time.Duration // between frames

	mu     sync.Mutex
	sent   int // video frames
	begun  int // players that have the first one
	faults []string
}

const (
	runningGOP  = 50      // frames
	runningSize = 4 << 10 // bytes of a frame
)

// runStream starts one and waits until all players have its first frame.
func runStream(t *testing.T, s *server, name string, period time.Duration, transports ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, period: period}
	t.Cleanup(func() {
		cancel()
		r.done.Wait()
	})
	for _, transport := range transports {
		player := joined(t, playLight, s.url(t, transport, name))
		// Ends with the stream, or with its connection: closed by the cleanup at the latest; waited by it and by finish.
		r.done.Go(func() { r.watch(transport, player) })
	}
	publisher := joined(t, publishLight, s.url(t, "rtmp", name))
	r.done.Go(func() { r.feed(ctx, publisher) }) // stopped by cancel; waited by the cleanup and by finish
	eventually(t, "the first frame of the running stream", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.begun == len(transports) || len(r.faults) > 0
	})
	return r
}

func (r *running) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// feed publishes until ctx ends, then ends the stream.
func (r *running) feed(ctx context.Context, publisher *light) {
	defer publisher.Close()
	tick := time.NewTicker(r.period)
	defer tick.Stop()
	frame := make([]byte, runningSize)
	for i := 0; ; i++ {
		copy(frame, []byte{0x27, 1, 0, 0, 0})
		if i%runningGOP == 0 {
			frame[0] = 0x17
		}
		binary.BigEndian.PutUint64(frame[5:], uint64(i))
		at := chunk.Timestamp(i * int(r.period/time.Millisecond))
		err := publisher.Send(chunk.NewMessage(videoType, publisher.id, at, frame), chunk.NewMessage(audioType, publisher.id, at, []byte("\xAF\x01sound")))
		if err != nil {
			r.fault("frame %d could not be sent: %v", i, err)
			return
		}
		r.mu.Lock()
		r.sent = i + 1
		r.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := errors.Join(publisher.Unpublish(publisher.id, publisher.name), publisher.Flush(flush)); err != nil {
				r.fault("the end could not be sent: %v", err)
			}
			return
		}
	}
}

// watch checks that a player gets every frame.
func (r *running) watch(transport string, player *light) {
	defer player.Close()
	want := uint64(0)
	for {
		b, err := player.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			r.mu.Lock()
			sent := r.sent
			r.mu.Unlock()
			if int(want) != sent {
				r.fault("%s: the stream ended after %d frames, %d were sent", transport, want, sent)
			}
			return
		}
		if err != nil {
			r.fault("%s: after frame %d: %v", transport, want, err)
			return
		}
		if len(b) != runningSize {
			continue // audio
		}
		if i := binary.BigEndian.Uint64(b[5:]); i != want {
			r.fault("%s: frame %d came instead of %d", transport, i, want)
			return
		}
		if want++; want == 1 {
			r.mu.Lock()
			r.begun++
			r.mu.Unlock()
		}
	}
}

// check fails the test when a frame was lost so far.
func (r *running) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) > 0 {
		t.Fatalf("the stream that runs beside: %s", strings.Join(r.faults, "; "))
	}
}

// finish ends the stream and checks that every player has all of it.
func (r *running) finish(t *testing.T) {
	t.Helper()
	r.cancel()
	r.done.Wait()
	r.check(t)
	if r.sent == 0 {
		t.Error("nothing was sent")
	}
}
