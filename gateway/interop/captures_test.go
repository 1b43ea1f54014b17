package interop_test

import (
	"bytes"
	"testing"

	"culvert/testdata"
)

// The shared captures are whole connections: both handshakes, the client's command, an answer to it.
func TestCapturesAreWhole(t *testing.T) {
	t.Parallel()
	captures, err := testdata.Captures()
	if err != nil {
		t.Fatal(err)
	}
	if len(captures) < 5 {
		t.Errorf("%d captures, want at least those of ffmpeg, GStreamer and rtmpdump", len(captures))
	}
	const handshake = 1 + 2*1536
	for _, c := range captures {
		t.Run(c.Name(), func(t *testing.T) {
			for direction, data := range map[string][]byte{"connect": c.ClientToServer, "_result": c.ServerToClient} {
				if len(data) < handshake || data[0] != 3 {
					t.Errorf("%d bytes that begin with % x are no RTMP handshake", len(data), data[:min(1, len(data))])
				} else if !bytes.Contains(data[handshake:], []byte(direction)) {
					t.Errorf("no %s after the handshake", direction)
				}
			}
		})
	}
}
