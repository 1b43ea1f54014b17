package demo_test

import (
	"encoding/binary"
	"testing"

	"culvert/gateway/demo"
)

// FLV tag types.
const (
	audio  = 8
	video  = 9
	script = 18
)

type tag struct {
	kind byte
	ms   uint32
	body []byte
}

func tags(t *testing.T, file []byte) []tag {
	t.Helper()
	const header = 9 + 4 // FLV header and the first back pointer
	if len(file) < header || string(file[:4]) != "FLV\x01" || file[4] != 5 {
		t.Fatal("not an FLV file with audio and video")
	}
	var all []tag
	for b := file[header:]; len(b) > 0; {
		if len(b) < 11 {
			t.Fatalf("tag %d: header cut off", len(all))
		}
		size := int(binary.BigEndian.Uint32(b) & 0xFFFFFF)
		if len(b) < 11+size+4 {
			t.Fatalf("tag %d: body cut off", len(all))
		}
		all = append(all, tag{kind: b[0], ms: binary.BigEndian.Uint32(b[4:])>>8 | uint32(b[7])<<24, body: b[11 : 11+size]})
		if back := binary.BigEndian.Uint32(b[11+size:]); int(back) != 11+size {
			t.Fatalf("tag %d: back pointer %d, want %d", len(all)-1, back, 11+size)
		}
		b = b[11+size+4:]
	}
	return all
}

// The demo sends the clip for ever, so what would only be untidy in a file is an error here.
func TestClipLoops(t *testing.T) {
	if got := len(demo.Clip()); got > 600<<10 {
		t.Errorf("clip is %d bytes: it is part of every binary, keep it below 600 KiB", got)
	}
	var frames, keyFrames, sounds, headers int
	var last uint32
	for i, tag := range tags(t, demo.Clip()) {
		if tag.ms < last {
			t.Errorf("tag %d: timestamp %d after %d", i, tag.ms, last)
		}
		last = tag.ms
		switch {
		case tag.kind == script && i == 0:
		case tag.kind == video && tag.body[0]&0x0F == 7 && tag.body[1] == 0, tag.kind == audio && tag.body[0]>>4 == 10 && tag.body[1] == 0:
			if frames+sounds > 0 {
				t.Errorf("tag %d: sequence header after the first frame", i)
			}
			headers++
		case tag.kind == video && tag.body[1] == 1:
			key := tag.body[0]>>4 == 1
			if want := frames%30 == 0; key != want {
				t.Errorf("frame %d: key frame = %t, want %t", frames, key, want)
			}
			if key {
				keyFrames++
			}
			if cts := tag.body[2:5]; cts[0]|cts[1]|cts[2] != 0 {
				t.Errorf("frame %d: composition time % x: there must be no B-frames", frames, cts)
			}
			frames++
		case tag.kind == audio && tag.body[1] == 1:
			sounds++
		default:
			t.Errorf("tag %d: unexpected type %d, first bytes % x", i, tag.kind, tag.body[:min(2, len(tag.body))])
		}
	}
	seconds := int(demo.Length.Seconds())
	if headers != 2 || frames != 30*seconds || keyFrames != seconds || sounds != 48000*seconds/1024 {
		t.Errorf("%d sequence headers, %d frames, %d key frames, %d audio frames; want 2, %d, %d, %d",
			headers, frames, keyFrames, sounds, 30*seconds, seconds, 48000*seconds/1024)
	}
	if int64(last) >= demo.Length.Milliseconds() {
		t.Errorf("last timestamp is %d ms, the next round begins at %d", last, demo.Length.Milliseconds())
	}
}
