package amf_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"culvert/rtmpcore/amf"
)

func FuzzDecode3(f *testing.F) {
	for _, tt := range values3 {
		f.Add(unhex(f, tt.wire))
	}

	f.Add(nested3(33))
	// What takes the most memory: 4,000 objects of two bytes each.
	f.Add(append(unhex(f, "09 be41 01 0a 03 01"), bytes.Repeat([]byte{10, 1}, 3999)...))
	f.Add(unhex(f, "09 05 01 0a 0b 01 03 61 03 01 0a 02"))
	f.Add(unhex(f, "09 05 01 09 05 01 0c 03 ff 06 03 61 09 02"))

	f.Fuzz(func(t *testing.T, in []byte) {
		limits := amf.Limits{Bytes: 64 << 10}

		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)

		first, rest, err := amf.Decode3(in, limits)

		runtime.ReadMemStats(&after)

		// Objects without properties take the most: two bytes become an element, an
		// entry of the table and a TypedObject, and slices that grow have allocated
		// each of the first two several times.
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(in))*512+64<<10 {
			t.Fatalf("%d bytes allocated for %d", got, len(in))
		}

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
