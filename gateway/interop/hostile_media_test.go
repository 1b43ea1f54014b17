//go:build interop

package interop_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"culvert/rtmpcore/amf"
)

// besidePlayer is a player of an attacker's stream.
type besidePlayer struct{ *light }

func playBeside(t *testing.T, s *server, name string) besidePlayer {
	t.Helper()
	return besidePlayer{joined(t, playLight, s.url(t, "rtmp", name))}
}

// awaitFrame waits for a frame, whatever comes before it.
func (p besidePlayer) awaitFrame(t *testing.T, want []byte) {
	t.Helper()
	for n := 0; ; n++ {
		got, err := p.next()
		if err != nil {
			t.Fatalf("the player ended after %d messages: %v", n, err)
		}
		if bytes.Equal(got, want) {
			return
		}
	}
}

// requireRelayed publishes payloads and checks that the publisher is not cut off, that its player gets what comes after them, and
// that a late player gets it too.
func requireRelayed(t *testing.T, a *attacker, name string, typeID byte, payloads ...[]byte) {
	t.Helper()
	early := playBeside(t, a.s, name)
	c := a.dial(t, "rtmp").publish(name).send(setChunkSize(65536))
	for _, p := range payloads {
		c.send(chunked(6, typeID, 1, p, 65536))
	}
	c.send(chunked(6, videoType, 1, avcHeader, 65536), chunked(6, videoType, 1, keyFrame("good"), 65536))
	early.awaitFrame(t, keyFrame("good"))
	playBeside(t, a.s, name).awaitFrame(t, keyFrame("good"))
	c.leaves()
}

// metadata is an onMetaData message of a size.
func metadata(size int) []byte {
	head := values("@setDataFrame", "onMetaData")
	const around = 1 + 4 + 2 + 1 + 1 + 4 + 3 // ECMA array with one key of one letter and a long string
	return append(head, values(amf.ECMAArray{{Key: "x", Value: strings.Repeat("m", size-len(head)-around)}})...)
}

// mediaCases are publishers whose media is not what it says.
var mediaCases = []hostileCase{
	{"random video", nil, func(t *testing.T, a *attacker) {
		random := rand.New(rand.NewPCG(3, 4))
		var payloads [][]byte
		for range 500 {
			p := make([]byte, random.IntN(300))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			payloads = append(payloads, p)
		}
		requireRelayed(t, a, "random-video", videoType, payloads...)
		requireRelayed(t, a, "random-audio", audioType, payloads...)
		requireRelayed(t, a, "random-data", 18, payloads...)
		requireRelayed(t, a, "random-aggregate", 22, payloads...)
	}},
	{"ModEx bombs", nil, func(t *testing.T, a *attacker) {
		// E-RTMP v2: packet type 7 is followed by a size, data, and the kind of the next one.
		bomb := append([]byte{0x97}, bytes.Repeat([]byte{0, 0, 0x07}, 30_000)...)
		lie := []byte{0x97, 0xFF, 0xFF, 0xFF, 1}
		requireRelayed(t, a, "modex", videoType, bomb, lie, lie[:2], bomb[:1])
		sound := append([]byte{0x97}, bytes.Repeat([]byte{0, 0, 0x07}, 30_000)...)
		requireRelayed(t, a, "modex-audio", audioType, sound, lie, lie[:2])
	}},
	{"multitrack lies", nil, func(t *testing.T, a *attacker) {
		var payloads [][]byte
		for _, kind := range []byte{0x00, 0x10, 0x20, 0x30, 0xF0} {
			for _, rest := range []string{"", "a", "avc1", "avc1\x00", "avc1\x00\xFF\xFF\xFF", "avc1\x00\xFF\xFF\xFFxyz", "avc1\x00\x00\x00\x01x\x01\x00\x00\x09", strings.Repeat("avc1\x05\x00\x00\x00", 5000)} {
				payloads = append(payloads, append([]byte{0x96, kind}, rest...), append([]byte{0x96, kind | 6}, rest...))
			}
		}
		requireRelayed(t, a, "multitrack", videoType, payloads...)
		requireRelayed(t, a, "multitrack-audio", audioType, payloads...)
	}},
	{"sequence headers of 256 tracks", nil, func(t *testing.T, a *attacker) {
		var payloads [][]byte
		for id := range 256 {
			payloads = append(payloads, append([]byte{0x96, 0x00, 'a', 'v', 'c', '1', byte(id)}, bytes.Repeat([]byte{1}, 1000)...))
		}
		requireRelayed(t, a, "tracks", videoType, payloads...)
	}},
	{"frames of no bytes", nil, func(t *testing.T, a *attacker) {
		requireRelayed(t, a, "empty", videoType, nil, nil, []byte{0x17}, []byte{0x17, 0}, []byte{0x17, 0, 0, 0, 0}, []byte{0x90}, nil)
	}},
	{"key frames without end", nil, func(t *testing.T, a *attacker) { // beyond the cache for late players
		var payloads [][]byte
		for range 8 {
			payloads = append(payloads, append([]byte{0x27, 1, 0, 0, 0}, make([]byte, 256<<10)...))
		}
		requireRelayed(t, a, "endless-gop", videoType, append([][]byte{keyFrame("first")}, payloads...)...)
	}},
	{"times that jump", nil, func(t *testing.T, a *attacker) {
		p := playBeside(t, a.s, "jumps")
		c := a.dial(t, "rtmp").publish("jumps")
		for _, at := range []uint32{0, 0xFFFFFFFF, 5, 0x80000000, 0xFFFFFF, 0x1000000, 1} {
			frame := keyFrame("x")
			h := header0(6, len(frame), videoType, 1)
			h[1], h[2], h[3] = 0xFF, 0xFF, 0xFF
			c.send(h, be32(at), frame)
		}
		c.send(message0(6, videoType, 1, keyFrame("good")))
		p.awaitFrame(t, keyFrame("good"))
		c.leaves()
	}},
	{"metadata of 255 KB", nil, func(t *testing.T, a *attacker) {
		requireRelayed(t, a, "metadata", 18, metadata(255<<10))
	}},
	{"metadata of 257 KB", tally{"message_length": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").publish("too-much").send(message0(5, 18, 1, metadata(257<<10))).ends("message length 263168 is over the limit of 262144")
	}},
	{"metadata that lies", nil, func(t *testing.T, a *attacker) {
		var payloads [][]byte
		for _, bad := range badValues {
			payloads = append(payloads, append(values("@setDataFrame", "onMetaData"), bad.value...), append(values("onMetaData"), bad.value...), bad.value)
		}
		requireRelayed(t, a, "bad-metadata", 18, payloads...)
		for _, bad := range badValues3 {
			payloads = append(payloads, append(values("@setDataFrame", "onMetaData"), append([]byte{0x11}, bad...)...), append([]byte{0}, bad...))
		}
		requireRelayed(t, a, "bad-metadata-3", 15, payloads...)
	}},
	{"aggregates that lie", nil, func(t *testing.T, a *attacker) {
		tag := []byte{9, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x27, 1, 0, 0, 0, 0, 14}
		nested := append([]byte{22, 0, 0, byte(len(tag)), 0, 0, 0, 0, 0, 0, 0}, append(bytes.Clone(tag), 0, 0, 0, 0)...)
		long := bytes.Clone(tag)
		long[1], long[2] = 0xFF, 0xFF
		requireRelayed(t, a, "aggregates", 22, tag, tag[:5], tag[:13], long, append(bytes.Clone(tag), long...), nested, bytes.Repeat(tag[:11], 1000), nil)
	}},
}
