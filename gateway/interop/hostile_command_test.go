//go:build interop

package interop_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/rtmpcore/amf"
)

// command is a type 20 message of a payload.
func command(payload ...[]byte) []byte { return message0(3, 20, 0, bytes.Join(payload, nil)) }

// argument is the payload of a command without a meaning, up to its argument.
func argument(v ...byte) []byte { return append(values("whatever", 5.0, nil), v...) }

// badValues are AMF0 values that cannot be read, with what the log must say of them.
var badValues = map[string]struct {
	value []byte
	words string
}{
	"objects 10,000 deep":           {append(bytes.Repeat([]byte{3, 0, 1, 'a'}, 10_000), 5), "levels"},
	"arrays 10,000 deep":            {append(bytes.Repeat([]byte{10, 0, 0, 0, 1}, 10_000), 5), "levels"},
	"strict array of 0xFFFFFFFF":    {[]byte{10, 0xFF, 0xFF, 0xFF, 0xFF, 5, 5}, "amf:"},
	"strict array of 50,000":        {append([]byte{10, 0, 0, 0xC3, 0x50}, bytes.Repeat([]byte{5}, 50_000)...), "properties"},
	"strict array longer than said": {[]byte{10, 0, 0, 0, 9, 5}, "amf:"},
	"long string of 0xFFFFFFFF":     {[]byte{12, 0xFF, 0xFF, 0xFF, 0xFF, 'a'}, "amf:"},
	"string of 65535":               {[]byte{2, 0xFF, 0xFF, 'a'}, "amf:"},
	"XML of 0xFFFFFFFF":             {[]byte{15, 0xFF, 0xFF, 0xFF, 0xFF}, "amf:"},
	"key of 65535":                  {[]byte{3, 0xFF, 0xFF, 'a'}, "amf:"},
	"reference to nothing":          {[]byte{7, 0xFF, 0xFF}, "reference"},
	"reference to itself":           {[]byte{3, 0, 1, 'a', 7, 0, 0, 0, 0, 9}, "reference"},
	"reference bomb":                {referenceBomb(), "amf:"},
	"reserved marker":               {[]byte{14}, "marker"},
	"no such marker":                {[]byte{0x80}, "marker"},
	"half a number":                 {[]byte{0, 1, 2}, "amf:"},
	"half a date":                   {[]byte{11, 1, 2}, "amf:"},
}

// badValues3 are AMF3 values that cannot be read.
var badValues3 = map[string][]byte{
	"arrays 10,000 deep":  append(bytes.Repeat([]byte{9, 3, 1}, 10_000), 1),
	"array of 2^28":       {9, 0xFF, 0xFF, 0xFF, 0xFF, 1},
	"string of 2^28":      {6, 0xFF, 0xFF, 0xFF, 0xFF},
	"bytes of 2^28":       {12, 0xFF, 0xFF, 0xFF, 0xFF},
	"vector of 2^28":      {13, 0xFF, 0xFF, 0xFF, 0xFF, 0},
	"dictionary of 2^28":  {17, 0xFF, 0xFF, 0xFF, 0xFF, 0},
	"traits of 2^28":      {10, 0xFF, 0xFF, 0xFF, 0xF3, 1},
	"reference of 2^28":   {10, 0xFF, 0xFF, 0xFF, 0xFE},
	"number without end":  {4, 0xFF},
	"marker without name": {0x7F},
}

// referenceBomb is arrays each of which has the one before it eight times.
func referenceBomb() []byte {
	b := []byte{10, 0, 0, 0, 13, 10, 0, 0, 0, 8}
	b = append(b, bytes.Repeat([]byte{5}, 8)...)
	for i := range 12 {
		b = append(b, 10, 0, 0, 0, 8)
		b = append(b, bytes.Repeat([]byte{7, 0, byte(i + 1)}, 8)...)
	}
	return b
}

