package bench

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// Frames look like H.264 and AAC to a server: the tag header says so, key frames
// are marked, and sequence headers come first. What should be a picture is
//
//	mark (4) | checksum (4) | number (8) | made at (8) | filler
//
// all big-endian, video behind the length of its one NAL unit and that unit's
// header. Numbers count from 0 for each kind and publisher. The time is that of
// the load generator's clock, in nanoseconds. The checksum is CRC-32C over
// everything behind it, to the end of the message: processors have an instruction
// for it, so it costs the load generator less than copying the frame does.
const (
	frameMark    = 0x63764221
	stampLength  = 24
	videoPrefix  = 5 + 4 + 1 // tag header, NAL unit length, NAL unit header
	audioPrefix  = 2
	minVideo     = videoPrefix + stampLength
	minAudio     = audioPrefix + stampLength
	avcKeyframe  = 0x17
	avcFrame     = 0x27
	avcPicture   = 1
	aacStereo    = 0xAF
	aacRaw       = 1
	nalIDR       = 0x65
	nalNonIDR    = 0x41
	checksumFrom = 8 // offset in the stamp of what is checksummed
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// videoHeader announces 640 x 360, Main profile.
	videoHeader = []byte{
		avcKeyframe, 0, 0, 0, 0, 1, 0x4D, 0x40, 0x1F, 0xFF, 0xE1, 0, 0x1A,
		0x67, 0x4D, 0x40, 0x1F, 0xA6, 0x11, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xF0, 0x3C, 0x60, 0xC8, 0x46,
		1, 0, 5, 0x68, 0xE8, 0x43, 0x32, 0xC8,
	}
	// audioHeader announces AAC-LC, 44,100 Hz, stereo.
	audioHeader = []byte{aacStereo, 0, 0x12, 0x10}
)

// clock is the time base of the stamps: the monotonic clock of this process.
type clock struct{ base time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.base) }

// frameWriter makes the frames of one kind of one publisher. It is for one
// goroutine.
type frameWriter struct {
	video  bool
	number uint64
	buf    []byte
}

// next returns a frame of size payload bytes, at least minVideo or minAudio,
// made now and handed to the caller.
func (w *frameWriter) next(size int, key bool, at chunk.Timestamp, streamID uint32, now time.Duration) *chunk.Message {
	if len(w.buf) < size {
		w.grow(size)
	}
	b, prefix, kind := w.buf[:size], audioPrefix, message.TypeAudio
	b[0], b[1] = aacStereo, aacRaw
	if w.video {
		prefix, kind = videoPrefix, message.TypeVideo
		b[0], b[1], b[2], b[3], b[4] = avcFrame, avcPicture, 0, 0, 0
		binary.BigEndian.PutUint32(b[5:], uint32(size-9))
		b[9] = nalNonIDR
		if key {
			b[0], b[9] = avcKeyframe, nalIDR
		}
	}
	stamp := b[prefix:]
	binary.BigEndian.PutUint32(stamp, frameMark)
	binary.BigEndian.PutUint64(stamp[8:], w.number)
	binary.BigEndian.PutUint64(stamp[16:], uint64(now))
	binary.BigEndian.PutUint32(stamp[4:], crc32.Checksum(stamp[checksumFrom:], castagnoli))
	w.number++
	return chunk.NewMessage(kind, streamID, at, b)
}

// grow makes room for a frame and fills it with bytes that do not compress.
func (w *frameWriter) grow(size int) {
	w.buf = make([]byte, size)
	x := uint64(0x9E3779B97F4A7C15)
	for i := range w.buf {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		w.buf[i] = byte(x)
	}
}

// frame is what a received frame says about itself.
type frame struct {
	number uint64
	made   time.Duration
	intact bool // the checksum is right
}

// parseFrame reads a message's payload. It is false for a sequence header, and
// for whatever else is no frame.
func parseFrame(typeID uint8, b []byte) (frame, bool) {
	prefix := audioPrefix
	if typeID == message.TypeVideo {
		prefix = videoPrefix
	}
	if len(b) < 2 || b[1] == 0 {
		return frame{}, false
	}
	if len(b) < prefix+stampLength {
		return frame{}, true
	}
	stamp := b[prefix:]
	return frame{
		number: binary.BigEndian.Uint64(stamp[8:]),
		made:   time.Duration(binary.BigEndian.Uint64(stamp[16:])),
		intact: binary.BigEndian.Uint32(stamp) == frameMark &&
			binary.BigEndian.Uint32(stamp[4:]) == crc32.Checksum(stamp[checksumFrom:], castagnoli),
	}, true
}
