package amf_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"culvert/rtmpcore/amf"
)

// values pairs each value with its one encoding. Both directions use it.
var values = []struct {
	name  string
	value any
	wire  string // hex, blanks ignored
}{
	{"number", 1.5, "00 3ff8000000000000"},
	{"negative zero", math.Copysign(0, -1), "00 8000000000000000"},
	{"infinity", math.Inf(1), "00 7ff0000000000000"},
	{"true", true, "01 01"},
	{"false", false, "01 00"},
	{"string", "live", "02 0004 6c697665"},
	{"empty string", "", "02 0000"},
	{"null", nil, "05"},
	{"undefined", amf.Undefined{}, "06"},
	{"unsupported", amf.Unsupported{}, "0d"},
	{"date", amf.Date{Milliseconds: 1, Zone: -60}, "0b 3ff0000000000000 ffc4"},
	{"XML", amf.XML("<a/>"), "0f 00000004 3c612f3e"},
	{"empty object", amf.Object{}, "03 000009"},
	{
		"object",
		amf.Object{{Key: "b", Value: true}, {Key: "a", Value: nil}},
		"03 0001 62 0101 0001 61 05 000009",
	},
	{
		"object with an empty key",
		amf.Object{{Key: "", Value: 1.5}},
		"03 0000 003ff8000000000000 000009",
	},
	{
		"object with a key twice",
		amf.Object{{Key: "a", Value: false}, {Key: "a", Value: true}},
		"03 0001 61 0100 0001 61 0101 000009",
	},
	{
		"ECMA array",
		amf.ECMAArray{{Key: "w", Value: 1.5}},
		"08 00000001 0001 77 003ff8000000000000 000009",
	},
	{"empty ECMA array", amf.ECMAArray{}, "08 00000000 000009"},
	{"strict array", amf.StrictArray{true, nil}, "0a 00000002 0101 05"},
	{"empty strict array", amf.StrictArray{}, "0a 00000000"},
	{
		"typed object",
		amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: true}}},
		"10 0001 43 0001 61 0101 000009",
	},
	{
		"nested",
		amf.Object{{Key: "o", Value: amf.StrictArray{amf.ECMAArray{{Key: "k", Value: amf.Object{}}}}}},
		"03 0001 6f 0a 00000001 08 00000001 0001 6b 03 000009 000009 000009",
	},
	{"AMF3", amf.AMF3{Value: amf.ByteArray{7}}, "11 0c 03 07"},
	{
		"AMF3 inside an object",
		amf.Object{{Key: "a", Value: amf.AMF3{Value: "s"}}, {Key: "b", Value: amf.AMF3{Value: "s"}}},
		"03 0001 61 11 06 03 73 0001 62 11 06 03 73 000009",
	},
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()

	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}

	return b
}

func TestAppend(t *testing.T) {
	t.Parallel()

	for _, tt := range values {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := amf.Append([]byte("x"), tt.value)
			if err != nil {
				t.Fatal(err)
			}

			if want := append([]byte("x"), unhex(t, tt.wire)...); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()

	for _, tt := range values {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, rest, err := amf.Decode(append(unhex(t, tt.wire), "rest"...), amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			if !reflect.DeepEqual(got, tt.value) || string(rest) != "rest" {
				t.Errorf("got %#v with %q, want %#v", got, rest, tt.value)
			}
		})
	}
}

// TestTruncated cuts every value at every byte. A cut at a place where a key
// would begin leaves a complete value without its end marker, which is accepted.
func TestTruncated(t *testing.T) {
	t.Parallel()

	for _, tt := range values {
		wire := unhex(t, tt.wire)

		for i := range wire {
			v, rest, err := amf.Decode(wire[:i], amf.Limits{})

			switch {
			case err == nil:
				if _, keyed := v.(amf.StrictArray); len(rest) != 0 || tt.wire[:2] != hex.EncodeToString(wire[:1]) || keyed {
					t.Errorf("%s cut at %d: %#v with rest %x", tt.name, i, v, rest)
				}

				if _, ok := amf.AsObject(v); !ok {
					t.Errorf("%s cut at %d: accepted as %#v", tt.name, i, v)
				}
			case i == 0:
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: empty: %v", tt.name, err)
				}
			default:
				var se *amf.SyntaxError
				if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &se) || se.Offset != i {
					t.Errorf("%s cut at %d: %v", tt.name, i, err)
				}
			}
		}
	}
}

