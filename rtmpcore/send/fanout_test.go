package send_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// stream is a Fanout with its lock.
type stream struct {
	sync.Mutex
	*send.Fanout
}

func newStream(g send.Gather) *stream {
	s := new(stream)
	s.Fanout = send.NewFanout(g, s)
	return s
}

func (s *stream) write(msgs ...*chunk.Message) {
	s.Lock()
	defer s.Unlock()
	for _, m := range msgs {
		s.Write(m)
	}
}

// player subscribes a socket.
func (s *stream) player(t *testing.T, sock *socket, limits send.Limits, cfg send.SubscriberConfig) *send.Subscriber {
	t.Helper()
	w := send.NewWriter(sock, limits)
	t.Cleanup(func() { sock.Close(); w.Close() })
	if cfg.StreamID == 0 {
		cfg.StreamID = 1
	}
	if err := w.Send(setChunkSize()); err != nil {
		t.Fatal(err)
	}
	sub := send.NewSubscriber(w, cfg)
	s.Lock()
	defer s.Unlock()
	s.Add(sub, nil, true)
	return sub
}

func setChunkSize() *chunk.Message {
	return chunk.NewMessage(1, 0, 0, []byte{0, 1, 0, 0}) // 65536
}

// brief describes messages by kind and time: "k" keyframe, "v" other video, "a"
// audio, "d" data.
func brief(list []sent) string {
	var parts []string
	for _, m := range list {
		kind := map[uint8]string{8: "a", 9: "v", 18: "d", 20: "c", 4: "u"}[m.typeID]
		if kind == "v" && strings.HasPrefix(m.payload, "K") {
			kind = "k"
		}
		parts = append(parts, fmt.Sprintf("%s%d", kind, m.at))
	}
	return strings.Join(parts, " ")
}

func video(at chunk.Timestamp, key bool, size int) *chunk.Message {
	b := fill(size, byte(at))
	b[0] = 'v'
	class := chunk.ClassInterframe
	if key {
		b[0], class = 'K', chunk.ClassKeyframe
	}
	return frame(class, at, b)
}

func audio(at chunk.Timestamp) *chunk.Message {
	return frame(chunk.ClassAudio, at, fill(100, byte(at)))
}

func TestAudioRidesWithVideo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sock := newStream(send.Gather{}), newSocket(boundless)
		s.player(t, sock, send.Limits{}, send.SubscriberConfig{})
		before, _ := sock.counts()
		s.write(audio(1), audio(2))
		if n, _ := sock.counts(); n != before {
			t.Error("audio was written before its video frame")
		}
		s.write(video(3, true, 500))
		if n, _ := sock.counts(); n != before+1 {
			t.Errorf("%d writes, want one for audio and video", n-before)
		}
		s.write(audio(4))
		begin := time.Now()
		time.Sleep(39 * time.Millisecond)
		synctest.Wait()
		if n, _ := sock.counts(); n != before+1 {
			t.Errorf("audio alone was written after %v", time.Since(begin))
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if n, _ := sock.counts(); n != before+2 {
			t.Error("audio alone waits longer than 40 ms")
		}
		if got := brief(sock.messages(t)); got != "a1 a2 k3 a4" {
			t.Errorf("the peer got %s", got)
		}
	})
}

func TestGatherModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			gather send.Gather
			writes int // for 50 video and 100 audio messages in 1.65 s
		}{
			"message": {send.Gather{Mode: send.GatherMessage}, 150},
			"video":   {send.Gather{}, 50},
			"350 ms":  {send.Gather{Mode: send.GatherTime, Window: 350 * time.Millisecond}, 5},
		} {
			s, sock := newStream(tt.gather), newSocket(boundless)
			s.player(t, sock, send.Limits{}, send.SubscriberConfig{})
			before, _ := sock.counts()
			for i := range chunk.Timestamp(50) {
				s.write(audio(i*33), video(i*33+1, i == 0, 200), audio(i*33+2))
				time.Sleep(33 * time.Millisecond)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			writes, _ := sock.counts()
			if got := writes - before; got < tt.writes || got > tt.writes+2 {
				t.Errorf("%s: %d writes, want about %d", name, got, tt.writes)
			}
			if got := len(sock.messages(t)); got != 150 {
				t.Errorf("%s: the peer got %d messages of 150", name, got)
			}
		}
	})
}

func TestSecondMessageStreamGetsItsOwnHeaders(t *testing.T) {
	s, one, three := newStream(send.Gather{Mode: send.GatherMessage}), newSocket(boundless), newSocket(boundless)
	s.player(t, one, send.Limits{}, send.SubscriberConfig{})
	s.player(t, three, send.Limits{}, send.SubscriberConfig{StreamID: 3})
	s.write(video(1, true, 100_000), audio(2))
	for id, sock := range map[uint32]*socket{1: one, 3: three} {
		list := sock.messages(t)
		if brief(list) != "k1 a2" || list[0].streamID != id || len(list[0].payload) != 100_000 {
			t.Errorf("stream %d: the peer got %s on stream %d", id, brief(list), list[0].streamID)
		}
	}
}

