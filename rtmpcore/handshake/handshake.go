package handshake

import (
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
)

// Values of C0 and S0.
const (
	Version          = 0x03 // RTMP without encryption
	VersionEncrypted = 0x06 // RTMPE
)

const (
	size     = 1536     // of C1, C2, S1 and S2
	openSize = 1 + size // of C0 with C1
)

// Errors of Server and Client. Errors of the connection are wrapped as they
// come; io.EOF says that the peer left without sending a byte,
// io.ErrUnexpectedEOF that it left later.
var (
	// ErrRTMPE: the client asks for encryption (C0 is 0x06, 0x08 or 0x09), which
	// this server does not offer. Nothing has been answered.
	ErrRTMPE = errors.New("client asks for RTMPE")
	// ErrNotEncrypted: the server does not speak RTMPE, which was asked for.
	ErrNotEncrypted = errors.New("server does not encrypt")
	// ErrVersion: the server answered another version than it was asked for.
	ErrVersion = errors.New("unsupported RTMP version")
	// ErrSignature: the server says that it signs, and its S1 or S2 does not verify,
	// or C1 or S1 of RTMPE does not.
	ErrSignature = errors.New("signature does not verify")
)

// Scheme tells how the two sides signed.
type Scheme uint8

// The schemes.
const (
	Plain   Scheme = iota // unsigned, RTMP 1.0 §5.2
	Scheme0               // digest in the first half of C1 and S1
	Scheme1               // digest in the second half of C1 and S1
)

// String returns "plain", "scheme 0" or "scheme 1".
func (s Scheme) String() string {
	switch s {
	case Plain:
		return "plain"
	case Scheme0:
		return "scheme 0"
	case Scheme1:
		return "scheme 1"
	default:
		return "unknown"
	}
}

// Result is what a handshake found out about the peer.
type Result struct {
	// Scheme in which both sides signed.
	Scheme Scheme
	// PeerVersion is bytes 4 to 7 of the peer's C1 or S1: the version of the
	// product, such as 9.0.124.2, zero from peers that do not sign.
	PeerVersion [4]byte
	// Version is the peer's C0 or S0.
	Version byte
	// Keys encrypt what follows the handshake; nil when it is not encrypted.
	Keys *Keys
	// ServerTail are the last 32 bytes of S1, the key of SWF verification.
	ServerTail [32]byte
}

// scratch holds the bytes of one handshake, so that they neither grow the
// goroutine's stack nor stay with the connection afterwards.
type scratch struct {
	in  [openSize + size]byte
	out [openSize + size]byte

	// random fills what is filler by the specification, and proves nothing: it need
	// not be asked of the system 1,528 bytes at a time.
	random *mathrand.ChaCha8
}

var scratches = sync.Pool{New: func() any {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails

	return &scratch{random: mathrand.NewChaCha8(seed)}
}}

// filler returns r, or the scratch's own source for nil.
func (s *scratch) filler(r io.Reader) io.Reader {
	if r == nil {
		return s.random
	}

	return r
}

// encrypted tells whether version is one of RTMPE.
func encrypted(version byte) bool {
	return version == 0x06 || version == 0x08 || version == 0x09
}
