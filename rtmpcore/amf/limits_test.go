package amf_test

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"culvert/rtmpcore/amf"
)

// nested returns n objects inside each other, without end markers.
func nested(n int) []byte {
	return append(bytes.Repeat([]byte{3, 0, 1, 'o'}, n-1), 3)
}

// properties returns an object with n null properties.
func properties(n int) []byte {
	return append(append([]byte{3}, bytes.Repeat([]byte{0, 1, 'p', 5}, n)...), 0, 0, 9)
}

// TestLimits goes up to each limit and one beyond.
func TestLimits(t *testing.T) {
	t.Parallel()

	text := func(n int) []byte {
		b, err := amf.Append(nil, strings.Repeat("x", n-5))
		if err != nil {
			t.Fatal(err)
		}

		return b
	}
	pair := func(n int) []byte { // two values, one referring to the other
		return append(properties(n), 7, 0, 0)
	}
	below := func(n int) []byte { // n levels, then an object that refers to them
		return append(append(nested(n), bytes.Repeat([]byte{0, 0, 9}, n)...), 3, 0, 1, 'r', 7, 0, 0)
	}

	twice := func(n int) []byte { // below, and an object that refers to that
		return append(below(n), 0, 0, 9, 3, 0, 1, 'r', 7, 0, byte(n))
	}

	for _, tt := range []struct {
		name   string
		limits amf.Limits
		within []byte
		beyond []byte
		want   amf.LimitError
	}{
		{"default depth", amf.Limits{}, nested(32), nested(33), amf.LimitError{Offset: 128, What: amf.LimitDepth, Max: 32}},
		{"depth", amf.Limits{Depth: 2}, nested(2), nested(3), amf.LimitError{Offset: 8, What: amf.LimitDepth, Max: 2}},
		{"no containers", amf.Limits{Depth: -1}, []byte{5}, nested(1), amf.LimitError{What: amf.LimitDepth, Max: -1}},
		{
			"default properties",
			amf.Limits{},
			properties(4095), properties(4096),
			amf.LimitError{Offset: 1 + 4*4095 + 3, What: amf.LimitProperties, Max: 4096},
		},
		{
			"values count",
			amf.Limits{Properties: 2},
			[]byte{5, 5},
			[]byte{5, 5, 5},
			amf.LimitError{Offset: 2, What: amf.LimitProperties, Max: 2},
		},
		{
			"strict array",
			amf.Limits{Properties: 3},
			[]byte{10, 0, 0, 0, 2, 5, 5},
			[]byte{10, 0, 0, 0, 3, 5, 5, 5},
			amf.LimitError{Offset: 1, What: amf.LimitProperties, Max: 3},
		},
		{
			"references repeat properties",
			amf.Limits{Properties: 22},
			pair(10), pair(11),
			amf.LimitError{Offset: 51, What: amf.LimitProperties, Max: 22},
		},
		{
			"references repeat bytes",
			amf.Limits{Bytes: 2*44 + 3},
			pair(10), pair(11),
			amf.LimitError{Offset: 48, What: amf.LimitBytes, Max: 91},
		},
		{
			"references repeat depth",
			amf.Limits{Depth: 7},
			below(6), below(7),
			amf.LimitError{Offset: 7*7 - 3 + 4, What: amf.LimitDepth, Max: 7},
		},
		{
			"references add up in bytes",
			amf.Limits{Bytes: 3*44 + 6},
			append(pair(10), 7, 0, 0),
			append(pair(11), 7, 0, 0),
			amf.LimitError{Offset: 51, What: amf.LimitBytes, Max: 138},
		},
		{
			"references add up in depth",
			amf.Limits{Depth: 7},
			twice(5), twice(6),
			amf.LimitError{Offset: 53, What: amf.LimitDepth, Max: 7},
		},
		{
			"default bytes",
			amf.Limits{},
			text(256 << 10), text(256<<10 + 1),
			amf.LimitError{Offset: 256 << 10, What: amf.LimitBytes, Max: 256 << 10},
		},
		{"bytes", amf.Limits{Bytes: 1}, []byte{5}, []byte{5, 5}, amf.LimitError{Offset: 1, What: amf.LimitBytes, Max: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			if _, err := amf.DecodeAll(tt.within, tt.limits); err != nil {
				t.Errorf("at the limit: %v", err)
			}

			_, err := amf.DecodeAll(tt.beyond, tt.limits)

			var le *amf.LimitError
			if !errors.As(err, &le) || *le != tt.want {
				t.Errorf("one beyond: got %v, want %v", err, &tt.want)
			}
		})
	}
}

// TestCountsDoNotAllocate: a few bytes that promise billions of elements cost
// next to nothing.
func TestCountsDoNotAllocate(t *testing.T) {
	for name, wire := range map[string][]byte{
		"ECMA array":   {8, 255, 255, 255, 255},
		"strict array": {10, 255, 255, 255, 255},
		"long string":  {12, 255, 255, 255, 255},
		"XML":          {15, 255, 255, 255, 255},
	} {
		const rounds = 100

		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)

		for range rounds {
			if _, _, err := amf.Decode(wire, amf.Limits{Properties: math.MaxInt}); err != nil && name == "ECMA array" {
				t.Error(err)
			} else if err == nil && name != "ECMA array" {
				t.Errorf("%s: accepted", name)
			}
		}

		runtime.ReadMemStats(&after)

		if got := (after.TotalAlloc - before.TotalAlloc) / rounds; got > 1024 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

// TestReferenceBomb: values that refer to each other twice each would double
// with every level when written out.
func TestReferenceBomb(t *testing.T) {
	t.Parallel()

	bomb := []byte{10, 0, 0, 0, 0}
	for i := range byte(30) {
		bomb = append(bomb, 10, 0, 0, 0, 2, 7, 0, i, 7, 0, i)
	}

	_, err := amf.DecodeAll(bomb, amf.Limits{})

	var le *amf.LimitError
	if !errors.As(err, &le) {
		t.Errorf("got %v, want a limit", err)
	}
}
