package send_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

func TestDirect(t *testing.T) {
	s := newSocket(boundless)
	w := send.NewWriter(s, send.Limits{})
	defer w.Close()
	big := fill(200_000, 3)
	if err := w.Send(frame(chunk.ClassUrgent, 0, []byte("ping")), frame(chunk.ClassKeyframe, 7, big)); err != nil {
		t.Fatal(err)
	}
	list := s.messages(t)
	if len(list) != 2 || list[0].payload != "ping" || list[1].payload != string(big) || list[1].at != 7 {
		t.Errorf("the peer got %d messages", len(list))
	}
	if writes, n := s.counts(); writes != 1 || uint64(n) != w.BytesWritten() {
		t.Errorf("%d writes of %d bytes, want 1 of %d", writes, n, w.BytesWritten())
	}
}

// TestCase34_WrittenChunkStreams: whatever is written goes to chunk streams that every peer reads (nginx-rtmp: below 32), in headers of
// one byte.
func TestCase34_WrittenChunkStreams(t *testing.T) {
	for typeID := 2; typeID < 256; typeID++ { // Set Chunk Size comes before each
		m := frame(chunk.ClassOrdered, 0, fill(2*chunk.SegmentSize+100, 1))
		m.TypeID = uint8(typeID)
		s := newSocket(boundless)
		w := send.NewWriter(s, send.Limits{})
		if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
		w.Close()
		const header, size = 12, chunk.SegmentSize
		wire := s.got.Bytes()
		if wire[0] != 2 {
			t.Errorf("Set Chunk Size goes to chunk stream %d", wire[0])
		}
		wire = wire[header+4:]
		if csid := wire[0]; csid < 2 || csid >= 32 {
			t.Errorf("type %d goes to chunk stream %d", typeID, csid)
		}
		for at := header + size; at < len(wire); at += 1 + size {
			if wire[at] != 3<<6|wire[0] {
				t.Fatalf("type %d: a chunk goes on with %#x", typeID, wire[at])
			}
		}
	}
}

