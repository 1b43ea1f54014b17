package handshake_test

import (
	"bytes"
	"testing"

	"culvert/rtmpcore/handshake"
	"culvert/testdata"
)

// FuzzServer writes patch over a C0 C1 C2 and cuts that off: inputs stay small,
// and most of them get to the digests.
func FuzzServer(f *testing.F) {
	f.Add(byte(1), uint8(0), uint16(0), []byte{}, uint16(3073))
	f.Add(byte(2), uint8(1), uint16(3073), []byte("connect"), uint16(4000))
	f.Add(byte(3), uint8(2), uint16(780), []byte{1}, uint16(2000))
	f.Add(byte(4), uint8(0), uint16(0), []byte{6}, uint16(1))

	captures, err := testdata.Captures()
	if err != nil {
		f.Fatal(err)
	}

	for _, c := range captures { // C0 C1 C2 of real clients
		f.Add(byte(5), uint8(0), uint16(0), c.ClientToServer[:3073], uint16(3073))
	}

	f.Fuzz(func(t *testing.T, seed byte, scheme uint8, at uint16, patch []byte, end uint16) {
		in := append(hello(seed, handshake.Scheme(scheme%3)), garbage(1536)...)
		at %= uint16(len(in) + 1)
		in = append(in[:at:at], append(patch, in[min(len(in), int(at)+len(patch)):]...)...)
		in = in[:min(int(end), len(in))]

		w := &wire{Reader: bytes.NewReader(in)}
		res, err := handshake.Server(w, handshake.ServerConfig{Random: seeded(1)})

		answered := len(in) >= 1537 && in[0] != 6 && in[0] != 8 && in[0] != 9
		if done := answered && len(in) >= 3073; done != (err == nil) {
			t.Fatalf("%d bytes: %v", len(in), err)
		}

		if !answered {
			if w.writes != 0 {
				t.Fatal("answered too early")
			}

			return
		}

		c1, out := in[1:1537], w.out.Bytes()
		if w.writes != 1 || len(out) != 3073 {
			t.Fatalf("%d bytes in %d writes", len(out), w.writes)
		}

		if res.Scheme == handshake.Plain {
			checkPlainAnswer(t, w, c1)
		} else if out[0] != 3 || out[5] < 3 || !verifies(c1, res.Scheme, player) || !verifies(out[1:1537], res.Scheme, server) {
			t.Fatalf("%+v does not verify", res)
		}
	})
}
