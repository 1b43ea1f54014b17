package handshake

import (
	"crypto/hmac"
	"crypto/sha256"
	"io"
)

const digestSize = sha256.Size

// The two products' keys. Their first part signs C1 and S1, all of them derives
// the key that signs C2 and S2.
const (
	keyTail = "\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57" +
		"\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae"
	playerName = "Genuine Adobe Flash Player 001"
	serverName = "Genuine Adobe Flash Media Server 001"
	playerKey  = playerName + keyTail
	serverKey  = serverName + keyTail
)

// digestOffset returns where the digest of c, a C1 or S1, is in scheme s.
func digestOffset(c []byte, s Scheme) int {
	pointer := 8
	if s == Scheme1 {
		pointer = 772
	}

	return addBytes(c[pointer:pointer+4])%728 + pointer + 4
}

func addBytes(b []byte) int {
	n := 0
	for _, v := range b {
		n += int(v)
	}

	return n
}

// digest computes the digest that belongs at offset in c.
func digest(c []byte, offset int, name string) [digestSize]byte {
	return sum([]byte(name), c[:offset], c[offset+digestSize:])
}

// sign writes the digest of c in scheme s and returns it.
func sign(c []byte, s Scheme, name string) []byte {
	offset := digestOffset(c, s)
	d := digest(c, offset, name)

	copy(c[offset:], d[:])

	return c[offset : offset+digestSize]
}

// findDigest returns the scheme that c, a C1 or S1, is signed in and its digest
// within c; Plain and nil when it is not signed with name.
func findDigest(c []byte, name string) (Scheme, []byte) {
	for _, s := range [...]Scheme{Scheme0, Scheme1} {
		offset := digestOffset(c, s)
		found := c[offset : offset+digestSize]

		if want := digest(c, offset, name); hmac.Equal(found, want[:]) {
			return s, found
		}
	}

	return Plain, nil
}

// fillSigned makes c a signed C2 or S2: random bytes and their signature, made
// with key and the peer's digest.
func fillSigned(c []byte, peerDigest []byte, key string, random io.Reader) error {
	if _, err := io.ReadFull(random, c[:size-digestSize]); err != nil {
		return err
	}

	s := signature(c, peerDigest, key)
	copy(c[size-digestSize:], s[:])

	return nil
}

// verifySigned tells whether c is a C2 or S2 signed with key over ownDigest, the
// digest that the verifying side sent.
func verifySigned(c []byte, ownDigest []byte, key string) bool {
	s := signature(c, ownDigest, key)

	return hmac.Equal(c[size-digestSize:size], s[:])
}

func signature(c, digest []byte, key string) [digestSize]byte {
	k := sum([]byte(key), digest, nil)

	return sum(k[:], c[:size-digestSize], nil)
}

func sum(key, a, b []byte) (out [digestSize]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(a)
	h.Write(b)
	h.Sum(out[:0])

	return out
}
