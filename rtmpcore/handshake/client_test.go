package handshake_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"culvert/rtmpcore/handshake"
)

// signingServer answers C0 and C1 as they are written.
type signingServer struct {
	scheme handshake.Scheme // of S1
	hello  handshake.Scheme // of C1
	key    []byte           // public key in S1
	damage func(s0s1s2 []byte)
	in     bytes.Buffer
	c2     []byte
	s1     []byte
}

func (s *signingServer) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *signingServer) Write(b []byte) (int, error) {
	if s.s1 != nil {
		s.c2 = append(s.c2, b...)

		return len(b), nil
	}

	out := make([]byte, 3073)
	_, _ = io.ReadFull(seeded(7), out)
	s1, s2 := out[1:1537], out[1537:]

	out[0] = 3
	copy(s1, []byte{0, 0, 0, 0, 3, 5, 1, 1})

	copy(s1[keyAt(s1, s.scheme):], s.key)

	at := digestAt(s1, s.scheme)
	copy(s1[at:], mac(server, s1[:at], s1[at+32:]))

	at = digestAt(b[1:], max(s.hello, handshake.Scheme0))
	copy(s2[1504:], mac(string(mac(server+tail(), b[1+at:1+at+32])), s2[:1504]))

	if s.damage != nil {
		s.damage(out)
	}

	s.s1 = s1
	_, err := s.in.Write(out)

	return len(b), err
}

// TestClientDigest: the client accepts servers that sign in either scheme, or not
// at all, and no others.
func TestClientDigest(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		server signingServer
		want   handshake.Scheme
		err    error
	}{
		"scheme 0": {signingServer{scheme: handshake.Scheme0}, handshake.Scheme0, nil},
		"scheme 1": {signingServer{scheme: handshake.Scheme1}, handshake.Scheme1, nil},
		"unsigned": {
			signingServer{damage: func(b []byte) { clear(b[5:9]) }},
			handshake.Plain, nil,
		},
		"version below 3": {
			signingServer{damage: func(b []byte) { b[5] = 2 }},
			handshake.Plain, nil,
		},
		"wrong S1": {
			signingServer{scheme: handshake.Scheme0, damage: func(b []byte) { b[1536] ^= 1 }},
			handshake.Plain, handshake.ErrSignature,
		},
		"wrong S2": {
			signingServer{scheme: handshake.Scheme0, damage: func(b []byte) { b[3072] ^= 1 }},
			handshake.Scheme0, handshake.ErrSignature,
		},
		"wrong version": {
			signingServer{scheme: handshake.Scheme0, damage: func(b []byte) { b[0] = 6 }},
			handshake.Plain, handshake.ErrVersion,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			res, err := handshake.Client(&tt.server, handshake.ClientConfig{Digest: true})
			if !errors.Is(err, tt.err) || res.Scheme != tt.want {
				t.Fatalf("%+v, %v", res, err)
			}

			c2, s1 := tt.server.c2, tt.server.s1

			switch {
			case tt.err != nil:
				if c2 != nil {
					t.Error("C2 after an error")
				}
			case tt.want == handshake.Plain:
				if !bytes.Equal(c2, s1) {
					t.Error("C2 is not S1")
				}
			default:
				at := digestAt(s1, tt.want)
				key := mac(player+tail(), s1[at:at+32])

				if len(c2) != 1536 || !bytes.Equal(c2[1504:], mac(string(key), c2[:1504])) {
					t.Error("signature of C2 does not verify")
				}
			}
		})
	}
}
