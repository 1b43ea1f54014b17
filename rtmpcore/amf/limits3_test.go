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

// nested3 returns n arrays inside each other.
func nested3(n int) []byte {
	return append(bytes.Repeat([]byte{9, 3, 1}, n-1), 9, 1, 1)
}

// TestLimits3 goes up to each limit and one beyond.
func TestLimits3(t *testing.T) {
	t.Parallel()

	nulls := func(n int) []byte {
		b, err := amf.Append3(nil, make([]any, n))
		if err != nil {
			t.Fatal(err)
		}

		return b
	}
	below := func(n int) []byte { // n levels, then an array that refers to them
		return append(append([]byte{9, 5, 1}, nested3(n)...), 9, 3, 1, 9, 2)
	}
	beside := func(n int) []byte { // an array of n levels and then of one, and one that refers to it
		b := append(append([]byte{9, 5, 1, 9, 5, 1}, nested3(n)...), nested3(1)...)

		return append(b, 9, 3, 1, 9, 2)
	}
	list := "0a 07 37 666c65782e6d6573736167696e672e696f2e41727261794c697374"

	for _, tt := range []struct {
		name   string
		limits amf.Limits
		within []byte
		beyond []byte
		want   amf.LimitError
	}{
		{"default depth", amf.Limits{}, nested3(32), nested3(33), amf.LimitError{Offset: 96, What: amf.LimitDepth, Max: 32}},
		{
			"no containers",
			amf.Limits{Depth: -1},
			unhex(t, "08 01 3ff0000000000000"),
			nested3(1),
			amf.LimitError{What: amf.LimitDepth, Max: -1},
		},
		{
			"references to what holds nothing",
			amf.Limits{Depth: 1},
			unhex(t, "09 05 01 0c 01 0c 02"),
			unhex(t, "09 05 01 0c 01 09 03 01 0c 02"),
			amf.LimitError{Offset: 5, What: amf.LimitDepth, Max: 1},
		},
		{
			"dictionaries, vectors, objects are levels",
			amf.Limits{Depth: 4},
			unhex(t, "11 03 00 01 10 03 00 01 0a 13 01 03 61"+list+"0c 01"),
			unhex(t, "11 03 00 01 10 03 00 01 0a 13 01 03 61"+list+"09 01 01"),
			amf.LimitError{Offset: 43, What: amf.LimitDepth, Max: 4},
		},
		{
			"references repeat depth",
			amf.Limits{Depth: 7},
			below(5), below(6),
			amf.LimitError{Offset: 24, What: amf.LimitDepth, Max: 7},
		},
		{
			"the deepest of several counts",
			amf.Limits{Depth: 6},
			beside(3), beside(4),
			amf.LimitError{Offset: 24, What: amf.LimitDepth, Max: 6},
		},
		{
			"default properties",
			amf.Limits{},
			nulls(4095), nulls(4096),
			amf.LimitError{Offset: 3, What: amf.LimitProperties, Max: 4096},
		},
		{
			"top-level values",
			amf.Limits{Properties: 1},
			unhex(t, "0a 0b 01 01"),
			unhex(t, "0a 0b 01 03 61 01 01"),
			amf.LimitError{Offset: 5, What: amf.LimitProperties, Max: 1},
		},
		{
			"elements",
			amf.Limits{Properties: 3},
			unhex(t, "09 05 01 01 01"),
			unhex(t, "09 07 01 01 01 01"),
			amf.LimitError{Offset: 2, What: amf.LimitProperties, Max: 3},
		},
		{
			"elements of elements",
			amf.Limits{Properties: 4},
			unhex(t, "09 05 01 09 03 01 01 01"),
			unhex(t, "09 05 01 09 05 01 01 01 01"),
			amf.LimitError{Offset: 8, What: amf.LimitProperties, Max: 4},
		},
		{
			"named elements",
			amf.Limits{Properties: 2},
			unhex(t, "09 01 03 61 01 01"),
			unhex(t, "09 01 03 61 01 03 61 01 01"),
			amf.LimitError{Offset: 7, What: amf.LimitProperties, Max: 2},
		},
		{
			"sealed properties",
			amf.Limits{Properties: 2},
			unhex(t, "0a 13 01 03 61 01"),
			unhex(t, "0a 23 01 03 61 03 62 01 01"),
			amf.LimitError{Offset: 3, What: amf.LimitProperties, Max: 2},
		},
		{
			"entries",
			amf.Limits{Properties: 2},
			unhex(t, "11 03 00 01 01"),
			unhex(t, "11 05 00 01 01 01 01"),
			amf.LimitError{Offset: 2, What: amf.LimitProperties, Max: 2},
		},
		{
			"items of object vectors",
			amf.Limits{Properties: 2},
			unhex(t, "10 03 00 01 01"),
			unhex(t, "10 05 00 01 01 01"),
			amf.LimitError{Offset: 2, What: amf.LimitProperties, Max: 2},
		},
		{
			"values of externalizable objects",
			amf.Limits{Properties: 2},
			unhex(t, list+"01"),
			unhex(t, list+"09 03 01 01"),
			amf.LimitError{Offset: 32, What: amf.LimitProperties, Max: 2},
		},
		{
			"numbers of vectors do not count",
			amf.Limits{Properties: 1},
			unhex(t, "0f 05 00 0000000000000000 0000000000000000"),
			unhex(t, "09 03 01 01"),
			amf.LimitError{Offset: 2, What: amf.LimitProperties, Max: 1},
		},
		{
			"references repeat properties",
			amf.Limits{Properties: 7},
			unhex(t, "09 05 01 09 05 01 01 01 09 02"),
			unhex(t, "09 05 01 09 07 01 01 01 01 09 02"),
			amf.LimitError{Offset: 11, What: amf.LimitProperties, Max: 7},
		},
		{
			"references repeat bytes",
			amf.Limits{Bytes: 19},
			unhex(t, "09 05 01 0c 0b 6161616161 0c 02"),
			unhex(t, "09 05 01 0c 0d 616161616161 0c 02"),
			amf.LimitError{Offset: 11, What: amf.LimitBytes, Max: 19},
		},
		{
			"references repeat references",
			amf.Limits{Bytes: 10 + 3 + 6 + 3 + 2 + 6},
			// An array, an array with "aa" twice, and a reference to that.
			unhex(t, "09 05 01  09 05 01 06 05 6161 06 00  09 02"),
			unhex(t, "09 05 01  09 07 01 06 05 6161 06 00 06 00  09 02"),
			amf.LimitError{Offset: 14, What: amf.LimitBytes, Max: 30},
		},
		{
			"references repeat strings",
			amf.Limits{Bytes: 17},
			unhex(t, "09 05 01 06 0b 6161616161 06 00"),
			unhex(t, "09 05 01 06 0d 616161616161 06 00"),
			amf.LimitError{Offset: 12, What: amf.LimitBytes, Max: 17},
		},
		{
			"references repeat keys",
			amf.Limits{Bytes: 18},
			unhex(t, "09 01 07 616161 01 00 01 00 01 01"),
			unhex(t, "09 01 09 61616161 01 00 01 00 01 01"),
			amf.LimitError{Offset: 10, What: amf.LimitBytes, Max: 18},
		},
		{
			"references repeat traits",
			amf.Limits{Bytes: 23},
			unhex(t, "09 05 01 0a 13 0b 6161616161 03 62 01 0a 01 01"),
			unhex(t, "09 05 01 0a 13 0d 616161616161 03 62 01 0a 01 01"),
			amf.LimitError{Offset: 17, What: amf.LimitBytes, Max: 23},
		},
		{"bytes", amf.Limits{Bytes: 1}, []byte{1}, []byte{6, 1}, amf.LimitError{Offset: 1, What: amf.LimitBytes, Max: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			if _, _, err := amf.Decode3(tt.within, tt.limits); err != nil {
				t.Errorf("at the limit: %v", err)
			}

			_, _, err := amf.Decode3(tt.beyond, tt.limits)

			var le *amf.LimitError
			if !errors.As(err, &le) || *le != tt.want {
				t.Errorf("one beyond: got %v, want %v", err, &tt.want)
			}
		})
	}
}

