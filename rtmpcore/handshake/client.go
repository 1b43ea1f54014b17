package handshake

import (
	"fmt"
	"io"
)

// clientVersion is what signed C1s carry: Flash Player 9.0.124.2, as ffmpeg's.
var clientVersion = [4]byte{9, 0, 124, 2}

// ClientConfig sets up Client. Its zero value is ready for use.
type ClientConfig struct {
	// Digest signs C1 in scheme 0, and C2 if the server signs too. Servers that
	// know no signatures answer plainly, which is accepted.
	Digest bool
	// Random fills C1 and C2; a generator seeded by crypto/rand when nil. If shared by handshakes, it
	// must be safe for concurrent use.
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

	res, err := client(rw, cfg.Digest, buf.filler(cfg.Random), buf)
	if err != nil {
		return res, fmt.Errorf("handshake: %w", err)
	}

	return res, nil
}

func client(rw io.ReadWriter, signed bool, random io.Reader, buf *scratch) (Result, error) {
	out, in := buf.out[:openSize], buf.in[:]
	c1 := out[1:]
	out[0] = Version
	clear(c1[:8]) // timestamps of this side count from 0

	if _, err := io.ReadFull(random, c1[8:]); err != nil {
		return Result{}, fmt.Errorf("random bytes: %w", err)
	}

	var own []byte

	if signed {
		copy(c1[4:], clientVersion[:])
		own = sign(c1, Scheme0, playerName)
	}

	if _, err := rw.Write(out); err != nil {
		return Result{}, fmt.Errorf("write C0 C1: %w", err)
	}

	n, err := io.ReadAtLeast(rw, in, 1)
	if err != nil {
		return Result{}, fmt.Errorf("read S0: %w", err)
	}

	res := Result{Version: in[0]}
	if in[0] != Version {
		return res, fmt.Errorf("%w (S0 %#02x)", ErrVersion, in[0])
	}

	if err := readMore(rw, in[n:]); err != nil {
		return res, fmt.Errorf("read S1 S2: %w", err)
	}

	s1, s2, c2 := in[1:openSize], in[openSize:], buf.out[openSize:]
	copy(res.PeerVersion[:], s1[4:])

	if signed && s1[4] >= 3 {
		var found []byte
		if res.Scheme, found = findDigest(s1, serverName); res.Scheme == Plain {
			return res, fmt.Errorf("S1: %w", ErrSignature)
		}

		if !verifySigned(s2, own, serverKey) {
			return res, fmt.Errorf("S2: %w", ErrSignature)
		}

		if err := fillSigned(c2, found, playerKey, random); err != nil {
			return res, fmt.Errorf("random bytes: %w", err)
		}
	} else {
		copy(c2, s1)
	}

	if _, err := rw.Write(c2); err != nil {
		return res, fmt.Errorf("write C2: %w", err)
	}

	return res, nil
}
