package amf_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/testdata"
)

// captured returns the AMF0 of the commands and data of real clients and servers.
func captured(tb testing.TB) (all [][]byte) {
	tb.Helper()

	const handshake, data, command = 1 + 2*1536, 18, 20

	captures, err := testdata.Captures()
	if err != nil {
		tb.Fatal(err)
	}

	for _, c := range captures {
		for _, side := range [][]byte{c.ClientToServer[handshake:], c.ServerToClient[handshake:]} {
			r := chunk.NewReader(bytes.NewReader(side), chunk.Limits{})

			for {
				m, err := r.ReadMessage()
				if err != nil {
					break
				}

				if m.TypeID == data || m.TypeID == command {
					all = append(all, m.AppendPayload(nil))
				}

				m.Release()
			}

			r.Close()
		}
	}

	if len(all) < 50 {
		tb.Fatalf("%d commands and data messages", len(all))
	}

	return all
}

// checkMemory calls f, which decodes n bytes. Objects without properties take the
// most: two or three bytes become an element, an entry of the table of references
// and a value, and slices that grow have allocated each of the first two several
// times. Objects in AMF0 have room for the properties of most commands.
func checkMemory(t *testing.T, n int, f func()) {
	t.Helper()

	var before, after runtime.MemStats

	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)

	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(n)*512+64<<10 {
		t.Fatalf("%d bytes allocated for %d", got, n)
	}
}

// FuzzDecodeAll decodes, and encodes and decodes again. Memory is bounded by the
// input, and so are the encoded bytes.
func FuzzDecodeAll(f *testing.F) {
	for _, tt := range values {
		f.Add(unhex(f, tt.wire))
	}

	for _, b := range captured(f) {
		f.Add(b)
	}

	f.Add(unhex(f, "03 0001 61 0101 000009 07 0000"))
	f.Add(unhex(f, "08 ffffffff 0001 61 0101"))
	f.Add(nested(33))
	f.Add(unhex(f, "0c ffffffff 61"))
	f.Add(unhex(f, "0a ffffffff 05"))
	f.Add(unhex(f, "0a 00000002 11 09 05 01 06 03 61 06 00 11 0a 0b 01 03 61 06 00 01 07 0000"))

	f.Fuzz(func(t *testing.T, in []byte) {
		limits := amf.Limits{Bytes: 64 << 10}

		var (
			first []any
			err   error
		)

		checkMemory(t, len(in), func() { first, err = amf.DecodeAll(in, limits) })

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