// commandCases are commands that lie, come too early or too often.
var commandCases = []hostileCase{
	{"values that lie", tally{"amf": 10, "protocol": 22}, func(t *testing.T, a *attacker) {
		for name, bad := range badValues {
			t.Run(name, func(t *testing.T) {
				a.dial(t, "rtmp").connect().send(command(argument(bad.value...))).ends(bad.words)
				a.dial(t, "rtmp").handshake().send(command(values("connect", 1.0), bad.value)).ends(bad.words)
			})
		}
	}},
	{"ECMA array count 0xFFFFFFFF", nil, func(t *testing.T, a *attacker) { // the count is only a hint (AMF0 §2.10)
		array := []byte{8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 'a', 5, 0, 0, 9}
		a.dial(t, "rtmp").connect().send(command(argument(array...))).await("_error").leaves()
	}},
	{"AMF3 that lies", tally{"amf": 4, "protocol": 6}, func(t *testing.T, a *attacker) {
		for name, value := range badValues3 {
			t.Run(name, func(t *testing.T) {
				payload := append([]byte{0}, argument(append([]byte{0x11}, value...)...)...)
				c := a.dial(t, "rtmp").connect().send(message0(3, 17, 0, payload))
				// A command that nobody serves may be answered by its name, whatever its arguments are.
				if c.sees("_error") {
					c.leaves()
					return
				}
				c.ends("amf:")
			})
		}
	}},
	{"tcUrl of 64 KB", tally{"message_length": 1}, func(t *testing.T, a *attacker) {
		for _, n := range []int{65_535, 65_536, 200_000} {
			connect := command(values("connect", 1.0, connectObject("rtmp://host/"+strings.Repeat("x", n-12))))
			a.dial(t, "rtmp").handshake().send(connect).await("NetConnection.Connect.Success").leaves()
		}
		connect := command(values("connect", 1.0, connectObject("rtmp://host/"+strings.Repeat("x", 300_000))))
		a.dial(t, "rtmp").handshake().send(connect).ends("over the limit of 262144")
	}},
	{"names of 64 KB", tally{"stream_name": 2}, func(t *testing.T, a *attacker) {
		name := strings.Repeat("n", 65_000)
		a.dial(t, "rtmp").stream().send(message0(3, 20, 1, values("publish", 3.0, nil, name, "live"))).
			await("NetStream.Publish.BadName").ends("stream name is too long")
		a.dial(t, "rtmp").stream().send(message0(3, 20, 1, values("play", 3.0, nil, name))).
			await("NetStream.Play.StreamNotFound").ends("stream name is too long")
		c := a.dial(t, "rtmp").connect()
		c.send(command(values(name, 4.0, nil))).await("_error").leaves()
	}},
	{"truncated commands", tally{"protocol": 11}, func(t *testing.T, a *attacker) {
		whole := values("connect", 1.0, amf.Object{{Key: "app", Value: "live"}})
		for n := 0; n < len(whole)-3; n += 3 {
			a.dial(t, "rtmp").handshake().send(command(whole[:n])).ends("message", "protocol", "amf", "before connect")
		}
	}},
	{"commands of the wrong kind", tally{"protocol": 4}, func(t *testing.T, a *attacker) {
		for name, payload := range map[string][]byte{
			"number for a name":      values(1.0, 1.0, nil),
			"text for a transaction": values("createStream", "x", nil),
			"nothing":                nil,
		} {
			t.Run(name, func(t *testing.T) { a.dial(t, "rtmp").connect().send(command(payload)).ends("message") })
		}
		a.dial(t, "rtmp").handshake().send(command(values("connect", 1.0, 5.0))).ends("connect without a command object")
		c := a.dial(t, "rtmp").stream()
		for i, v := range []any{nil, 5.0, true, amf.Object{}, amf.StrictArray{"x"}} {
			for _, name := range []string{"play", "pause", "seek", "receiveVideo", "deleteStream", "FCPublish", "getStreamLength"} {
				c.send(message0(3, 20, 1, values(name, float64(10+i), nil, v)))
			}
		}
		c.send(command(values("createStream", 99.0, nil))).await("_result\x00\x40\x58\xC0").leaves()
	}},
	{"commands before connect", tally{"protocol": 5}, func(t *testing.T, a *attacker) {
		for _, name := range []string{"publish", "play", "createStream", "deleteStream", "whatever"} {
			a.dial(t, "rtmp").handshake().send(command(values(name, 1.0, nil, "x"))).ends(name + " before connect")
		}
	}},
	{"connect again and again", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect()
		for i := range 100 {
			c.send(command(values("connect", float64(i+2), connectObject("rtmp://host/live"))))
		}
		c.send(command(values("createStream", 200.0, nil))).await("_result").leaves()
	}},
	{"endless createStream", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect()
		for i := range 2000 {
			c.send(command(values("createStream", float64(i+2), nil)))
			if i >= 32 {
				c.await("_error")
			}
		}
		c.leaves()
	}},
	{"publish and play on streams that are not there", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect()
		for id := range uint32(100) {
			c.send(message0(3, 20, id*0x1000193, values("publish", 3.0, nil, fmt.Sprint("nowhere", id), "live"))).await("NetStream.Failed")
		}
		c.leaves()
	}},
	{"one name many times", tally{"rules": 20}, func(t *testing.T, a *attacker) {
		first := a.dial(t, "rtmp").publish("mine")
		for range 20 {
			a.dial(t, "rtmp").stream().send(message0(3, 20, 1, values("publish", 3.0, nil, "mine", "live"))).
				await("NetStream.Publish.BadName").ends("has a publisher already")
		}
		first.leaves()
	}},
	{"a player that reads nothing", nil, func(t *testing.T, a *attacker) {
		p := a.dial(t, "rtmp").publish("flood")
		c := a.dial(t, "rtmp").stream().send(message0(3, 20, 1, values("play", 3.0, nil, "flood"))).await("NetStream.Play.Start")
		frame := keyFrame(strings.Repeat("f", 1<<20))
		p.send(setChunkSize(2 << 20))
		for range 64 { // more than sockets and queue take
			p.send(chunked(6, videoType, 1, frame, 2<<20))
		}
		c.endsUnread()
		p.leaves()
	}},
	{"pings whose answers nobody reads", nil, func(t *testing.T, a *attacker) {
		c := a.dial(t, "rtmp").connect()
		pings := bytes.Repeat(message0(2, 4, 0, []byte{0, 6, 1, 2, 3, 4}), 5000)
		for c.SetWriteDeadline(time.Now().Add(patience)) == nil {
			if _, err := c.Write(pings); err != nil {
				break
			}
		}
		c.endsUnread()
	}},
}

// endsUnread waits until the gateway has hung up because nothing is read. What comes first, the limit of the queue or of the time, is
// a matter of how fast this machine is.
func (c *raw) endsUnread() {
	c.t.Helper()
	c.book.requireEnd(c.t, c.from, "reads too slowly", "timeout")
	if strings.Contains(c.book.reasons(c.from)[0], "reads too slowly") {
		c.counted["too_slow"]++
	} else {
		c.counted["write_timeout"]++
	}
}
