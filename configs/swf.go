package configs

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// SWF names a Flash application by what SWF verification compares: the hash of its file, HMAC-SHA256 of the uncompressed bytes with the key
// "Genuine Adobe Flash Player 001", and their number. As text it is both, joined by a colon, as `rtmpdump --swfhash HASH --swfsize SIZE` takes them.
type SWF struct {
	Hash [32]byte
	Size uint32
}

// UnmarshalText reads HASH:SIZE.
func (s *SWF) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	hash, size, _ := strings.Cut(t, ":")
	b, err := hex.DecodeString(hash)
	n, numErr := strconv.ParseUint(size, 10, 32)
	if err != nil || len(b) != len(s.Hash) || numErr != nil || n == 0 {
		return fmt.Errorf("%.100q is not HASH:SIZE: write the 64 hexadecimal digits and the number of bytes of the uncompressed file", t)
	}
	*s = SWF{Hash: [32]byte(b), Size: uint32(n)}
	return nil
}

// MarshalText writes HASH:SIZE.
func (s SWF) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%x:%d", s.Hash, s.Size), nil
}
