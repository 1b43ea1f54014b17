package handshake_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/iotest"

	"culvert/rtmpcore/handshake"
)

//go:embed testdata/ffmpeg-5.1.9.c0c1.bin
var ffmpegC0C1 []byte

const (
	player = "Genuine Adobe Flash Player 001"
	server = "Genuine Adobe Flash Media Server 001"
)

// tail ends both long keys.
func tail() string {
	b, err := hex.DecodeString("F0EEC24A8068BEE82E00D0D1029E7E576EEC5D2D29806FAB93B8E636CFEB31AE")
	if err != nil {
		panic(err)
	}

	return string(b)
}

// seeded is a source of bytes that are the same for the same seed.
func seeded(seed byte) io.Reader {
	return rand.NewChaCha8([32]byte{seed})
}

func mac(key string, b ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(key))
	for _, b := range b {
		h.Write(b)
	}

	return h.Sum(nil)
}

// digestAt is the tests' own reading of where the digest is.
func digestAt(c []byte, scheme handshake.Scheme) int {
	if scheme == handshake.Scheme1 {
		return (int(c[772])+int(c[773])+int(c[774])+int(c[775]))%728 + 776
	}

	return (int(c[8])+int(c[9])+int(c[10])+int(c[11]))%728 + 12
}

func verifies(c []byte, scheme handshake.Scheme, key string) bool {
	at := digestAt(c, scheme)

	return bytes.Equal(c[at:at+32], mac(key, c[:at], c[at+32:]))
}

// hello returns C0 and C1, signed in scheme unless that is Plain.
func hello(seed byte, scheme handshake.Scheme) []byte {
	b := make([]byte, 1537)
	_, _ = io.ReadFull(seeded(seed), b)
	b[0] = 3
	copy(b[1:], []byte{0, 0, 0x30, 0x39, 0, 0, 0, 0})

	if scheme != handshake.Plain {
		copy(b[5:], []byte{10, 0, 32, 18})

		at := digestAt(b[1:], scheme)
		copy(b[1+at:], mac(player, b[1:1+at], b[1+at+32:]))
	}

	return b
}

// wire is a connection whose input is known beforehand.
type wire struct {
	io.Reader
	out    bytes.Buffer
	writes int
}

func (w *wire) Write(b []byte) (int, error) {
	w.writes++

	return w.out.Write(b)
}

func garbage(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(seeded(99), b)

	return b
}

// TestServerPlain: an unsigned C1 is answered with a copy of itself and an S1
// without a version, whatever the pieces it arrives in, and in one write.
func TestServerPlain(t *testing.T) {
	t.Parallel()

	in := append(hello(1, handshake.Plain), garbage(1536)...)

	for name, r := range map[string]io.Reader{
		"in one piece":       bytes.NewReader(in),
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(in)),
		"halves":             iotest.HalfReader(bytes.NewReader(in)),
		"data with EOF":      iotest.DataErrReader(bytes.NewReader(in)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			w := &wire{Reader: r}

			res, err := handshake.Server(w, handshake.ServerConfig{Random: seeded(2)})
			if err != nil {
				t.Fatal(err)
			}

			if want := (handshake.Result{Version: 3, ServerTail: res.ServerTail}); res != want {
				t.Errorf("result %+v, want %+v", res, want)
			}

			checkPlainAnswer(t, w, in[1:1537])
		})
	}
}

func checkPlainAnswer(t *testing.T, w *wire, c1 []byte) {
	t.Helper()

	out := w.out.Bytes()
	if w.writes != 1 || len(out) != 3073 {
		t.Fatalf("%d bytes in %d writes", len(out), w.writes)
	}

	if out[0] != 3 {
		t.Errorf("S0 is %#x", out[0])
	}

	if !bytes.Equal(out[5:9], make([]byte, 4)) {
		t.Errorf("version in an unsigned S1: %x", out[5:9])
	}

	if bytes.Equal(out[9:1537], make([]byte, 1528)) {
		t.Error("S1 is not random")
	}

	if !bytes.Equal(out[1537:], c1) {
		t.Error("S2 is not C1")
	}
}