// TestDecodeOnly holds inputs that peers send and our encoder does not.
func TestDecodeOnly(t *testing.T) {
	t.Parallel()

	shared := amf.Object{{Key: "a", Value: true}}

	for _, tt := range []struct {
		name string
		wire string
		want []any
	}{
		{"nothing", "", nil},
		{"boolean 2", "01 02", []any{true}},
		{"short text as long string", "0c 00000002 6869", []any{"hi"}},
		{"ECMA count too high", "08 ffffffff 0001 61 0101 000009", []any{amf.ECMAArray{{Key: "a", Value: true}}}},
		{"ECMA count zero", "08 00000000 0001 61 0101 000009", []any{amf.ECMAArray{{Key: "a", Value: true}}}},
		{"object without end", "03 0001 61 0101", []any{amf.Object{{Key: "a", Value: true}}}},
		{"empty object without end", "03", []any{amf.Object{}}},
		{"ECMA array without end", "08 00000001 0001 61 0101", []any{amf.ECMAArray{{Key: "a", Value: true}}}},
		{
			"two ends missing",
			"03 0001 6f 03 0001 61 0101",
			[]any{amf.Object{{Key: "o", Value: shared}}},
		},
		{"several values", "02 0001 61 00 3ff8000000000000 05", []any{"a", 1.5, nil}},
		{
			"reference to an earlier value",
			"03 0001 61 0101 000009 07 0000",
			[]any{shared, shared},
		},
		{
			"references count arrays and typed objects",
			"0a 00000001 05  10 0001 43 000009  08 00000000 000009  0a 00000003 07 0000 07 0001 07 0002",
			[]any{
				amf.StrictArray{nil},
				amf.TypedObject{Class: "C", Object: amf.Object{}},
				amf.ECMAArray{},
				amf.StrictArray{
					amf.StrictArray{nil},
					amf.TypedObject{Class: "C", Object: amf.Object{}},
					amf.ECMAArray{},
				},
			},
		},
		{
			"reference past an AMF3 value",
			"0a 00000002 03 000009 11 09 01 01  07 0001",
			[]any{amf.StrictArray{amf.Object{}, amf.AMF3{Value: amf.StrictArray{}}}, amf.Object{}},
		},
		{
			"reference to a sibling",
			"03 0001 61 03 000009 0001 62 07 0001 000009",
			[]any{amf.Object{{Key: "a", Value: amf.Object{}}, {Key: "b", Value: amf.Object{}}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := amf.DecodeAll(unhex(t, tt.wire), amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name   string
		wire   string
		cause  error
		offset int
	}{
		{"movie clip", "05 04", amf.ErrMarker, 1},
		{"record set", "0e", amf.ErrMarker, 0},
		{"stray object end", "09", amf.ErrMarker, 0},
		{"marker beyond the table", "03 0001 61 12", amf.ErrMarker, 4},
		{"marker beyond AMF3's table", "05 11 12", amf.ErrMarker, 2},
		{"AMF3 reference to the value before", "11 06 03 61 11 06 00", amf.ErrReference, 6},
		{"AMF3 reference to an AMF0 value", "03 0001 61 11 0a 00 000009", amf.ErrReference, 5},
		{"reference to a value inside AMF3", "11 09 01 01 07 0000", amf.ErrReference, 4},
		{"reference to nothing", "07 0000", amf.ErrReference, 0},
		{"reference to a scalar", "05 07 0000", amf.ErrReference, 1},
		{"value that contains itself", "03 0001 61 07 0000 000009", amf.ErrReference, 4},
		{"long string longer than its input", "0c ffffffff 61", io.ErrUnexpectedEOF, 6},
		{"strict array longer than its input", "0a 00000fff 05", io.ErrUnexpectedEOF, 6},
		{"half an end marker", "03 0000", io.ErrUnexpectedEOF, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			_, err := amf.DecodeAll(unhex(t, tt.wire), amf.Limits{})

			var se *amf.SyntaxError
			if !errors.Is(err, tt.cause) || !errors.As(err, &se) || se.Offset != tt.offset {
				t.Errorf("got %v, want %v at offset %d", err, tt.cause, tt.offset)
			}
		})
	}
}

// TestPartial: values before a bad one are of use, to answer a call by its name
// and transaction ID.
func TestPartial(t *testing.T) {
	t.Parallel()

	got, err := amf.DecodeAll(unhex(t, "02 0001 61 00 3ff8000000000000 0e 05"), amf.Limits{})
	if !errors.Is(err, amf.ErrMarker) {
		t.Fatal(err)
	}

	if want := []any{"a", 1.5}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

func TestLongString(t *testing.T) {
	t.Parallel()

	for n, marker := range map[int]byte{65535: 0x02, 65536: 0x0c} {
		s := strings.Repeat("x", n)

		b, err := amf.Append(nil, s)
		if err != nil {
			t.Fatal(err)
		}

		v, rest, err := amf.Decode(b, amf.Limits{})
		if b[0] != marker || err != nil || v != s || len(rest) != 0 {
			t.Errorf("%d bytes: marker %#x, %d left, error %v", n, b[0], len(rest), err)
		}
	}
}

func TestAppendConveniences(t *testing.T) {
	t.Parallel()

	for _, v := range []any{
		7, int8(7), int16(7), int32(7), int64(7), uint(7), uint8(7), uint16(7), uint32(7), uint64(7), float32(7),
	} {
		b, err := amf.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}

		if want := unhex(t, "00 401c000000000000"); !bytes.Equal(b, want) {
			t.Errorf("%T: got %x, want %x", v, b, want)
		}
	}

	got, err := amf.AppendAll(nil, []any{"a"}, nil)
	if want := unhex(t, "0a 00000001 02 0001 61 05"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestAppendRefused(t *testing.T) {
	t.Parallel()

	cycle := amf.StrictArray{nil}
	cycle[0] = cycle
	long := strings.Repeat("k", 65536)

	for _, tt := range []struct {
		name  string
		value any
		cause error
	}{
		{"struct", struct{}{}, amf.ErrType},
		{"type inside an array", amf.StrictArray{struct{}{}}, amf.ErrType},
		{"map", map[string]any{}, amf.ErrType},
		{"long key", amf.Object{{Key: long}}, amf.ErrTooLong},
		{"long key in an ECMA array", amf.ECMAArray{{Key: long}}, amf.ErrTooLong},
		{"long class name", amf.TypedObject{Class: long}, amf.ErrTooLong},
		{"cycle", cycle, amf.ErrTooDeep},
		{"value that only AMF3 has", amf.ByteArray{}, amf.ErrType},
		{"refused by AMF3", amf.AMF3{Value: amf.Unsupported{}}, amf.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := amf.AppendAll([]byte("x"), "before", tt.value)
			if !errors.Is(err, tt.cause) || string(got) != "x" {
				t.Errorf("got %q, %v, want %v", got, err, tt.cause)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()

	o := amf.Object{
		{Key: "app", Value: "old"},
		{Key: "n", Value: 1.5},
		{Key: "ok", Value: true},
		{Key: "none", Value: nil},
		{Key: "app", Value: "live"},
	}

	wrapped := make(amf.Object, len(o))
	for i, p := range o {
		wrapped[i] = amf.Pair{Key: p.Key, Value: amf.AMF3{Value: p.Value}}
	}

	for _, v := range []interface {
		Lookup(key string) (any, bool)
		String(key string) (string, bool)
		Number(key string) (float64, bool)
		Bool(key string) (bool, bool)
	}{o, amf.ECMAArray(o), amf.TypedObject{Object: o}, amf.MixedArray{Object: o}, wrapped} {
		if s, ok := v.String("app"); !ok || s != "live" {
			t.Errorf("%T: app is %q, %v: the last of two keys counts", v, s, ok)
		}

		if n, ok := v.Number("n"); !ok || n != 1.5 {
			t.Errorf("%T: n is %v, %v", v, n, ok)
		}

		if b, ok := v.Bool("ok"); !ok || !b {
			t.Errorf("%T: ok is %v, %v", v, b, ok)
		}

		if x, ok := v.Lookup("none"); !ok || x != nil {
			t.Errorf("%T: none is %v, %v", v, x, ok)
		}

		for _, key := range []string{"absent", "none"} {
			_, s := v.String(key)
			_, n := v.Number(key)

			if _, b := v.Bool(key); s || n || b {
				t.Errorf("%T: %s is a string, number or boolean", v, key)
			}
		}

		if got, ok := amf.AsObject(v); !ok || len(got) != len(o) {
			t.Errorf("%T: as an object: %v, %v", v, got, ok)
		}
	}

	for _, v := range []any{amf.AMF3{Value: amf.ECMAArray(o)}, amf.Externalizable{Value: o}} {
		if got, ok := amf.AsObject(v); !ok || len(got) != len(o) {
			t.Errorf("%T: as an object: %v, %v", v, got, ok)
		}
	}

	for _, v := range []any{"text", amf.AMF3{Value: "text"}, amf.StrictArray{}} {
		if _, ok := amf.AsObject(v); ok {
			t.Errorf("%#v has properties", v)
		}
	}

	if v := amf.Unwrap(amf.AMF3{Value: "text"}); v != "text" {
		t.Errorf("unwrapped: %#v", v)
	}
}

func TestDate(t *testing.T) {
	t.Parallel()

	at := time.Date(2026, 11, 23, 10, 0, 0, 5e6, time.UTC)

	if got, ok := amf.DateOf(at).Time(); !ok || !got.Equal(at) {
		t.Errorf("got %v, %v, want %v", got, ok, at)
	}

	for _, ms := range []float64{math.NaN(), math.Inf(-1), 8.65e15} {
		if got, ok := (amf.Date{Milliseconds: ms}).Time(); ok {
			t.Errorf("%v is %v", ms, got)
		}
	}
}
