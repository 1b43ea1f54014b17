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

// Server answers the handshake of a client on rw, as [Opening] says. S0, S1 and S2 leave
// with a single Write, and bytes that follow C2 are not read.
//
// On error the caller closes rw.
func Server(rw io.ReadWriter, cfg ServerConfig) (Result, error) {
	o := Opening{Config: cfg}
	defer o.Close()

	err := o.Run(rw)

	return o.Result(), err
}

// Opening is the server's side of a handshake that is made as the client's bytes come,
// by whoever has them, as Run does it.
//
// It takes C0 and C1, answers S0, S1 and S2 together, and takes C2, which it does not
// judge: publishers send all kinds. A C1 with a valid digest is answered in its scheme,
// any other plainly, S2 being a copy of C1; the version in S1 is zero exactly when S1 is
// unsigned. Unknown versions are answered with 0x03 (RTMP 1.0 §5.2.2), those of RTMPE
// with 0x06, or they end in [ErrRTMPE] when there is no Exchange; their C1 must be
// signed.
type Opening struct {
	// Config is set before the first call.
	Config ServerConfig

	buf   *scratch // nil: nothing has to be kept
	stage stage
	n     int // bytes of the stage that have come
	res   Result
}

// stage is what an Opening waits for.
type stage uint8

const (
	stageC1 stage = iota // C0 and C1
	stageC2
	stageDone
)

// Run makes the rest of the handshake on rw.
func (o *Opening) Run(rw io.ReadWriter) error {
	for space := o.Space(); space != nil; space = o.Space() {
		n, err := io.ReadAtLeast(rw, space, 1)
		if err != nil {
			return o.Failed(err)
		}

		answer, err := o.Filled(n)
		if err != nil {
			return err
		}

		if len(answer) == 0 {
			continue
		}

		if _, err := rw.Write(answer); err != nil {
			return fmt.Errorf("handshake: write S0 S1 S2: %w", err)
		}
	}

	return nil
}

// Space returns where the client's next bytes are to be put, as many as the handshake
// may still take, and nil when it is complete.
func (o *Opening) Space() []byte {
	if o.stage == stageDone {
		return nil
	}

	if o.buf == nil {
		o.buf = scratches.Get().(*scratch)
	}

	if o.stage == stageC1 {
		return o.buf.in[o.n:openSize]
	}

	return o.buf.in[:size-o.n]
}

// Filled takes n bytes that were put into Space and returns what the client is to be
// sent, which stays valid until the next call. On error the handshake has failed.
func (o *Opening) Filled(n int) (answer []byte, err error) {
	o.n += n

	if o.stage == stageC1 {
		if answer, err = o.answer(); err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}

		return answer, nil
	}

	if o.n == size {
		o.stage = stageDone
		o.Rest()
	}

	return nil, nil
}

// Begun tells whether the client has sent anything.
func (o *Opening) Begun() bool { return o.stage != stageC1 || o.n > 0 }

// Encrypted tells whether the client asks for RTMPE, as far as that is known.
func (o *Opening) Encrypted() bool { return encrypted(o.res.Version) }

// Result returns what is known of the client.
func (o *Opening) Result() Result { return o.res }

// Rest gives back the memory that is not needed until the client's next bytes come.
func (o *Opening) Rest() {
	if o.buf != nil && (o.stage != stageC1 || o.n == 0) {
		o.Close()
	}
}

// Close gives all memory back. The Opening must not be used afterwards, except for its
// Result.
func (o *Opening) Close() {
	if o.buf != nil {
		scratches.Put(o.buf)
		o.buf = nil
	}
}

// Failed says what a reading error means for the handshake: an end is io.EOF before the
// first byte and io.ErrUnexpectedEOF later.
func (o *Opening) Failed(err error) error {
	if errors.Is(err, io.EOF) && o.Begun() {
		err = io.ErrUnexpectedEOF
	}

	switch {
	case !o.Begun():
		return fmt.Errorf("handshake: read C0: %w", err)
	case o.stage == stageC1:
		return fmt.Errorf("handshake: read C1: %w", err)
	default:
		return fmt.Errorf("handshake: read C2: %w", err)
	}
}

// answer makes S0, S1 and S2 once C0 and C1 are complete. C0 decides before C1 has to be
// there.
func (o *Opening) answer() ([]byte, error) {
	in, out := o.buf.in[:openSize], o.buf.out[:]
	o.res.Version = in[0]

	secure := o.Encrypted()
	if secure && o.Config.Exchange == nil {
		return nil, fmt.Errorf("%w (C0 %#02x)", ErrRTMPE, in[0])
	}

	if o.n < openSize {
		return nil, nil
	}

	filler := o.buf.filler(o.Config.Random)
	c1, s1, s2 := in[1:], out[1:openSize], out[openSize:]
	copy(o.res.PeerVersion[:], c1[4:])

	var found []byte

	if secure || o.res.PeerVersion != [4]byte{} { // signed C1s carry their product's version
		o.res.Scheme, found = findDigest(c1, playerName)
	}

	if secure && o.res.Scheme == Plain {
		return nil, fmt.Errorf("C1: %w", ErrSignature)
	}

	out[0] = Version
	clear(s1[:8]) // timestamps of this side count from 0

	if _, err := io.ReadFull(filler, s1[8:]); err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}

	if secure {
		out[0] = VersionEncrypted

		var err error
		if o.res.Keys, err = serverKeys(c1, s1, o.res.Scheme, o.Config); err != nil {
			return nil, err
		}
	}

	if o.res.Scheme == Plain {
		copy(s2, c1)
	} else {
		copy(s1[4:], serverVersion[:])
		sign(s1, o.res.Scheme, serverName)

		if err := fillSigned(s2, found, serverKey, filler); err != nil {
			return nil, fmt.Errorf("random bytes: %w", err)
		}
	}

	copy(o.res.ServerTail[:], s1[size-len(o.res.ServerTail):])
	o.stage, o.n = stageC2, 0

	return out, nil
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