// TestLimitsOfBothFamilies: a message's limits are not per switched value.
func TestLimitsOfBothFamilies(t *testing.T) {
	t.Parallel()

	array := []byte{0x11, 9, 5, 1, 1, 1}

	for _, tt := range []struct {
		limits amf.Limits
		input  []byte
		want   amf.LimitError
	}{
		{amf.Limits{Properties: 5}, append(array, array...), amf.LimitError{Offset: 9, What: amf.LimitProperties, Max: 5}},
		{
			amf.Limits{Depth: 3},
			append([]byte{3, 0, 1, 'a', 3, 0, 1, 'a', 0x11}, nested3(2)...),
			amf.LimitError{Offset: 12, What: amf.LimitDepth, Max: 3},
		},
		{ // an array whose only element switches, and a reference to it
			amf.Limits{Depth: 2},
			append(append([]byte{10, 0, 0, 0, 1}, array...), 10, 0, 0, 0, 1, 7, 0, 0),
			amf.LimitError{Offset: 16, What: amf.LimitDepth, Max: 2},
		},
		{
			amf.Limits{Properties: 8},
			append(append([]byte{10, 0, 0, 0, 1}, array...), 10, 0, 0, 0, 1, 7, 0, 0),
			amf.LimitError{Offset: 19, What: amf.LimitProperties, Max: 8},
		},
	} {
		_, err := amf.DecodeAll(tt.input, tt.limits)

		var le *amf.LimitError
		if !errors.As(err, &le) || *le != tt.want {
			t.Errorf("%x: got %v, want %v", tt.input, err, &tt.want)
		}
	}
}

