package handshake_test

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"culvert/rtmpcore/handshake"
)

// modp is the prime of RTMPE's group, RFC 2409 §6.2.
var modp, _ = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22"+
	"514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF", 16)

func TestGroup(t *testing.T) {
	t.Parallel()

	q := new(big.Int).Rsh(modp, 1)
	if modp.BitLen() != 1024 || !modp.ProbablyPrime(8) || !q.ProbablyPrime(8) {
		t.Error("not a safe prime of 1024 bits")
	}

	if new(big.Int).Exp(big.NewInt(2), q, modp).Cmp(big.NewInt(1)) != 0 {
		t.Error("2 does not generate the subgroup of order q")
	}
}

// keyAt is the tests' own reading of where the public key is.
func keyAt(c []byte, scheme handshake.Scheme) int {
	if scheme == handshake.Scheme1 {
		return (int(c[768])+int(c[769])+int(c[770])+int(c[771]))%632 + 8
	}

	return (int(c[1532])+int(c[1533])+int(c[1534])+int(c[1535]))%632 + 772
}

// encryptedHello returns C0 and C1 that ask for encryption with a public key.
func encryptedHello(version byte, scheme handshake.Scheme, public []byte) []byte {
	b := hello(1, handshake.Plain)
	b[0] = version
	copy(b[5:], []byte{128, 0, 3, 2})
	copy(b[1+keyAt(b[1:], scheme):], public)

	at := digestAt(b[1:], scheme)
	copy(b[1+at:], mac(player, b[1:1+at], b[1+at+32:]))

	return b
}

func padded(n *big.Int) []byte { return n.FillBytes(make([]byte, 128)) }

// power returns the public key of a private one.
func power(private *big.Int) *big.Int { return new(big.Int).Exp(big.NewInt(2), private, modp) }

// zeroKey returns a private key whose public one, padded, begins with a zero.
func zeroKey() *big.Int {
	x := new(big.Int).Lsh(big.NewInt(1), 200)
	for padded(power(x))[0] != 0 {
		x.Add(x, big.NewInt(1))
	}

	return x
}

// TestCase32Encryption: versions 6, 8 and 9 are answered with 6, a signed S1 that has
// the server's key, and the keys of both streams; also for a public key that begins
// with a zero byte.
func TestCase32Encryption(t *testing.T) {
	t.Parallel()

	exchange := handshake.NewExchange(1)

	for name, tt := range map[string]struct {
		version byte
		scheme  handshake.Scheme
		private *big.Int
	}{
		"6 in scheme 1":        {6, handshake.Scheme1, new(big.Int).Lsh(big.NewInt(77), 900)},
		"6 in scheme 0":        {6, handshake.Scheme0, new(big.Int).Lsh(big.NewInt(78), 900)},
		"8":                    {8, handshake.Scheme1, new(big.Int).Lsh(big.NewInt(79), 900)},
		"9":                    {9, handshake.Scheme1, new(big.Int).Lsh(big.NewInt(80), 900)},
		"key that starts zero": {6, handshake.Scheme1, zeroKey()},
	} {
		t.Run(name, func(t *testing.T) {
			// one after the other: the exchange has one place
			own := padded(power(tt.private))
			in := encryptedHello(tt.version, tt.scheme, own)
			w := &wire{Reader: bytes.NewReader(append(bytes.Clone(in), garbage(1536)...))}

			res, err := handshake.Server(w, handshake.ServerConfig{Exchange: exchange})
			if err != nil {
				t.Fatal(err)
			}

			if res.Version != tt.version || res.Scheme != tt.scheme || res.Keys == nil {
				t.Fatalf("result %+v", res)
			}

			out := w.out.Bytes()
			if w.writes != 1 || len(out) != 3073 || out[0] != 6 {
				t.Fatalf("%d bytes in %d writes, S0 %#x", len(out), w.writes, out[0])
			}

			c1, s1, s2 := in[1:], out[1:1537], out[1537:]
			if s1[4] < 3 || !verifies(s1, tt.scheme, server) {
				t.Error("S1 is not signed")
			}

			if !bytes.Equal(res.ServerTail[:], s1[1504:]) {
				t.Error("the tail is not the end of S1")
			}

			at := digestAt(c1, tt.scheme)
			if key := mac(server+tail(), c1[at:at+32]); !bytes.Equal(s2[1504:], mac(string(key), s2[:1504])) {
				t.Error("signature of S2 does not verify")
			}

			theirs := s1[keyAt(s1, tt.scheme):][:128]
			secret := string(padded(new(big.Int).Exp(new(big.Int).SetBytes(theirs), tt.private, modp)))

			if got, want := res.Keys.In[:], mac(secret, theirs)[:16]; !bytes.Equal(got, want) {
				t.Errorf("key from the client is %x, want %x", got, want)
			}

			if got, want := res.Keys.Out[:], mac(secret, own)[:16]; !bytes.Equal(got, want) {
				t.Errorf("key to the client is %x, want %x", got, want)
			}
		})
	}
}

