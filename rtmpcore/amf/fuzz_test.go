package amf_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"culvert/rtmpcore/amf"
)

func FuzzDecodeAll(f *testing.F) {
	for _, tt := range values {
		f.Add(unhex(f, tt.wire))
	}

	f.Add(unhex(f, "03 0001 61 0101 000009 07 0000"))
	f.Add(unhex(f, "08 ffffffff 0001 61 0101"))
	f.Add(nested(33))
	f.Add(unhex(f, "0a 00000002 11 09 05 01 06 03 61 06 00 11 0a 0b 01 03 61 06 00 01 07 0000"))

	f.Fuzz(func(t *testing.T, in []byte) {
		limits := amf.Limits{Bytes: 64 << 10}

		first, err := amf.DecodeAll(in, limits)
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
			case !errors.As(err, &le):
				t.Fatalf("untyped error %v", err)
			}
		}

		once, err := amf.AppendAll(nil, first...)
		if err != nil {
			t.Fatal(err)
		}

		// End markers that were missing are there now. What references repeat has
		// been charged for, apart from AMF3's own bytes.
		if grown := len(once) - limits.Bytes; grown > 3*amf.DefaultDepth+4*amf.DefaultProperties {
			t.Fatalf("%d bytes beyond the limit", grown)
		}

		second, err := amf.DecodeAll(once, amf.Limits{Bytes: 2 * limits.Bytes})
		if err != nil {
			t.Fatalf("own encoding: %v", err)
		}

		twice, err := amf.AppendAll(nil, second...)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v: %x became %x", err, once, twice)
		}

		if v, rest, err := amf.Decode(in, limits); err == nil && (len(first) == 0 || len(rest) >= len(in)) {
			t.Fatalf("%#v from %x, with %d left", v, in, len(rest))
		} else if len(in) == 0 && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}