func TestReceiveAudioAndVideo(t *testing.T) {
	s, sock := newStream(send.Gather{Mode: send.GatherMessage}), newSocket(boundless)
	sub := s.player(t, sock, send.Limits{}, send.SubscriberConfig{})
	s.write(video(1, true, 10), audio(2))
	sub.ReceiveAudio(false)
	s.write(audio(3), video(4, false, 10))
	sub.ReceiveAudio(true)
	sub.ReceiveVideo(false)
	s.write(audio(5), video(6, false, 10))
	sub.ReceiveVideo(true)
	s.write(video(7, false, 10), audio(8), video(9, true, 10), video(10, false, 10))
	if got := brief(sock.messages(t)); got != "k1 a2 v4 a5 a8 k9 v10" {
		t.Errorf("the peer got %s", got)
	}
}

func TestExtendedTimestampsNeedNoContinuationChunks(t *testing.T) {
	s, early, late := newStream(send.Gather{Mode: send.GatherMessage}), newSocket(boundless), newSocket(boundless)
	s.player(t, early, send.Limits{}, send.SubscriberConfig{})
	const after = 0x1000000
	s.write(video(0xFFFFF0, true, 100_000), video(after, false, 100_000), audio(after+1), video(after+2, true, 100_000))
	s.player(t, late, send.Limits{}, send.SubscriberConfig{})
	s.write(video(after+3, false, 100_000))
	want := fmt.Sprintf("k%d v%d a%d k%d v%d", 0xFFFFF0, after, after+1, after+2, after+3)
	if got := brief(early.messages(t)); got != want {
		t.Errorf("the first player got %s", got)
	}
	if got := brief(late.messages(t)); got != fmt.Sprintf("v%d", after+3) {
		t.Errorf("the late player got %s", got)
	}
	// A reader that never expects the timestamp to be repeated sees the same.
	if n := strings.Count(early.got.String(), "\xC6\x01\x00\x00\x00"); n > 0 {
		t.Errorf("%d continuation chunks repeat the extended timestamp", n)
	}
}

// The larger chunk size counts from the chunk behind its announcement on, so that must
// not come between the chunks of a frame that a slow player is being sent.
func TestChunkSizeIsNotRaisedInsideAFrame(t *testing.T) {
	s, sock := newStream(send.Gather{Mode: send.GatherMessage}), newSocket(50_000)
	w := send.NewWriter(sock, send.Limits{})
	t.Cleanup(func() { sock.Close(); w.Close() })
	if err := w.Send(setChunkSize()); err != nil {
		t.Fatal(err)
	}
	s.Lock()
	s.Add(send.NewSubscriber(w, send.SubscriberConfig{StreamID: 1}), nil, true)
	s.Unlock()
	s.write(video(0xFFFFF0, true, 300_000), video(0x1000000, false, 200_000))
	sock.blocked(1)
	sock.allow(boundless)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("k%d v%d", 0xFFFFF0, 0x1000000)
	if got := brief(sock.messages(t)); got != want {
		t.Errorf("the player got %s, want %s", got, want)
	}
}

// behind is a player whose socket refuses all, with small limits.
func behind(t *testing.T, limits send.Limits) (s *stream, sock *socket, dropped *atomic.Uint64) {
	t.Helper()
	s, sock, dropped = newStream(send.Gather{Mode: send.GatherMessage}), newSocket(20), new(atomic.Uint64) // Set Chunk Size fits, and a little of the first frame
	s.player(t, sock, limits, send.SubscriberConfig{
		Dropped: dropped,
		Behind:  func() *chunk.Message { return chunk.NewMessage(20, 1, 0, []byte("slow")) },
	})
	return s, sock, dropped
}

func TestSlowPlayerLosesVideoUpToTheNextKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sock, dropped := behind(t, send.Limits{Queue: 10_000})
		fast := newSocket(boundless)
		s.player(t, fast, send.Limits{}, send.SubscriberConfig{})
		s.write(video(0, true, 4000), audio(1))
		synctest.Wait()
		s.write(video(2, false, 4000), audio(3), video(4, false, 4000), audio(5)) // over the limit: v2 and v4 go
		s.write(video(6, false, 4000), audio(7))                                  // not decodable any more
		s.write(video(8, true, 4000), audio(9), video(10, false, 100))
		sock.allow(boundless)
		synctest.Wait()
		if got := brief(sock.messages(t)); got != "k0 a1 a3 c0 a5 a7 k8 a9 v10" {
			t.Errorf("the slow player got %s", got)
		}
		if got := dropped.Load(); got != 3 {
			t.Errorf("%d frames counted as dropped, want 3", got)
		}
		if got := brief(fast.messages(t)); got != "k0 a1 v2 a3 v4 a5 v6 a7 k8 a9 v10" {
			t.Errorf("the other player got %s", got)
		}
	})
}

func TestSlowPlayerKeepsItsNewestKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sock, dropped := behind(t, send.Limits{Queue: 10_000})
		s.write(video(0, true, 100))
		synctest.Wait()
		s.write(video(1, false, 6000), audio(2), video(3, true, 3000), video(4, false, 3000))
		sock.allow(boundless)
		synctest.Wait()
		if got := brief(sock.messages(t)); got != "k0 a2 k3 v4 c0" {
			t.Errorf("the player got %s", got)
		}
		if got := dropped.Load(); got != 1 {
			t.Errorf("%d frames counted as dropped, want 1", got)
		}
	})
}

// A player that stays behind hears of every gap.
func TestSlowPlayerIsToldOfEachGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sock, dropped := behind(t, send.Limits{Queue: 10_000})
		s.write(video(0, true, 4000), audio(1))
		synctest.Wait()
		s.write(video(2, false, 4000), video(3, false, 4000)) // over the limit: both go
		s.write(video(4, true, 2000))
		s.write(video(5, false, 4000), video(6, false, 4000)) // and again, with the keyframe
		s.write(video(7, true, 100))
		sock.allow(boundless)
		synctest.Wait()
		if got := brief(sock.messages(t)); got != "k0 a1 c0 c0 k7" {
			t.Errorf("the player got %s", got)
		}
		if got := dropped.Load(); got != 5 {
			t.Errorf("%d frames counted as dropped, want 5", got)
		}
	})
}

func TestQueueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sock, dropped := behind(t, send.Limits{QueueTime: time.Second})
		s.write(video(0, true, 100))
		synctest.Wait()
		s.write(video(1, false, 100))
		time.Sleep(1100 * time.Millisecond)
		s.write(video(2, false, 100), audio(3))
		if got := dropped.Load(); got != 2 {
			t.Errorf("%d frames dropped, want the 2 that wait", got)
		}
		sock.allow(boundless)
		synctest.Wait()
		if got := brief(sock.messages(t)); got != "k0 c0 a3" {
			t.Errorf("the player got %s", got)
		}
	})
}

func TestSecondLimitClosesThePlayer(t *testing.T) {
	for name, msg := range map[string]func(i int) *chunk.Message{
		"audio":  func(i int) *chunk.Message { return audio(chunk.Timestamp(i)) },
		"status": func(i int) *chunk.Message { return frame(chunk.ClassOrdered, chunk.Timestamp(i), fill(100, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			sock := newSocket(0)
			w := send.NewWriter(sock, send.Limits{Queue: 1000, QueueClose: 5000})
			defer w.Close()
			var err error
			for i := 0; err == nil && i < 100; i++ {
				err = w.Send(msg(i))
			}
			if !errors.Is(err, send.ErrTooSlow) || !sock.isClosed() {
				t.Errorf("error %v, closed %v", err, sock.isClosed())
			}
		})
	}
}

func TestBurstDoesNotCountAgainstTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(send.Gather{Mode: send.GatherMessage})
		sock, dropped := newSocket(20), new(atomic.Uint64)
		w := send.NewWriter(sock, send.Limits{Queue: 1000, QueueClose: 4000})
		t.Cleanup(func() { sock.Close(); w.Close() })
		if err := w.Send(setChunkSize()); err != nil {
			t.Fatal(err)
		}
		var burst []*chunk.Message
		for i := range chunk.Timestamp(10) {
			burst = append(burst, video(i, i == 0, 2000))
		}
		sub := send.NewSubscriber(w, send.SubscriberConfig{StreamID: 1, Dropped: dropped})
		s.Lock()
		for _, m := range burst {
			s.Encode(m)
		}
		s.Add(sub, burst, true)
		s.Unlock()
		chunk.ReleaseAll(burst)
		s.write(video(10, false, 500))
		sock.allow(boundless)
		synctest.Wait()
		if got := brief(sock.messages(t)); got != "k0 v1 v2 v3 v4 v5 v6 v7 v8 v9 v10" || dropped.Load() > 0 {
			t.Errorf("the player got %s, %d dropped", got, dropped.Load())
		}
	})
}

func TestRemovedPlayerGetsNoMore(t *testing.T) {
	s, sock := newStream(send.Gather{}), newSocket(boundless)
	sub := s.player(t, sock, send.Limits{}, send.SubscriberConfig{})
	other := newSocket(boundless)
	s.player(t, other, send.Limits{}, send.SubscriberConfig{})
	s.write(video(1, true, 10), audio(2))
	s.Lock()
	s.Remove(sub)
	s.Remove(sub)
	n := s.Len()
	s.Unlock()
	s.write(video(3, false, 10))
	if got := brief(sock.messages(t)); got != "k1 a2" || n != 1 {
		t.Errorf("the removed player got %s, %d left", got, n)
	}
	if got := brief(other.messages(t)); got != "k1 a2 v3" {
		t.Errorf("the other player got %s", got)
	}
}
