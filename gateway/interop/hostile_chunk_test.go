//go:build interop

package interop_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// chunkCases break the handshake and the chunk stream.
var chunkCases = []hostileCase{
	{"RTMPE", tally{"rtmpe": 3}, func(t *testing.T, a *attacker) {
		for _, first := range []byte{6, 8, 9} {
			a.dial(t, "rtmp").send([]byte{first}, make([]byte, 1536)).ends("RTMPE, which is not served")
		}
	}},
	{"unknown first byte", tally{"unknown_protocol": 5}, func(t *testing.T, a *attacker) {
		for _, first := range []byte{0, 0x1F, 0x80, 0xFF, '\n'} {
			a.dial(t, "rtmp").send([]byte{first}, make([]byte, 1536)).ends("unknown_protocol")
		}
	}},
	{"nothing at all", tally{"empty": 20}, func(t *testing.T, a *attacker) {
		for range 20 {
			c := a.dial(t, "rtmp")
			c.Close()
			c.book.requireEnd(t, c.from, "empty")
		}
	}},
	{"gone in the handshake", nil, func(t *testing.T, a *attacker) {
		for _, n := range []int{1, 2, 700, 1536, 1537, 1538, 3072} {
			c := a.dial(t, "rtmp").send([]byte{3}, make([]byte, n-1))
			c.Close()
			c.book.requireEnd(t, c.from, "client left", "interrupted")
		}
	}},
	{"garbage after the handshake", tally{"message_length": 15, "protocol": 15}, func(t *testing.T, a *attacker) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 30 {
			garbage := make([]byte, 64<<10)
			for i := range garbage {
				garbage[i] = byte(random.Uint32())
			}
			// What the garbage begins with decides which rule it breaks first.
			a.dial(t, "rtmp").handshake().send(garbage).ends("chunk:", "protocol:", "message")
		}
	}},
	{"chunk size 0", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").connect().send(setChunkSize(0)).ends("Set Chunk Size is not between")
	}},
	{"chunk size 0x80000000", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").handshake().send(setChunkSize(1 << 31)).ends("Set Chunk Size is not between")
	}},
	{"chunk size without a value", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").handshake().send(message0(2, 1, 0, []byte{0, 0})).ends("Set Chunk Size is shorter")
	}},
	{"chunk size 0x7FFFFFFF and a large message", tally{"message_length": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").publish("vast").send(setChunkSize(0x7FFFFFFF), header0(6, 0xFFFFFF, videoType, 1)).
			ends("message length 16777215 is over the limit of 2097152")
	}},
	{"16 MiB command", tally{"message_length": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").handshake().send(header0(3, 0xFFFFFF, 20, 0)).ends("message length 16777215 is over the limit of 262144")
	}},
	{"16 MiB media of one who does not publish", tally{"message_length": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").stream().send(header0(6, 1<<20, videoType, 1)).ends("message length 1048576 is over the limit of 262144")
	}},
	{"1000 chunk streams", tally{"chunk_streams": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").publish("streams")
		for csid := 10; csid < 1010; csid++ {
			c.send(header0(csid, 1000, videoType, 1), make([]byte, 128))
		}
		c.ends("chunk streams 65 is over the limit of 64")
	}},
	{"unfinished messages", tally{"partial_bytes": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").publish("unfinished").send(setChunkSize(200_000))
		for csid := 10; csid < 60; csid++ {
			c.send(header0(csid, 2<<20, videoType, 1), make([]byte, 200_000))
		}
		c.ends("partial bytes")
	}},
	{"unfinished messages of one who does not publish", tally{"partial_bytes": 1}, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").handshake().send(setChunkSize(200_000))
		for csid := 10; csid < 60; csid++ {
			c.send(header0(csid, 250_000, 20, 0), make([]byte, 200_000))
		}
		c.ends("partial bytes")
	}},
	{"type 3 first", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").handshake().send([]byte{0xC6}, make([]byte, 128)).ends("bytes were lost")
	}},
	{"type 2 first", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		a.dial(t, "rtmp").handshake().send([]byte{0x86, 0, 0, 1}).ends("bytes were lost")
	}},
	{"chunk size changed inside a message", nil, func(t *testing.T, a *attacker) {
		frame := keyFrame(string(bytes.Repeat([]byte("0123456789"), 100)))
		p := playBeside(t, a.s, "resized")
		c := a.dial(t, "rtmp").publish("resized").
			send(header0(6, len(frame), videoType, 1), frame[:128], setChunkSize(500), []byte{0xC6}, frame[128:628]).
			send(chunked(2, 1, 0, be32(1), 500), []byte{0xC6}, frame[628:629], chunked(2, 1, 0, be32(0x7FFFFFFF), 1)).
			send([]byte{0xC6}, frame[629:])
		p.awaitFrame(t, frame)
		c.leaves()
	}},
	{"chunk size 1 and a large frame", nil, func(t *testing.T, a *attacker) {
		frame := keyFrame(string(bytes.Repeat([]byte("x"), 100_000)))
		p := playBeside(t, a.s, "tiny")
		c := a.dial(t, "rtmp").publish("tiny").send(setChunkSize(1), chunked(6, videoType, 1, frame, 1))
		p.awaitFrame(t, frame)
		c.leaves()
	}},
	{"abort of everything", tally{"protocol": 1}, func(t *testing.T, a *attacker) {
		p := playBeside(t, a.s, "aborted")
		c := a.dial(t, "rtmp").publish("aborted")
		for csid := 6; csid < 60; csid++ {
			c.send(header0(csid, 100_000, videoType, 1), make([]byte, 128))
		}
		for csid := range 70 {
			c.send(abort(csid))
		}
		c.send(abort(-1), message0(6, videoType, 1, keyFrame("good")))
		p.awaitFrame(t, keyFrame("good"))
		c.send(message0(2, 2, 0, []byte{1})).ends("Abort is shorter")
	}},
	{"acknowledgements of nothing", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect().send(message0(2, 3, 0, be32(0xFFFFFFFF)), message0(2, 3, 0, be32(0x100)), message0(2, 3, 0, nil),
			message0(2, 5, 0, be32(0)), message0(2, 5, 0, be32(0xFFFFFFFF)), message0(2, 6, 0, append(be32(0), 9)))
		c.send(message0(3, 20, 0, values("createStream", 2.0, nil))).await("_result").leaves()
	}},
	{"events that lie", tally{"protocol": 6}, func(t *testing.T, a *attacker) {
		for _, event := range []string{"", "\x00", "\x00\x06", "\x00\x06\x01\x02", "\x00\x03\x00\x00\x00\x01", "\x00\x00\x01"} {
			a.dial(t, "rtmp").connect().send(message0(2, 4, 0, []byte(event))).ends("protocol", "message")
		}
		c := a.dial(t, "rtmp").connect().send(message0(2, 4, 0, []byte("\xFF\xFF\xFF\xFF\xFF\xFF")), message0(2, 4, 0, []byte("\x00\x1B"+strings.Repeat("x", 42))))
		c.send(message0(3, 20, 0, values("createStream", 2.0, nil))).await("_result").leaves()
	}},
	{"messages of no type", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect()
		for typeID := range 256 {
			if !slices.Contains([]int{1, 2, 4, 5, 6, 17, 20}, typeID) {
				c.send(message0(3, byte(typeID), 7, []byte("\x02\x00\x01x\xFF\xFF")), message0(3, byte(typeID), 0, nil))
			}
		}
		c.send(message0(3, 20, 0, values("createStream", 2.0, nil))).await("_result").leaves()
	}},
}
