package handshake

import (
	"errors"
	"fmt"
	"io"
)

// serverVersion is what signed S1s carry: clients verify from 3.0 upwards.
var serverVersion = [4]byte{3, 5, 1, 1}

// ServerConfig sets up Server. Its zero value is ready for use.
type ServerConfig struct {
	// Random fills S1 and S2 and makes keys. When nil, keys come from crypto/rand and
	// the rest from a generator seeded by it. If shared by handshakes, it must be safe
	// for concurrent use.
	Random io.Reader
	// Exchange makes the keys of clients that ask for RTMPE; nil: they are refused.
	Exchange *Exchange
}

// Server answers the handshake of a client on rw.
//
// It reads C0 and C1, writes S0, S1 and S2 with a single Write, and reads C2,
// which it does not judge: publishers send all kinds. A C1 with a valid digest
// is answered in its scheme, any other plainly, S2 being a copy of C1; the
// version in S1 is zero exactly when S1 is unsigned. Unknown versions are
// answered with 0x03 (RTMP 1.0 §5.2.2), those of RTMPE with 0x06, or they end in
// ErrRTMPE when there is no Exchange; their C1 must be signed. Bytes that follow C2
// are not read.
//
// On error the caller closes rw.
func Server(rw io.ReadWriter, cfg ServerConfig) (Result, error) {
	buf := scratches.Get().(*scratch)
	defer scratches.Put(buf)

	res, err := server(rw, cfg, buf.filler(cfg.Random), buf)
	if err != nil {
		return res, fmt.Errorf("handshake: %w", err)
	}

	return res, nil
}

func server(rw io.ReadWriter, cfg ServerConfig, filler io.Reader, buf *scratch) (Result, error) {
	in, out := buf.in[:openSize], buf.out[:]

	// C0 decides before C1 has to be there, and costs no read of its own.
	n, err := io.ReadAtLeast(rw, in, 1)
	if err != nil {
		return Result{}, fmt.Errorf("read C0: %w", err)
	}

	res := Result{Version: in[0]}

	secure := encrypted(in[0])
	if secure && cfg.Exchange == nil {
		return res, fmt.Errorf("%w (C0 %#02x)", ErrRTMPE, in[0])
	}

	if err := readMore(rw, in[n:]); err != nil {
		return res, fmt.Errorf("read C1: %w", err)
	}

	c1, s1, s2 := in[1:], out[1:openSize], out[openSize:]
	copy(res.PeerVersion[:], c1[4:])

	var found []byte

	if secure || res.PeerVersion != [4]byte{} { // signed C1s carry their product's version
		res.Scheme, found = findDigest(c1, playerName)
	}

	if secure && res.Scheme == Plain {
		return res, fmt.Errorf("C1: %w", ErrSignature)
	}

	out[0] = Version
	clear(s1[:8]) // timestamps of this side count from 0

	if _, err := io.ReadFull(filler, s1[8:]); err != nil {
		return res, fmt.Errorf("random bytes: %w", err)
	}

	if secure {
		out[0] = VersionEncrypted

		if res.Keys, err = serverKeys(c1, s1, res.Scheme, cfg); err != nil {
			return res, err
		}
	}

	if res.Scheme == Plain {
		copy(s2, c1)
	} else {
		copy(s1[4:], serverVersion[:])
		sign(s1, res.Scheme, serverName)

		if err := fillSigned(s2, found, serverKey, filler); err != nil {
			return res, fmt.Errorf("random bytes: %w", err)
		}
	}

	copy(res.ServerTail[:], s1[size-len(res.ServerTail):])

	if _, err := rw.Write(out); err != nil {
		return res, fmt.Errorf("write S0 S1 S2: %w", err)
	}

	if err := readMore(rw, in[:size]); err != nil {
		return res, fmt.Errorf("read C2: %w", err)
	}

	return res, nil
}

// serverKeys puts the server's public key into s1 and returns the keys of the streams.
func serverKeys(c1, s1 []byte, scheme Scheme, cfg ServerConfig) (*Keys, error) {
	peer := publicKey(c1, scheme)

	public, secret, err := cfg.Exchange.agree(keySource(cfg.Random), peer)
	if err != nil {
		return nil, err
	}

	copy(publicKey(s1, scheme), public[:])

	return &Keys{In: streamKey(&secret, public[:]), Out: streamKey(&secret, peer)}, nil
}

// readMore fills b with bytes that have to come, as the handshake has begun.
func readMore(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}

	return err
}
