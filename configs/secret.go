package configs

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// masked is what a Secret shows.
const masked = "***"

// maxSecretFile is the largest file that file:PATH reads, in bytes.
const maxSecretFile = 64 << 10

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// Secret is a text that must not be seen. Everything that prints or encodes it (fmt with any verb, JSON, YAML, zerolog) gets ***; only
// [Secret.Reveal] gives it away. The text is behind a pointer, so that a dump of memory structures (%#v of an unexported field) shows an address.
// The zero Secret is empty.
type Secret struct{ text *string }

// NewSecret wraps a text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Equal compares with a candidate in a time that depends on neither the secret nor how much of it the candidate got right. An empty secret
// equals nothing, not even an empty candidate.
func (s Secret) Equal(candidate string) bool {
	want, got := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(candidate))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && s.Reveal() != ""
}

// String returns ***.
func (Secret) String() string { return masked }

// GoString returns ***.
func (Secret) GoString() string { return masked }

// Format writes *** for every verb and flag.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// MarshalText returns ***.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON returns "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// MarshalYAML returns ***, and "" for an empty secret, so that a dump of a configuration without secrets can be loaded.
func (s Secret) MarshalYAML() (any, error) {
	if s.Reveal() == "" {
		return "", nil
	}
	return masked, nil
}

// UnmarshalText takes the text as it is. ${NAME} and file:PATH are resolved by [Load] only.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// resolve replaces ${NAME} and file:PATH by what they stand for. Errors name the reference, never the content.
func (s *Secret) resolve(lookup func(string) (string, bool)) error {
	text := s.Reveal()
	if m := variable.FindStringSubmatch(text); m != nil {
		v, ok := lookup(m[1])
		if !ok || v == "" {
			return fmt.Errorf("environment variable %s is not set", m[1])
		}
		*s = NewSecret(v)
		return nil
	}
	path, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return nil
	}
	v, err := readSecret(path)
	if err != nil {
		return err
	}
	*s = NewSecret(v)
	return nil
}

// readSecret reads a file that holds one secret; the newline at its end is no part of it.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	v := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxSecretFile:
		return "", fmt.Errorf("%s is larger than %s", path, Size(maxSecretFile))
	case v == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(v, "\r\n"):
		return "", errors.New(path + " has more than one line: a file holds one secret")
	}
	return v, nil
}