// TestCounts3DoNotAllocate: a few bytes that promise hundreds of millions of
// elements cost next to nothing.
func TestCounts3DoNotAllocate(t *testing.T) {
	for name, wire := range map[string][]byte{
		"string":        {6, 255, 255, 255, 255},
		"XML document":  {7, 255, 255, 255, 255},
		"XML":           {11, 255, 255, 255, 255},
		"byte array":    {12, 255, 255, 255, 255},
		"array":         {9, 255, 255, 255, 255, 1},
		"class name":    {10, 11, 255, 255, 255, 255},
		"sealed names":  {10, 255, 255, 255, 243, 1},
		"int vector":    {13, 255, 255, 255, 255, 0},
		"uint vector":   {14, 255, 255, 255, 255, 0},
		"double vector": {15, 255, 255, 255, 255, 0},
		"object vector": {16, 255, 255, 255, 255, 0, 1},
		"dictionary":    {17, 255, 255, 255, 255, 0},
	} {
		const rounds = 100

		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)

		for range rounds {
			if _, _, err := amf.Decode3(wire, amf.Limits{Properties: math.MaxInt}); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}

		runtime.ReadMemStats(&after)

		if got := (after.TotalAlloc - before.TotalAlloc) / rounds; got > 1024 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

// TestReferenceBomb3: small inputs that would be huge when written in full.
func TestReferenceBomb3(t *testing.T) {
	t.Parallel()

	doubling := []byte{9, 61, 1, 9, 1, 1} // each element holds the one before twice
	for i := range byte(29) {
		doubling = append(doubling, 9, 5, 1, 9, 2*i+2, 9, 2*i+2)
	}

	long := strings.Repeat("x", 100_000)
	repeat := func(first any, again ...byte) []byte {
		b, err := amf.Append3(nil, []any{first})
		if err != nil {
			t.Fatal(err)
		}

		b[1] = 63 // elements, now 31

		return append(b, bytes.Repeat(again, 30)...)
	}

	for name, bomb := range map[string][]byte{
		"doubling":   doubling,
		"string":     repeat(long, 6, 0),
		"byte array": repeat(amf.ByteArray(long), 12, 2),
		"key":        repeat(amf.Object{{Key: long}}, 10, 1, 0, 1, 1),
		"class":      repeat(amf.TypedObject{Class: long}, 10, 1),
		"vector":     repeat(amf.Vector[int32]{Items: make([]int32, 25_000)}, 13, 2),
	} {
		_, _, err := amf.Decode3(bomb, amf.Limits{})

		var le *amf.LimitError
		if !errors.As(err, &le) {
			t.Errorf("%s: got %v, want a limit", name, err)
		}
	}
}
