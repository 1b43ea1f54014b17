package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. As text it is a whole number and a unit (64KiB, 4MiB, 1GiB; or KB, MB, GB for powers of 1000); a number without a
// unit counts bytes.
type Size int64

// Binary units.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var sizeUnits = map[string]Size{
	"": 1, "b": 1,
	"kib": KiB, "mib": MiB, "gib": GiB,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
}

// UnmarshalText reads a size. Upper and lower case are the same and a space may stand before the unit. A bare K, M or G is refused, because half
// of the world means 1000 by it and the other half 1024.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	digits := len(t) - len(strings.TrimLeft(t, "0123456789"))
	unit := strings.ToLower(strings.TrimSpace(t[digits:]))
	switch unit {
	case "k", "m", "g":
		u := strings.ToUpper(unit)
		return fmt.Errorf("%q has no clear unit: write %siB (1024) or %sB (1000)", t, u, u)
	}
	factor, ok := sizeUnits[unit]
	if !ok || digits == 0 {
		return fmt.Errorf("%q is not a size: write a number and a unit, such as 64KiB or 4MiB", t)
	}
	n, err := strconv.ParseInt(t[:digits], 10, 64)
	if err != nil || n > math.MaxInt64/int64(factor) {
		return fmt.Errorf("%q is too large", t)
	}
	*s = Size(n) * factor
	return nil
}

// MarshalText writes the size as [Size.String] does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest binary unit that is exact: 8256KiB, 1000 for a thousand bytes.
func (s Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
