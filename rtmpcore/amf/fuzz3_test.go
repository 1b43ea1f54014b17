package amf_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"culvert/rtmpcore/amf"
)

// FuzzDecode3 is FuzzDecodeAll for AMF3. No client that was captured speaks it: what
// they said is written in it.
func FuzzDecode3(f *testing.F) {
	for _, tt := range values3 {
		f.Add(unhex(f, tt.wire))
	}

	for _, said := range captured(f) {
		vs, err := amf.DecodeAll(said, amf.Limits{})
		if err != nil {
			f.Fatal(err)
		}

		for _, v := range append(vs, vs) {
			b, err := amf.Append3(nil, v)
			if err != nil {
				f.Fatal(err)
			}

			f.Add(b)
		}
	}

	f.Add(nested3(33))
	f.Add(unhex(f, "0f ffffffff 00")) // a vector of 2^28 doubles
	f.Add(unhex(f, "0c ffffffff"))
	// What takes the most memory: 4,000 objects of two bytes each.
	f.Add(append(unhex(f, "09 be41 01 0a 03 01"), bytes.Repeat([]byte{10, 1}, 3999)...))
	f.Add(unhex(f, "09 05 01 0a 0b 01 03 61 03 01 0a 02"))
	f.Add(unhex(f, "09 05 01 09 05 01 0c 03 ff 06 03 61 09 02"))

	f.Fuzz(func(t *testing.T, in []byte) {
		limits := amf.Limits{Bytes: 64 << 10}

		var (
			first any
			rest  []byte
			err   error
		)

		checkMemory(t, len(in), func() { first, rest, err = amf.Decode3(in, limits) })

		if err != nil {
			var (
				se *amf.SyntaxError
				le *amf.LimitError
			)

			switch {
			case errors.As(err, &se):
				if se.Offset > len(in) {
					t.Fatalf("offset %d of %d", se.Offset, len(in))
				}
			case !errors.As(err, &le) && (len(in) > 0 || !errors.Is(err, io.EOF)):
				t.Fatalf("untyped error %v", err)
			}

			if first != nil || rest != nil {
				t.Fatalf("%#v and %x next to %v", first, rest, err)
			}

			return
		}

		if len(rest) >= len(in) {
			t.Fatalf("%#v from %x, with %d left", first, in, len(rest))
		}

		once, err := amf.Append3(nil, first)
		if err != nil {
			t.Fatal(err)
		}

		// What references repeat has been charged for, apart from their own bytes.
		if len(once) > limits.Bytes+4*amf.DefaultProperties {
			t.Fatalf("%d bytes from %d", len(once), len(in))
		}

		// The same holds for those who take the values over into AMF0.
		if b, err := amf.Append(nil, first); err == nil && len(b) > limits.Bytes+16*amf.DefaultProperties {
			t.Fatalf("%d bytes of AMF0 from %d", len(b), len(in))
		}

		second, rest, err := amf.Decode3(once, amf.Limits{Bytes: 2 * limits.Bytes})
		if err != nil || len(rest) != 0 {
			t.Fatalf("own encoding: %v, %d left", err, len(rest))
		}

		twice, err := amf.Append3(nil, second)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v: %x became %x", err, once, twice)
		}
	})
}