// TestCase08SignedC1: signed C1s get an S1 of version 3.0 or above with a digest
// in the same scheme, and a signed S2. The capture is from a real client.
func TestCase08SignedC1(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		hello   []byte
		scheme  handshake.Scheme
		version [4]byte
	}{
		"scheme 0": {hello(1, handshake.Scheme0), handshake.Scheme0, [4]byte{10, 0, 32, 18}},
		"scheme 1": {hello(1, handshake.Scheme1), handshake.Scheme1, [4]byte{10, 0, 32, 18}},
		"ffmpeg":   {ffmpegC0C1, handshake.Scheme0, [4]byte{9, 0, 124, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			w := &wire{Reader: bytes.NewReader(append(bytes.Clone(tt.hello), garbage(1536)...))}

			res, err := handshake.Server(w, handshake.ServerConfig{})
			if err != nil {
				t.Fatal(err)
			}

			want := handshake.Result{Scheme: tt.scheme, PeerVersion: tt.version, Version: 3, ServerTail: res.ServerTail}
			if res != want {
				t.Errorf("result %+v, want %+v", res, want)
			}

			out := w.out.Bytes()
			if w.writes != 1 || len(out) != 3073 {
				t.Fatalf("%d bytes in %d writes", len(out), w.writes)
			}

			c1, s1, s2 := tt.hello[1:], out[1:1537], out[1537:]
			if s1[4] < 3 {
				t.Errorf("version of a signed S1: %x", s1[4:8])
			}

			if !verifies(s1, tt.scheme, server) {
				t.Error("digest of S1 does not verify")
			}

			at := digestAt(c1, tt.scheme)
			if key := mac(server+tail(), c1[at:at+32]); !bytes.Equal(s2[1504:], mac(string(key), s2[:1504])) {
				t.Error("signature of S2 does not verify")
			}
		})
	}
}

// TestWrongDigest: a digest that does not verify makes the handshake plain.
func TestWrongDigest(t *testing.T) {
	t.Parallel()

	for _, scheme := range []handshake.Scheme{handshake.Scheme0, handshake.Scheme1} {
		in := hello(3, scheme)
		in[1536] ^= 1 // neither pointer nor, with this seed, digest

		w := &wire{Reader: bytes.NewReader(append(bytes.Clone(in), garbage(1536)...))}

		res, err := handshake.Server(w, handshake.ServerConfig{})
		if err != nil || res.Scheme != handshake.Plain {
			t.Fatalf("%v: %+v, %v", scheme, res, err)
		}

		checkPlainAnswer(t, w, in[1:])
	}
}

// TestCase32EncryptionRefused: without RTMPE the answer to its versions is no
// answer, and the caller learns why at the first byte.
func TestCase32EncryptionRefused(t *testing.T) {
	t.Parallel()

	for _, version := range []byte{0x06, 0x08, 0x09} {
		w := &wire{Reader: bytes.NewReader([]byte{version})}

		res, err := handshake.Server(w, handshake.ServerConfig{})
		if !errors.Is(err, handshake.ErrRTMPE) || res.Version != version || w.writes != 0 {
			t.Errorf("%#x: %+v, %v, %d writes", version, res, err, w.writes)
		}
	}
}

// TestCase33UnknownVersionAndGarbageC2: every other version is answered with 3,
// and C2 may hold anything.
func TestCase33UnknownVersionAndGarbageC2(t *testing.T) {
	t.Parallel()

	for _, version := range []byte{0x00, 0x02, 0x03, 0x07, 0x1f, 0xff} {
		in := hello(1, handshake.Plain)
		in[0] = version

		w := &wire{Reader: bytes.NewReader(append(bytes.Clone(in), garbage(1536)...))}

		res, err := handshake.Server(w, handshake.ServerConfig{})
		if err != nil || res.Version != version {
			t.Fatalf("%#x: %+v, %v", version, res, err)
		}

		checkPlainAnswer(t, w, in[1:])
	}
}

// TestBytesAfterHandshake: what is glued to C2, or to S2, belongs to the reader
// of chunks.
func TestBytesAfterHandshake(t *testing.T) {
	t.Parallel()

	in := bytes.NewReader(append(append(hello(1, handshake.Plain), garbage(1536)...), "connect"...))
	if _, err := handshake.Server(&wire{Reader: in}, handshake.ServerConfig{}); err != nil {
		t.Fatal(err)
	}

	if rest, _ := io.ReadAll(in); string(rest) != "connect" {
		t.Errorf("%q left after the server's part", rest)
	}

	in = bytes.NewReader(append(append(hello(1, handshake.Plain), garbage(1536)...), "result"...))
	if _, err := handshake.Client(&wire{Reader: in}, handshake.ClientConfig{}); err != nil {
		t.Fatal(err)
	}

	if rest, _ := io.ReadAll(in); string(rest) != "result" {
		t.Errorf("%q left after the client's part", rest)
	}
}

// TestPieces: the bytes may come in any pieces and at any time, and the Opening gives its
// memory back in between; the answer is the same.
func TestPieces(t *testing.T) {
	t.Parallel()

	for _, scheme := range []handshake.Scheme{handshake.Plain, handshake.Scheme0, handshake.Scheme1} {
		in := append(hello(1, scheme), garbage(1536)...)
		whole := &wire{Reader: bytes.NewReader(in)}

		if _, err := handshake.Server(whole, handshake.ServerConfig{Random: seeded(1)}); err != nil {
			t.Fatal(err)
		}

		for _, piece := range []int{1, 7, 1536, 1537, 5000} {
			o := handshake.Opening{Config: handshake.ServerConfig{Random: seeded(1)}}

			var answers []byte

			rest := in
			for space := o.Space(); space != nil; space = o.Space() {
				n := copy(space, rest[:min(piece, len(rest))])
				if rest = rest[n:]; n == 0 {
					t.Fatalf("%v in pieces of %d: more is wanted than there is", scheme, piece)
				}

				answer, err := o.Filled(n)
				if err != nil {
					t.Fatal(err)
				}

				answers = append(answers, answer...)

				o.Rest()

				if piece > 1 { // another client gets what was given back
					_, _ = handshake.Server(&wire{Reader: bytes.NewReader(garbage(3073))}, handshake.ServerConfig{})
				}
			}

			if !bytes.Equal(answers, whole.out.Bytes()) || len(rest) > 0 || o.Result().Scheme != scheme {
				t.Errorf("%v in pieces of %d: another answer, or %d bytes left", scheme, piece, len(rest))
			}
		}
	}
}