// TestCase32KeysRefused: keys outside the group, or of its other half, are refused
// before anything is computed or sent.
func TestCase32KeysRefused(t *testing.T) {
	t.Parallel()

	one := big.NewInt(1)

	for name, y := range map[string]*big.Int{
		"0":         new(big.Int),
		"1":         one,
		"p-1":       new(big.Int).Sub(modp, one),
		"p":         modp,
		"p+1":       new(big.Int).Add(modp, one),
		"2^1024-1":  new(big.Int).Sub(new(big.Int).Lsh(one, 1024), one),
		"no square": new(big.Int).Sub(modp, big.NewInt(4)), // -1 is none, 4 is one
	} {
		for _, scheme := range []handshake.Scheme{handshake.Scheme0, handshake.Scheme1} {
			w := &wire{Reader: bytes.NewReader(encryptedHello(6, scheme, padded(y)))}
			random := io.MultiReader(io.LimitReader(seeded(1), 1528)) // of S1, not of a key

			_, err := handshake.Server(w, handshake.ServerConfig{Exchange: handshake.NewExchange(1), Random: random})
			if !errors.Is(err, handshake.ErrKey) || w.writes != 0 {
				t.Errorf("%s, %v: %v, %d writes", name, scheme, err, w.writes)
			}
		}
	}
}

// TestEncryptionUnsigned: a C1 that asks for encryption without a valid digest has no
// key in a known place.
func TestEncryptionUnsigned(t *testing.T) {
	t.Parallel()

	in := hello(1, handshake.Plain)
	in[0] = 6

	w := &wire{Reader: bytes.NewReader(in)}

	_, err := handshake.Server(w, handshake.ServerConfig{Exchange: handshake.NewExchange(1)})
	if !errors.Is(err, handshake.ErrSignature) || w.writes != 0 {
		t.Errorf("%v, %d writes", err, w.writes)
	}
}

// TestExchangeLimit goes one beyond the limit: the handshake above it is refused at
// once, those below it and later ones are not.
func TestExchangeLimit(t *testing.T) {
	t.Parallel()

	exchange := handshake.NewExchange(1)
	in := append(encryptedHello(6, handshake.Scheme1, padded(power(big.NewInt(1234567)))), garbage(1536)...)

	first := &blockingRandom{Reader: seeded(1), free: 1528, blocked: make(chan struct{}), resume: make(chan struct{})}

	var (
		wg  sync.WaitGroup
		err error
	)

	// stopped by first.resume; waited below
	wg.Go(func() {
		_, err = handshake.Server(&wire{Reader: bytes.NewReader(in)}, handshake.ServerConfig{Exchange: exchange, Random: first})
	})

	<-first.blocked // it has the only place

	w := &wire{Reader: bytes.NewReader(in)}
	if _, err := handshake.Server(w, handshake.ServerConfig{Exchange: exchange}); !errors.Is(err, handshake.ErrBusy) || w.writes != 0 {
		t.Errorf("one beyond the limit: %v, %d writes", err, w.writes)
	}

	close(first.resume)
	wg.Wait()

	if err != nil {
		t.Errorf("within the limit: %v", err)
	}

	if _, err := handshake.Server(&wire{Reader: bytes.NewReader(in)}, handshake.ServerConfig{Exchange: exchange}); err != nil {
		t.Errorf("later: %v", err)
	}
}

// blockingRandom gives some bytes, and then waits.
// TestExchangeTurns: a flood of handshakes works on a quarter of the processors, the others
// wait.
func TestExchangeTurns(t *testing.T) { //nolint:paralleltest // it sets GOMAXPROCS
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))

	in := append(encryptedHello(6, handshake.Scheme1, padded(power(big.NewInt(1234567)))), garbage(1536)...)

	synctest.Test(t, func(t *testing.T) {
		exchange := handshake.NewExchange(10)

		var (
			wg      sync.WaitGroup
			working atomic.Int32
		)

		resume := make(chan struct{})

		for range 10 {
			random := &countingRandom{blockingRandom{Reader: seeded(1), free: 1528, blocked: make(chan struct{}), resume: resume}, &working}
			// stopped by resume; waited below
			wg.Go(func() {
				if _, err := handshake.Server(&wire{Reader: bytes.NewReader(in)}, handshake.ServerConfig{Exchange: exchange, Random: random}); err != nil {
					t.Error(err)
				}
			})
		}

		time.Sleep(time.Second) // until all wait

		if n := working.Load(); n != 2 {
			t.Errorf("%d handshakes at work on 8 processors", n)
		}

		close(resume)
		wg.Wait()
	})
}

// countingRandom counts those that have got their turn.
type countingRandom struct {
	blockingRandom
	working *atomic.Int32
}

func (c *countingRandom) Read(p []byte) (int, error) {
	if c.free == 0 {
		c.working.Add(1)
	}

	return c.blockingRandom.Read(p)
}

type blockingRandom struct {
	io.Reader
	free            int
	blocked, resume chan struct{}
}

func (b *blockingRandom) Read(p []byte) (int, error) {
	if b.free <= 0 {
		if b.free == 0 {
			close(b.blocked)
		}

		<-b.resume
	}

	b.free -= len(p)

	return b.Reader.Read(p)
}

