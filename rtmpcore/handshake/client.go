package handshake

import (
	"errors"
	"fmt"
	"io"
	"math/big"
)

// What signed C1s carry: Flash Player 9.0.124.2, as ffmpeg's, and with RTMPE
// 128.0.3.2, as librtmp's.
var (
	clientVersion          = [4]byte{9, 0, 124, 2}
	clientVersionEncrypted = [4]byte{128, 0, 3, 2}
)

// ClientConfig sets up Client. Its zero value is ready for use.
type ClientConfig struct {
	// Digest signs C1 in scheme 0, and C2 if the server signs too. Servers that
	// know no signatures answer plainly, which is accepted.
	Digest bool
	// Encrypt asks for RTMPE, and signs in scheme 1. Servers that do not encrypt or do
	// not sign are an error.
	Encrypt bool
	// Random fills C1 and C2 and makes keys. When nil, keys come from crypto/rand and
	// the rest from a generator seeded by it. If shared by handshakes, it must be safe
	// for concurrent use.
	Random io.Reader
}

// Client opens a connection to the server on rw: it writes C0 and C1, reads S0,
// S1 and S2, and writes C2.
//
// Without Digest the answer is not judged and C2 is a copy of S1. With Digest, a
// server whose S1 names a version of 3.0 or above claims to sign, and ErrSignature
// says that S1 or S2 does not verify. ErrVersion says that S0 is not 0x03. Bytes
// that follow S2 are not read.
//
// On error the caller closes rw.
func Client(rw io.ReadWriter, cfg ClientConfig) (Result, error) {
	buf := scratches.Get().(*scratch)
	defer scratches.Put(buf)

	c := client{ClientConfig: cfg, scratch: buf, filler: buf.filler(cfg.Random)}

	err := c.run(rw)
	if err != nil {
		return c.res, fmt.Errorf("handshake: %w", err)
	}

	return c.res, nil
}

// client is one handshake.
type client struct {
	ClientConfig
	*scratch

	filler  io.Reader
	res     Result
	digest  []byte   // in C1; nil when it is not signed
	private *big.Int // of the public key in C1
}

func (c *client) run(rw io.ReadWriter) error {
	if err := c.open(); err != nil {
		return err
	}

	if _, err := rw.Write(c.out[:openSize]); err != nil {
		return fmt.Errorf("write C0 C1: %w", err)
	}

	in := c.in[:]

	n, err := io.ReadAtLeast(rw, in, 1)
	if err != nil {
		return fmt.Errorf("read S0: %w", err)
	}

	c.res.Version = in[0]

	switch {
	case in[0] == c.out[0]:
	case c.Encrypt && in[0] == Version:
		return ErrNotEncrypted
	default:
		return fmt.Errorf("%w (S0 %#02x)", ErrVersion, in[0])
	}

	if err := readMore(rw, in[n:]); err != nil {
		return fmt.Errorf("read S1 S2: %w", err)
	}

	if err := c.answer(); err != nil {
		return err
	}

	if _, err := rw.Write(c.out[openSize:]); err != nil {
		return fmt.Errorf("write C2: %w", err)
	}

	return nil
}

// open makes C0 and C1.
func (c *client) open() error {
	c1 := c.out[1:openSize]
	c.out[0] = Version
	clear(c1[:8]) // timestamps of this side count from 0

	if _, err := io.ReadFull(c.filler, c1[8:]); err != nil {
		return fmt.Errorf("random bytes: %w", err)
	}

	switch {
	case c.Encrypt:
		private, public, err := newKey(keySource(c.Random))
		if err != nil {
			return err
		}

		c.private, c.out[0] = private, VersionEncrypted
		copy(c1[4:], clientVersionEncrypted[:])
		copy(publicKey(c1, Scheme1), public[:])
		c.digest = sign(c1, Scheme1, playerName)
	case c.Digest:
		copy(c1[4:], clientVersion[:])
		c.digest = sign(c1, Scheme0, playerName)
	}

	return nil
}

// answer judges S1 and S2 and makes C2.
func (c *client) answer() error {
	s1, s2, c2 := c.in[1:openSize], c.in[openSize:], c.out[openSize:]
	copy(c.res.PeerVersion[:], s1[4:])
	copy(c.res.ServerTail[:], s1[size-len(c.res.ServerTail):])

	if c.digest == nil || !c.Encrypt && s1[4] < 3 {
		copy(c2, s1)

		return nil
	}

	scheme, found := findDigest(s1, serverName)
	if scheme == Plain {
		return fmt.Errorf("S1: %w", ErrSignature)
	}

	c.res.Scheme = scheme

	if !verifySigned(s2, c.digest, serverKey) {
		return fmt.Errorf("S2: %w", ErrSignature)
	}

	if c.Encrypt {
		peer := publicKey(s1, scheme)

		y, err := parseKey(peer)
		if err != nil {
			return fmt.Errorf("S1: %w", err)
		}

		secret := share(c.private, y)
		own := publicKey(c.out[1:openSize], Scheme1)
		c.res.Keys = &Keys{In: streamKey(&secret, own), Out: streamKey(&secret, peer)}
	}

	if err := fillSigned(c2, found, playerKey, c.filler); err != nil {
		return fmt.Errorf("random bytes: %w", err)
	}

	return nil
}

// readMore fills b with bytes that have to come, as the handshake has begun.
func readMore(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}

	return err
}
