package handshake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"sync/atomic"
)

const (
	// keySize is the length of a public key and of the shared secret, as they are
	// sent and hashed: padded with zeros on the left.
	keySize = 128
	// exponentSize is the length of a private key. For a group whose order is twice
	// a prime, 256 bits are worth as much as 1024 and cost a quarter.
	exponentSize = 32
)

// The group of RTMPE: 1024-bit MODP, RFC 2409 §6.2. prime is 2q+1 with q prime, and
// generator, a square, generates the subgroup of order q.
var (
	prime, _ = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1"+
		"29024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
		"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245"+
		"E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
		"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381"+
		"FFFFFFFFFFFFFFFF", 16)
	generator = big.NewInt(2)
	keyMax    = new(big.Int).Sub(prime, generator) // p-1 has order 2
)

var (
	// ErrKey: the peer's public key is not one of the group: 0, 1, p-1 or above, or
	// no square. Whoever sends it wants a secret that others know too.
	ErrKey = errors.New("public key is not of the group")
	// ErrBusy: as many handshakes as the Exchange allows wait for their keys.
	ErrBusy = errors.New("too many RTMPE handshakes at a time")
)

// Exchange makes the keys of RTMPE for the handshakes of a server. One costs some
// hundred microseconds of a processor, a thousand times what a plain handshake
// does. So only one in four processors works on them, at least one: a flood of them
// takes its turn behind everything else.
//
// Its methods may be called by any goroutine.
type Exchange struct {
	turns   chan struct{}
	waiting atomic.Int64
	limit   int64
}

// NewExchange returns an Exchange for at most limit handshakes at a time, those that
// wait for their turn included. One more ends in ErrBusy.
func NewExchange(limit int) *Exchange {
	return &Exchange{
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/4)),
		limit: int64(limit),
	}
}

// agree makes a key pair and the secret that it shares with a peer. It waits for its
// turn, and does so for at most limit others.
func (e *Exchange) agree(random io.Reader, peer []byte) (public, secret [keySize]byte, err error) {
	y, err := parseKey(peer)
	if err != nil {
		return public, secret, err
	}

	if e.waiting.Add(1) > e.limit {
		e.waiting.Add(-1)

		return public, secret, ErrBusy
	}

	defer e.waiting.Add(-1)

	e.turns <- struct{}{}

	defer func() { <-e.turns }()

	for secret[0] == 0 { // see newKey
		var private *big.Int
		if private, public, err = newKey(random); err != nil {
			return public, secret, err
		}

		secret = share(private, y)
	}

	return public, secret, nil
}

// newKey makes a key pair. The public key does not begin with a zero byte, because
// some peers forget to pad; one in 256 tries is thrown away for them.
func newKey(random io.Reader) (private *big.Int, public [keySize]byte, err error) {
	var b [exponentSize]byte

	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, public, fmt.Errorf("random bytes: %w", err)
		}

		b[0] |= 0x80 // never a tiny one

		private = new(big.Int).SetBytes(b[:])
		if new(big.Int).Exp(generator, private, prime).FillBytes(public[:]); public[0] != 0 {
			return private, public, nil
		}
	}
}

// keySource returns r, or crypto/rand for nil.
func keySource(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}

	return r
}

// parseKey reads and checks a peer's public key.
func parseKey(b []byte) (*big.Int, error) {
	y := new(big.Int).SetBytes(b)
	if y.Cmp(generator) < 0 || y.Cmp(keyMax) > 0 || big.Jacobi(y, prime) != 1 {
		return nil, ErrKey
	}

	return y, nil
}

// share computes the secret of a private key and a peer's public one.
func share(private, peer *big.Int) (secret [keySize]byte) {
	new(big.Int).Exp(peer, private, prime).FillBytes(secret[:])

	return secret
}

// keyOffset returns where the public key in c, a C1 or S1, is in scheme s.
func keyOffset(c []byte, s Scheme) int {
	pointer, base := 1532, 772
	if s == Scheme1 {
		pointer, base = 768, 8
	}

	return addBytes(c[pointer:pointer+4])%632 + base
}

// publicKey returns the public key in c, a C1 or S1, in scheme s.
func publicKey(c []byte, s Scheme) []byte {
	offset := keyOffset(c, s)

	return c[offset : offset+keySize]
}

// streamKey derives the key of one direction from the secret and the public key of
// the side that reads it.
func streamKey(secret *[keySize]byte, reader []byte) (key [16]byte) {
	s := sum(secret[:], reader, nil)
	copy(key[:], s[:])

	return key
}

// Keys are the RC4 keys of an encrypted connection. Each stream begins 1536 bytes
// behind the start of what its key makes.
type Keys struct {
	In  [16]byte // of what the peer sends
	Out [16]byte // of what is sent to the peer
}