// TestTruncated: a peer that leaves early is io.EOF before its first byte and
// io.ErrUnexpectedEOF after it.
func TestTruncated(t *testing.T) {
	t.Parallel()

	in := append(hello(1, handshake.Plain), garbage(1536)...)

	for i := range in {
		want := io.ErrUnexpectedEOF
		if i == 0 {
			want = io.EOF
		}

		_, err := handshake.Server(&wire{Reader: bytes.NewReader(in[:i])}, handshake.ServerConfig{Random: seeded(1)})
		if !errors.Is(err, want) {
			t.Fatalf("server cut at %d: %v", i, err)
		}

		_, err = handshake.Client(&wire{Reader: bytes.NewReader(in[:i])}, handshake.ClientConfig{Random: seeded(1)})
		if !errors.Is(err, want) {
			t.Fatalf("client cut at %d: %v", i, err)
		}
	}
}

// TestClientAndServer lets both sides meet over an unbuffered pipe.
func TestClientAndServer(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		cfg    handshake.ClientConfig
		server handshake.Result
		client handshake.Result
	}{
		"plain": {
			handshake.ClientConfig{},
			handshake.Result{Version: 3},
			handshake.Result{Version: 3},
		},
		"digest": {
			handshake.ClientConfig{Digest: true},
			handshake.Result{Scheme: handshake.Scheme0, PeerVersion: [4]byte{9, 0, 124, 2}, Version: 3},
			handshake.Result{Scheme: handshake.Scheme0, PeerVersion: [4]byte{3, 5, 1, 1}, Version: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()

			var (
				wg  sync.WaitGroup
				got handshake.Result
				err error
			)

			// stopped by the end of the handshake or of the pipe; waited below
			wg.Go(func() { got, err = handshake.Server(a, handshake.ServerConfig{}) })

			res, cerr := handshake.Client(b, tt.cfg)
			if cerr != nil {
				b.Close()
			}

			wg.Wait()

			if err != nil || cerr != nil {
				t.Fatalf("server: %v, client: %v", err, cerr)
			}

			if got.ServerTail != res.ServerTail || got.ServerTail == [32]byte{} {
				t.Errorf("tail of S1 %x, %x", got.ServerTail, res.ServerTail)
			}

			got.ServerTail, res.ServerTail = [32]byte{}, [32]byte{}

			if got != tt.server || res != tt.client {
				t.Errorf("server %+v, client %+v", got, res)
			}
		})
	}
}

// TestRandomSource: the bytes come from the source that was given, and its
// failure is the caller's to see, before anything is sent.
func TestRandomSource(t *testing.T) {
	t.Parallel()

	answer := func(seed byte) []byte {
		w := &wire{Reader: bytes.NewReader(append(hello(1, handshake.Scheme0), garbage(1536)...))}
		if _, err := handshake.Server(w, handshake.ServerConfig{Random: seeded(seed)}); err != nil {
			t.Fatal(err)
		}

		return w.out.Bytes()
	}

	if !bytes.Equal(answer(1), answer(1)) || bytes.Equal(answer(1), answer(2)) {
		t.Error("the answer does not follow from the source")
	}

	broken := errors.New("no entropy")
	for limit := int64(0); limit < 1528+1504; limit += 700 {
		source := io.MultiReader(io.LimitReader(seeded(1), limit), iotest.ErrReader(broken))
		w := &wire{Reader: bytes.NewReader(hello(1, handshake.Scheme0))}

		if _, err := handshake.Server(w, handshake.ServerConfig{Random: source}); !errors.Is(err, broken) || w.writes != 0 {
			t.Errorf("server: %v, %d writes", err, w.writes)
		}
	}

	w := &wire{}
	if _, err := handshake.Client(w, handshake.ClientConfig{Random: iotest.ErrReader(broken)}); !errors.Is(err, broken) || w.writes != 0 {
		t.Errorf("client: %v, %d writes", err, w.writes)
	}
}

func TestSchemeString(t *testing.T) {
	t.Parallel()

	for scheme, want := range map[handshake.Scheme]string{
		handshake.Plain: "plain", handshake.Scheme0: "scheme 0", handshake.Scheme1: "scheme 1", 9: "unknown",
	} {
		if got := scheme.String(); got != want {
			t.Errorf("%d is %q, want %q", scheme, got, want)
		}
	}
}