// TestRefusedAnywhere lets the socket refuse after every possible number of
// bytes: nothing may be lost, repeated or reordered.
func TestRefusedAnywhere(t *testing.T) {
	make3 := func() []*chunk.Message {
		return []*chunk.Message{
			frame(chunk.ClassOrdered, 1, fill(40, 1)),
			frame(chunk.ClassHeader, 2, fill(90, 2)),
			frame(chunk.ClassKeyframe, 3, fill(150, 3)),
		}
	}
	whole := newSocket(boundless)
	w := send.NewWriter(whole, send.Limits{})
	if err := errors.Join(w.Send(make3()...), w.Send(make3()...)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	want := whole.got.Bytes()
	for cut := range len(want) {
		s := newSocket(cut)
		w := send.NewWriter(s, send.Limits{})
		if err := errors.Join(w.Send(make3()...), w.Send(make3()...)); err != nil {
			t.Fatal(err)
		}
		s.blocked(1)
		s.allow(boundless)
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.got.Bytes(); !bytes.Equal(got, want) {
			t.Fatalf("refused after %d bytes: the peer got %d bytes that differ from the %d sent", cut, len(got), len(want))
		}
		w.Close()
	}
}

// A peer that is always a little behind holds what it has not got, however long that goes
// on: what it got is released although its queue is never empty.
func TestAlwaysBehind(t *testing.T) {
	for _, size := range []int{1000, 3 * chunk.SegmentSize} {
		synctest.Test(t, func(t *testing.T) {
			s := newSocket(0)
			w := send.NewWriter(s, send.Limits{})
			defer w.Close()
			const behind = 3
			var written uint64
			for i := range 200 {
				m := frame(chunk.ClassKeyframe, chunk.Timestamp(i), fill(size, byte(i)))
				m.Retain()
				if err := w.Send(m); err != nil {
					t.Fatal(err)
				}
				if i >= behind {
					s.allow(m.WireLen())
					written += uint64(m.WireLen())
				}
				m.Release()
				synctest.Wait()
				if got := w.Held(); got == 0 || got > behind+1 {
					t.Fatalf("%d messages of %d bytes are held after %d, %d behind", got, size, i+1, behind)
				}
			}
			if got := w.BytesWritten(); got != written {
				t.Errorf("%d bytes were written, want %d", got, written)
			}
			s.allow(boundless)
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(s.messages(t)); got != 200 {
				t.Errorf("the peer got %d messages", got)
			}
		})
	}
}

// TestLargeFrameRefusedAnywhere does the same around the chunk boundaries of a
// message of several chunks.
func TestLargeFrameRefusedAnywhere(t *testing.T) {
	payload := fill(3*chunk.SegmentSize+100, 1)
	for _, at := range []int{0, chunk.SegmentSize, 2 * chunk.SegmentSize, 3 * chunk.SegmentSize} {
		for d := -3; d < 40; d++ {
			s := newSocket(max(at+d, 0))
			w := send.NewWriter(s, send.Limits{})
			if err := w.Send(frame(chunk.ClassKeyframe, 3, payload)); err != nil {
				t.Fatal(err)
			}
			s.blocked(1)
			s.allow(boundless)
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if list := s.messages(t); len(list) != 1 || list[0].payload != string(payload) {
				t.Fatalf("refused after %d bytes: the peer got something else", at+d)
			}
			w.Close()
		}
	}
}

func TestAudioPassesBetweenTheChunksOfALargeFrame(t *testing.T) {
	s := newSocket(1000)
	w := send.NewWriter(s, send.Limits{})
	defer w.Close()
	video := fill(6*chunk.SegmentSize, 1)
	for _, m := range []*chunk.Message{
		frame(chunk.ClassKeyframe, 1, video),
		frame(chunk.ClassAudio, 2, []byte("audio")),
		frame(chunk.ClassUrgent, 0, []byte("ping")),
		frame(chunk.ClassOrdered, 3, []byte("the end")),
	} {
		if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	s.blocked(1)
	s.allow(boundless)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range s.messages(t) {
		if m.payload == string(video) {
			m.payload = "video"
		}
		order = append(order, m.payload)
	}
	if got := strings.Join(order, ", "); got != "audio, ping, video, the end" {
		t.Errorf("the peer got: %s", got)
	}
}

func TestConnThatBlocks(t *testing.T) {
	ours, theirs := net.Pipe()
	w := send.NewWriter(ours, send.Limits{})
	payload := fill(300_000, 9)
	done := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(theirs)
		done <- b
	}()
	for range 3 {
		if err := w.Send(frame(chunk.ClassKeyframe, 1, payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	w.Close()
	list := parse(t, <-done)
	if len(list) != 3 || list[2].payload != string(payload) {
		t.Errorf("the peer got %d messages", len(list))
	}
}

func TestPeerThatReadsNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		w := send.NewWriter(ours, send.Limits{WriteTimeout: 3 * time.Second})
		begin := time.Now()
		if err := w.Send(frame(chunk.ClassKeyframe, 1, fill(1000, 1))); err != nil {
			t.Fatal(err)
		}
		err := w.Flush(t.Context())
		if !errors.Is(err, send.ErrStalled) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("closed after %v, want 3 s", took)
		}
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the conn is still open: %v", err)
		}
		w.Close()
		if w.Send(frame(chunk.ClassKeyframe, 1, nil)) == nil {
			t.Error("a closed Writer takes messages")
		}
	})
}

func TestAnswersThatNobodyReadsCloseTheConnection(t *testing.T) {
	s := newSocket(0)
	w := send.NewWriter(s, send.Limits{Queue: 1 << 30, QueueClose: 1 << 30})
	defer w.Close()
	var err error
	sent := 0
	for ; err == nil && sent < 4<<20; sent += 1000 {
		err = w.Send(frame(chunk.ClassUrgent, 0, fill(1000, 0)))
	}
	if !errors.Is(err, send.ErrTooSlow) || sent > 1<<20 {
		t.Errorf("%v after %d bytes of answers", err, sent)
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	s := newSocket(0)
	w := send.NewWriter(s, send.Limits{})
	if err := w.Send(frame(chunk.ClassKeyframe, 1, fill(1000, 1))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.Close()
	w.Close()
}
