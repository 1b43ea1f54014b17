package bench_test

import (
	"testing"
	"time"

	"culvert/gateway/bench"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
)

func TestFramesLookLikeMedia(t *testing.T) {
	videoHeader, audioHeader := bench.Headers()
	if h := flv.ParseVideo(videoHeader); !h.IsSequenceHeader() || h.Codec != flv.CodecAVC {
		t.Errorf("video sequence header: %+v", h)
	}
	if h := flv.ParseAudio(audioHeader); !h.IsSequenceHeader() || h.Codec != flv.CodecAAC {
		t.Errorf("audio sequence header: %+v", h)
	}
	video, audio := bench.NewFrameMaker(true), bench.NewFrameMaker(false)
	if h := flv.ParseVideo(video.Next(1000, true, 0)); !h.IsFrame() || !h.IsKeyframe() {
		t.Errorf("key frame: %+v", h)
	}
	if h := flv.ParseVideo(video.Next(1000, false, 0)); !h.IsFrame() || h.IsKeyframe() {
		t.Errorf("frame: %+v", h)
	}
	if h := flv.ParseAudio(audio.Next(100, false, 0)); !h.IsFrame() {
		t.Errorf("audio frame: %+v", h)
	}
	for typeID, header := range map[uint8][]byte{message.TypeVideo: videoHeader, message.TypeAudio: audioHeader} {
		if _, _, _, ok := bench.ParseFrame(typeID, header); ok {
			t.Errorf("a sequence header of type %d is taken for a frame", typeID)
		}
	}
}

// Every change and every cut of a frame is seen.
func TestFrameChecksum(t *testing.T) {
	for _, typeID := range []uint8{message.TypeVideo, message.TypeAudio} {
		m := bench.NewFrameMaker(typeID == message.TypeVideo)
		m.Next(200, true, 0)
		b := m.Next(200, false, 5*time.Second)
		number, made, intact, ok := bench.ParseFrame(typeID, b)
		if number != 1 || made != 5*time.Second || !intact || !ok {
			t.Fatalf("number %d, made at %v, intact %v, a frame %v", number, made, intact, ok)
		}
		prefix := map[uint8]int{message.TypeVideo: 10, message.TypeAudio: 2}[typeID]
		for i := prefix; i < len(b); i++ {
			b[i] ^= 1
			if _, _, intact, ok := bench.ParseFrame(typeID, b); intact || !ok {
				t.Errorf("type %d: byte %d was changed and nobody saw it", typeID, i)
			}
			b[i] ^= 1
		}
		for i := range b {
			if _, _, intact, _ := bench.ParseFrame(typeID, b[:i]); intact {
				t.Errorf("type %d: cut to %d bytes it is intact", typeID, i)
			}
		}
	}
}