// TestNoLeadingZero: private keys that would make the server's public key, or the
// secret, begin with a zero byte are thrown away, as some clients hash what is left
// without it. One in 128 would.
func TestNoLeadingZero(t *testing.T) {
	t.Parallel()

	client := big.NewInt(1234567)
	in := append(encryptedHello(6, handshake.Scheme1, padded(power(client))), garbage(1536)...)

	secret := func(private *big.Int) *big.Int { return new(big.Int).Exp(power(client), private, modp) }

	for name, begins := range map[string]func(private *big.Int) bool{
		"public key": func(x *big.Int) bool { return padded(power(x))[0] == 0 },
		"secret":     func(x *big.Int) bool { return padded(power(x))[0] != 0 && padded(secret(x))[0] == 0 },
	} {
		private := new(big.Int).Lsh(big.NewInt(1), 255) // as the server makes them: of 256 bits
		for !begins(private) {
			private.Add(private, big.NewInt(1))
		}

		w := &wire{Reader: bytes.NewReader(in)}
		random := io.MultiReader(io.LimitReader(seeded(1), 1528), bytes.NewReader(private.Bytes()), seeded(2))

		if _, err := handshake.Server(w, handshake.ServerConfig{Exchange: handshake.NewExchange(1), Random: random}); err != nil {
			t.Fatal(err)
		}

		s1 := w.out.Bytes()[1:1537]
		theirs := s1[keyAt(s1, handshake.Scheme1):][:128]

		if bytes.Equal(theirs, padded(power(private))) || theirs[0] == 0 {
			t.Errorf("%s: public key is %x", name, theirs[:8])
		}

		if padded(new(big.Int).Exp(new(big.Int).SetBytes(theirs), client, modp))[0] == 0 {
			t.Errorf("%s: secret begins with a zero", name)
		}
	}
}

// TestClientEncrypt: client and server find the same keys.
func TestClientEncrypt(t *testing.T) {
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
	wg.Go(func() { got, err = handshake.Server(a, handshake.ServerConfig{Exchange: handshake.NewExchange(1)}) })

	res, cerr := handshake.Client(b, handshake.ClientConfig{Encrypt: true})
	if cerr != nil {
		b.Close()
	}

	wg.Wait()

	if err != nil || cerr != nil {
		t.Fatalf("server: %v, client: %v", err, cerr)
	}

	if res.Keys == nil || got.Keys == nil || res.Keys.In != got.Keys.Out || res.Keys.Out != got.Keys.In || res.Keys.In == res.Keys.Out {
		t.Errorf("client %+v, server %+v", res.Keys, got.Keys)
	}

	if res.ServerTail != got.ServerTail || res.ServerTail == [32]byte{} {
		t.Errorf("tail of S1 %x, %x", res.ServerTail, got.ServerTail)
	}

	if res.Version != 6 || got.Version != 6 || res.Scheme != handshake.Scheme1 || got.Scheme != handshake.Scheme1 {
		t.Errorf("client %+v, server %+v", res, got)
	}
}

// TestClientEncryptRefuses: the client takes no answer that is not encrypted, of
// another type, unsigned, or with a key that is none.
func TestClientEncryptRefuses(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		damage func(s0s1s2 []byte)
		err    error
	}{
		"plain":    {func(b []byte) { b[0] = 3 }, handshake.ErrNotEncrypted},
		"type 8":   {func(b []byte) { b[0] = 8 }, handshake.ErrVersion},
		"unsigned": {func(b []byte) { b[0] = 6; clear(b[5:9]) }, handshake.ErrSignature},
		"wrong S2": {func(b []byte) { b[0] = 6; b[3072] ^= 1 }, handshake.ErrSignature},
		"key p-1":  {func(b []byte) { b[0] = 6 }, handshake.ErrKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			s := signingServer{scheme: handshake.Scheme1, hello: handshake.Scheme1, damage: tt.damage}
			s.key = padded(new(big.Int).Sub(modp, big.NewInt(1)))

			if _, err := handshake.Client(&s, handshake.ClientConfig{Encrypt: true}); !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}

			if s.c2 != nil {
				t.Error("C2 after an error")
			}
		})
	}
}

// BenchmarkServer is what one handshake of each kind costs.
func BenchmarkServer(b *testing.B) {
	encrypted := encryptedHello(6, handshake.Scheme1, padded(power(new(big.Int).Lsh(big.NewInt(77), 900))))

	for name, in := range map[string][]byte{
		"plain":     hello(1, handshake.Plain),
		"digest":    hello(1, handshake.Scheme0),
		"encrypted": encrypted,
	} {
		b.Run(name, func(b *testing.B) {
			in := append(bytes.Clone(in), garbage(1536)...)
			exchange := handshake.NewExchange(1)
			w := &wire{}

			for b.Loop() {
				w.Reader = bytes.NewReader(in)
				w.out.Reset()

				if _, err := handshake.Server(w, handshake.ServerConfig{Exchange: exchange}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
