package configs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration; time.Duration(d) converts. As text it is a number and a unit: 400ms, 10s, 1m30s.
type Duration time.Duration

// UnmarshalText reads a duration as time.ParseDuration does. A number without a unit is refused, except 0.
func (d *Duration) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	v, err := time.ParseDuration(t)
	if err != nil {
		if _, numErr := strconv.ParseFloat(t, 64); numErr == nil {
			return fmt.Errorf("%q has no unit: write %sms or %ss", t, t, t)
		}
		return fmt.Errorf("%q is not a duration: write a number and a unit, such as 400ms or 10s", t)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration as [Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes the duration as time.Duration does, without trailing zero units: 10s, 1m30s, 1h.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
