package handshake_test

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"testing"

	"culvert/rtmpcore/handshake"
	"culvert/testdata"
)

// FuzzServer writes patch over a C0 C1 C2 and cuts that off: inputs stay small,
// and most of them get to the digests. From scheme 4 on C1 asks for encryption, is
// signed after the patch, and has a key of the group before it.
func FuzzServer(f *testing.F) {
	f.Add(byte(1), uint8(0), uint16(0), []byte{}, uint16(3073))
	f.Add(byte(2), uint8(1), uint16(3073), []byte("connect"), uint16(4000))
	f.Add(byte(3), uint8(2), uint16(780), []byte{1}, uint16(2000))
	f.Add(byte(4), uint8(0), uint16(0), []byte{6}, uint16(1))
	f.Add(byte(6), uint8(4), uint16(1), []byte{}, uint16(3073))
	f.Add(byte(6), uint8(5), uint16(1), []byte{}, uint16(3073))
	f.Add(byte(6), uint8(5), uint16(8), bytes.Repeat([]byte{0}, 760), uint16(3073)) // the key 0
	f.Add(byte(6), uint8(4), uint16(0), []byte{8}, uint16(3072))

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

		if scheme >= 4 && len(in) >= 1537 {
			encryptPatched(in[:1537], handshake.Scheme(scheme%2+1))
		}

		in = in[:min(int(end), len(in))]

		w := &wire{Reader: bytes.NewReader(in)}
		res, err := handshake.Server(w, handshake.ServerConfig{Random: seeded(1), Exchange: handshake.NewExchange(1)})

		encrypted := len(in) > 0 && (in[0] == 6 || in[0] == 8 || in[0] == 9)
		refused := errors.Is(err, handshake.ErrKey) || errors.Is(err, handshake.ErrSignature)

		if refused && !encrypted {
			t.Fatal(err)
		}

		answered := len(in) >= 1537 && !refused
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

		if encrypted {
			checkEncryptedAnswer(t, res, c1, out)
		} else if res.Scheme == handshake.Plain {
			checkPlainAnswer(t, w, c1)
		} else if out[0] != 3 || out[5] < 3 || !verifies(c1, res.Scheme, player) || !verifies(out[1:1537], res.Scheme, server) {
			t.Fatalf("%+v does not verify", res)
		}
	})
}

// encryptPatched makes a C0 and C1 ask for encryption: a patch that begins in the key
// stays, all others get one of the group.
func encryptPatched(c0c1 []byte, scheme handshake.Scheme) {
	c1 := c0c1[1:]
	if c0c1[0] == 3 {
		c0c1[0] = 6
	}

	key := c1[keyAt(c1, scheme):][:128]
	if !bytes.Equal(key, make([]byte, 128)) {
		copy(key, padded(power(new(big.Int).SetBytes(key[:8]))))
	}

	at := digestAt(c1, scheme)
	copy(c1[at:], mac(player, c1[:at], c1[at+32:]))
}

func checkEncryptedAnswer(t *testing.T, res handshake.Result, c1, out []byte) {
	t.Helper()

	if res.Scheme == handshake.Plain || out[0] != 6 || out[5] < 3 || !verifies(c1, res.Scheme, player) || !verifies(out[1:1537], res.Scheme, server) {
		t.Fatalf("%+v does not verify", res)
	}

	s1 := out[1:1537]
	y := new(big.Int).SetBytes(s1[keyAt(s1, res.Scheme):][:128])

	if big.Jacobi(y, modp) != 1 || y.Cmp(modp) >= 0 {
		t.Fatal("the server's key is not of the group")
	}
}

// cutServer is a signingServer that leaves after so many bytes.
type cutServer struct {
	signingServer
	left int
}

func (s *cutServer) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}

	n, err := s.signingServer.Read(b[:min(len(b), s.left)])
	s.left -= n

	return n, err
}

// FuzzClient writes patch over what a server answers, which is signed or not, cuts it off, and
// lets the client judge it: it never answers what it refuses, and has keys exactly when it
// asked for encryption.
func FuzzClient(f *testing.F) {
	for kind := range uint8(8) {
		f.Add(kind, uint16(0), []byte{}, uint16(3073))
		f.Add(kind, uint16(0), []byte{6}, uint16(3073))
		f.Add(kind, uint16(0), []byte{3}, uint16(3073))
		f.Add(kind, uint16(5), []byte{0, 0, 0, 0}, uint16(3073))
		f.Add(kind, uint16(3072), []byte{1}, uint16(3073))
		f.Add(kind, uint16(700), []byte("garbage"), uint16(2000))
	}

	captures, err := testdata.Captures()
	if err != nil {
		f.Fatal(err)
	}

	for _, c := range captures { // S0 S1 S2 of a real server
		f.Add(uint8(0), uint16(0), c.ServerToClient[:3073], uint16(3073))
		f.Add(uint8(2), uint16(0), c.ServerToClient[:3073], uint16(3073))
	}

	f.Fuzz(func(t *testing.T, kind uint8, at uint16, patch []byte, end uint16) {
		cfg := handshake.ClientConfig{Digest: kind&2 != 0, Encrypt: kind&4 != 0, Random: seeded(3)}
		s := &cutServer{left: int(end)}
		s.scheme = handshake.Scheme(kind%2 + 1)

		if cfg.Encrypt {
			s.scheme, s.hello = handshake.Scheme1, handshake.Scheme1
			s.key = padded(power(big.NewInt(int64(kind) + 2)))
		}

		s.damage = func(b []byte) {
			if cfg.Encrypt {
				b[0] = 6
			}

			copy(b[min(int(at), len(b)):], patch)
		}

		res, err := handshake.Client(s, cfg)
		if (err == nil) != (s.c2 != nil) {
			t.Fatalf("C2 of %d bytes with %v", len(s.c2), err)
		}

		if err == nil && ((res.Keys != nil) != cfg.Encrypt || (res.Version == 6) != cfg.Encrypt) {
			t.Fatalf("version %d, keys %v, asked for encryption: %v", res.Version, res.Keys, cfg.Encrypt)
		}
	})
}
