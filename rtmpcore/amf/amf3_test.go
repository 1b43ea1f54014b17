package amf_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"culvert/rtmpcore/amf"
)

// values3 pairs each value with its one AMF3 encoding. Both directions use it.
var values3 = []struct {
	name  string
	value any
	wire  string // hex, blanks ignored
}{
	{"undefined", amf.Undefined{}, "00"},
	{"null", nil, "01"},
	{"false", false, "02"},
	{"true", true, "03"},
	{"zero", 0.0, "04 00"},
	{"largest integer of one byte", 127.0, "04 7f"},
	{"smallest integer of two bytes", 128.0, "04 81 00"},
	{"largest integer of two bytes", 16383.0, "04 ff 7f"},
	{"smallest integer of three bytes", 16384.0, "04 81 80 00"},
	{"largest integer of three bytes", 2097151.0, "04 ff ff 7f"},
	{"smallest integer of four bytes", 2097152.0, "04 80 c0 80 00"},
	{"largest integer", 268435455.0, "04 bf ff ff ff"},
	{"minus one", -1.0, "04 ff ff ff ff"},
	{"smallest integer", -268435456.0, "04 c0 80 80 00"},
	{"above the integers", 268435456.0, "05 41b0000000000000"},
	{"below the integers", -268435457.0, "05 c1b0000001000000"},
	{"negative zero", math.Copysign(0, -1), "05 8000000000000000"},
	{"double", 1.5, "05 3ff8000000000000"},
	{"infinity", math.Inf(-1), "05 fff0000000000000"},
	{"string", "live", "06 09 6c697665"},
	{"empty string", "", "06 01"},
	{"string of 64 bytes", strings.Repeat("x", 64), "06 81 01" + strings.Repeat("78", 64)},
	{"XML document", amf.XML("<a/>"), "07 09 3c612f3e"},
	{"date", amf.Date{Milliseconds: 1}, "08 01 3ff0000000000000"},
	{"XML", amf.E4X("<a/>"), "0b 09 3c612f3e"},
	{"byte array", amf.ByteArray{0, 255}, "0c 05 00ff"},
	{"empty byte array", amf.ByteArray{}, "0c 01"},
	{"empty array", amf.StrictArray{}, "09 01 01"},
	{"dense array", amf.StrictArray{true, nil}, "09 05 01 03 01"},
	{"associative array", amf.ECMAArray{{Key: "w", Value: 1.5}}, "09 01 03 77 05 3ff8000000000000 01"},
	{
		"mixed array",
		amf.MixedArray{Object: amf.Object{{Key: "a", Value: true}}, Elements: []any{false}},
		"09 03 03 61 03 01 02",
	},
	{"empty object", amf.Object{}, "0a 0b 01 01"},
	{"object", amf.Object{{Key: "b", Value: true}, {Key: "a", Value: nil}}, "0a 0b 01 03 62 03 03 61 01 01"},
	{
		"sealed object",
		amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: true}}, Sealed: 1},
		"0a 13 03 43 03 61 03",
	},
	{
		"dynamic object with a sealed property",
		amf.TypedObject{
			Class:   "C",
			Object:  amf.Object{{Key: "a", Value: true}, {Key: "b", Value: false}},
			Sealed:  1,
			Dynamic: true,
		},
		"0a 1b 03 43 03 61 03 03 62 02 01",
	},
	{"dynamic object of a class", amf.TypedObject{Class: "C", Object: amf.Object{}, Dynamic: true}, "0a 0b 03 43 01"},
	{"object that can have nothing", amf.TypedObject{Object: amf.Object{}}, "0a 03 01"},
	{
		"sealed property without a name",
		amf.TypedObject{Object: amf.Object{{Key: "", Value: true}}, Sealed: 1},
		"0a 13 01 01 03",
	},
	{
		"ArrayCollection",
		amf.Externalizable{Class: "flex.messaging.io.ArrayCollection", Value: amf.StrictArray{nil}},
		"0a 07 43 666c65782e6d6573736167696e672e696f2e4172726179436f6c6c656374696f6e 09 03 01 01",
	},
	{
		"ArrayList",
		amf.Externalizable{Class: "flex.messaging.io.ArrayList", Value: amf.StrictArray{}},
		"0a 07 37 666c65782e6d6573736167696e672e696f2e41727261794c697374 09 01 01",
	},
	{
		"ObjectProxy",
		amf.Externalizable{Class: "flex.messaging.io.ObjectProxy", Value: amf.Object{}},
		"0a 07 3b 666c65782e6d6573736167696e672e696f2e4f626a65637450726f7879 0a 0b 01 01",
	},
	{"int vector", amf.Vector[int32]{Items: []int32{1, -1}}, "0d 05 00 00000001 ffffffff"},
	{"fixed uint vector", amf.Vector[uint32]{Fixed: true, Items: []uint32{1, 1<<32 - 1}}, "0e 05 01 00000001 ffffffff"},
	{"double vector", amf.Vector[float64]{Items: []float64{1.5}}, "0f 03 00 3ff8000000000000"},
	{"empty vector", amf.Vector[float64]{Items: []float64{}}, "0f 01 00"},
	{"object vector", amf.ObjectVector{Class: "C", Items: []any{nil, amf.Object{}}}, "10 05 00 03 43 01 0a 0b 01 01"},
	{"fixed object vector of any class", amf.ObjectVector{Fixed: true, Items: []any{}}, "10 01 01 01"},
	{
		"dictionary",
		amf.Dictionary{Entries: []amf.Entry{{Key: amf.Object{}, Value: true}, {Key: 1.0, Value: nil}}},
		"11 05 00 0a 0b 01 01 03 04 01 01",
	},
	{"weak dictionary", amf.Dictionary{Weak: true, Entries: []amf.Entry{}}, "11 01 01"},
	{
		"strings again",
		amf.StrictArray{"a", "", "b", "a", amf.ECMAArray{{Key: "b", Value: "c"}}, "c"},
		"09 0d 01 06 03 61 06 01 06 03 62 06 00 09 01 02 06 03 63 01 06 04",
	},
	{
		"traits again",
		amf.StrictArray{
			amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: true}}, Sealed: 1},
			amf.Object{{Key: "a", Value: true}},
			amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: false}}, Sealed: 1},
			amf.Object{},
			amf.TypedObject{Class: "C", Object: amf.Object{{Key: "C", Value: false}}, Sealed: 1},
		},
		"09 0b 01  0a 13 03 43 03 61 03  0a 0b 01 02 03 01  0a 01 02  0a 05 01  0a 13 00 00 02",
	},
	{
		"traits of externalizable objects again",
		amf.StrictArray{
			amf.Externalizable{Class: "flex.messaging.io.ArrayList", Value: nil},
			amf.Externalizable{Class: "flex.messaging.io.ArrayList", Value: true},
		},
		"09 05 01 0a 07 37 666c65782e6d6573736167696e672e696f2e41727261794c697374 01 0a 01 03",
	},
}

func TestAppend3(t *testing.T) {
	t.Parallel()

	for _, tt := range values3 {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := amf.Append3([]byte("x"), tt.value)
			if err != nil {
				t.Fatal(err)
			}

			if want := append([]byte("x"), unhex(t, tt.wire)...); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}

			// Inside AMF0 it is the same behind the marker.
			got, err = amf.Append(nil, amf.AMF3{Value: tt.value})
			if want := append([]byte{0x11}, unhex(t, tt.wire)...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("switched: got %x, %v, want %x", got, err, want)
			}
		})
	}
}

func TestDecode3(t *testing.T) {
	t.Parallel()

	for _, tt := range values3 {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			wire := append(unhex(t, tt.wire), "rest"...)

			got, rest, err := amf.Decode3(wire, amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			switched, _, err := amf.Decode(append([]byte{0x11}, wire...), amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			clear(wire) // what was decoded does not refer to it

			if !reflect.DeepEqual(got, tt.value) || len(rest) != len("rest") {
				t.Errorf("got %#v with %q, want %#v", got, rest, tt.value)
			}

			if want := (amf.AMF3{Value: tt.value}); !reflect.DeepEqual(switched, want) {
				t.Errorf("switched: got %#v, want %#v", switched, want)
			}
		})
	}
}

// TestTruncated3 cuts every value at every byte. Nothing in AMF3 may be missing.
func TestTruncated3(t *testing.T) {
	t.Parallel()

	for _, tt := range values3 {
		wire := unhex(t, tt.wire)

		for i := range wire {
			v, _, err := amf.Decode3(wire[:i], amf.Limits{})
			if i == 0 {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: empty: %v", tt.name, err)
				}

				continue
			}

			var se *amf.SyntaxError
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &se) || se.Offset != i || v != nil {
				t.Errorf("%s cut at %d: %#v, %v", tt.name, i, v, err)
			}
		}
	}
}

// TestDecode3Only holds inputs that peers send and our encoder does not.
func TestDecode3Only(t *testing.T) {
	t.Parallel()

	object := amf.Object{{Key: "a", Value: true}}

	for _, tt := range []struct {
		name string
		wire string
		want any
	}{
		{"integer as double", "05 3ff0000000000000", 1.0},
		{"integer with leading zeros", "04 80 80 01", 1.0},
		{"length with leading zeros", "06 80 80 80 03 61", "a"},
		{"flag that is neither", "0f 01 02", amf.Vector[float64]{Fixed: true, Items: []float64{}}},
		{"strings that were not referred to", "09 07 01 06 03 61 06 03 61 06 02", amf.StrictArray{"a", "a", "a"}},
		{"externalizable with other bits", "0a 7f 37 666c65782e6d6573736167696e672e696f2e41727261794c697374 01", amf.Externalizable{
			Class: "flex.messaging.io.ArrayList",
		}},
		{
			"class name from the table of strings",
			"09 05 01 06 03 43 0a 03 00",
			amf.StrictArray{"C", amf.TypedObject{Class: "C", Object: amf.Object{}}},
		},
		{
			"reference to an object",
			"09 05 01 0a 0b 01 03 61 03 01 0a 02",
			amf.StrictArray{object, object},
		},
		{
			"reference from inside the next value",
			"09 05 01 0a 0b 01 03 61 03 01 09 03 01 0a 02",
			amf.StrictArray{object, amf.StrictArray{object}},
		},
		{
			"references to all that can be referred to",
			"09 2d 01" + // 22 elements; the array is number 0
				"07 03 61  08 01 3ff0000000000000  09 01 01  0a 0b 01 01  0b 03 61  0c 03 61" +
				"0d 01 00  0e 01 00  0f 01 00  10 01 00 01  11 01 00" +
				"07 02  08 04  09 06  0a 08  0b 0a  0c 0c  0d 0e  0e 10  0f 12  10 14  11 16",
			func() amf.StrictArray {
				all := amf.StrictArray{
					amf.XML("a"),
					amf.Date{Milliseconds: 1},
					amf.StrictArray{},
					amf.Object{},
					amf.E4X("a"),
					amf.ByteArray("a"),
					amf.Vector[int32]{Items: []int32{}},
					amf.Vector[uint32]{Items: []uint32{}},
					amf.Vector[float64]{Items: []float64{}},
					amf.ObjectVector{Items: []any{}},
					amf.Dictionary{Entries: []amf.Entry{}},
				}

				return append(all, all...)
			}(),
		},
		{
			"ObjectProxy and its object take a number each",
			"09 07 01 0a 07 3b 666c65782e6d6573736167696e672e696f2e4f626a65637450726f7879 0a 0b 01 01 0a 02 0a 04",
			amf.StrictArray{
				amf.Externalizable{Class: "flex.messaging.io.ObjectProxy", Value: amf.Object{}},
				amf.Externalizable{Class: "flex.messaging.io.ObjectProxy", Value: amf.Object{}},
				amf.Object{},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, rest, err := amf.Decode3(unhex(t, tt.wire), amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			if !reflect.DeepEqual(got, tt.want) || len(rest) != 0 {
				t.Errorf("got %#v with %x, want %#v", got, rest, tt.want)
			}
		})
	}
}

func TestRefused3(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name   string
		wire   string
		cause  error
		offset int
	}{
		{"marker beyond the table", "09 03 01 12", amf.ErrMarker, 3},
		{"string that was never sent", "06 00", amf.ErrReference, 1},
		{"the empty string is not in the table", "09 05 01 06 01 06 00", amf.ErrReference, 6},
		{"XML is not in the table of strings", "09 05 01 0b 03 61 06 00", amf.ErrReference, 7},
		{"object that was never sent", "09 03 01 0a 02", amf.ErrReference, 3},
		{"traits that were never sent", "0a 01", amf.ErrReference, 2},
		{"array that contains itself", "09 03 01 09 00", amf.ErrReference, 3},
		{"object that contains itself", "0a 0b 01 03 61 0a 00 01", amf.ErrReference, 5},
		{"dictionary that is its own key", "11 03 00 11 00 01", amf.ErrReference, 3},
		{"vector that contains itself", "10 03 00 01 10 00", amf.ErrReference, 4},
		{"unknown externalizable class", "0a 07 03 44 01", amf.ErrExternalizable, 2},
		{"integer longer than its input", "04 ff ff ff", io.ErrUnexpectedEOF, 4},
		{"array longer than its input", "09 83 7f 12", io.ErrUnexpectedEOF, 4},
		{"sealed names longer than their input", "0a 83 73 01 00", io.ErrUnexpectedEOF, 5},
		{"dictionary longer than its input", "11 05 00 01 01", io.ErrUnexpectedEOF, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			_, _, err := amf.Decode3(unhex(t, tt.wire), amf.Limits{})

			var se *amf.SyntaxError
			if !errors.Is(err, tt.cause) || !errors.As(err, &se) || se.Offset != tt.offset {
				t.Errorf("got %v, want %v at offset %d", err, tt.cause, tt.offset)
			}
		})
	}

	_, _, err := amf.Decode3(unhex(t, "0a 07 81 49"+strings.Repeat("44", 100)), amf.Limits{})
	if err == nil || !strings.Contains(err.Error(), `"DDDD`) {
		t.Errorf("%v does not name the class", err)
	}
}

func TestAppend3Conveniences(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name  string
		value any
		want  string
	}{
		{"int", 7, "04 07"},
		{"uint8", uint8(7), "04 07"},
		{"float32", float32(1.5), "05 3ff8000000000000"},
		{"int64 beyond the integers", int64(1) << 28, "05 41b0000000000000"},
		{"slice", []any{7}, "09 03 01 04 07"},
		{"bytes", []byte{7}, "0c 03 07"},
		{"wrapped", amf.AMF3{Value: amf.AMF3{Value: true}}, "03"},
		{"empty ECMA array", amf.ECMAArray{}, "09 01 01"},
		{"date with a zone", amf.Date{Milliseconds: 1, Zone: -60}, "08 01 3ff0000000000000"},
		{
			"typed object of AMF0",
			amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: true}}},
			"0a 0b 03 43 03 61 03 01",
		},
		{
			"more sealed than there are",
			amf.TypedObject{Class: "C", Object: amf.Object{{Key: "a", Value: true}}, Sealed: 2},
			"0a 13 03 43 03 61 03",
		},
	} {
		got, err := amf.Append3(nil, tt.value)
		if want := unhex(t, tt.want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", tt.name, got, err, want)
		}
	}
}

func TestAppend3Refused(t *testing.T) {
	t.Parallel()

	cycle := amf.StrictArray{nil}
	cycle[0] = cycle
	empty := amf.Object{{Key: ""}}

	for _, tt := range []struct {
		name  string
		value any
		cause error
	}{
		{"struct", struct{}{}, amf.ErrType},
		{"unsupported", amf.Unsupported{}, amf.ErrType},
		{"type in every container", amf.StrictArray{amf.ObjectVector{Items: []any{amf.Dictionary{
			Entries: []amf.Entry{{Value: amf.MixedArray{Elements: []any{amf.Externalizable{
				Class: "flex.messaging.io.ObjectProxy",
				Value: amf.TypedObject{Object: amf.Object{{Key: "a", Value: struct{}{}}}, Sealed: 1},
			}}}}},
		}}}}, amf.ErrType},
		{"type as a key", amf.Dictionary{Entries: []amf.Entry{{Key: struct{}{}}}}, amf.ErrType},
		{"empty key of an object", empty, amf.ErrEmptyKey},
		{"empty key of an array", amf.ECMAArray(empty), amf.ErrEmptyKey},
		{"empty key behind the sealed ones", amf.TypedObject{Object: append(empty, empty...), Sealed: 1}, amf.ErrEmptyKey},
		{"externalizable", amf.Externalizable{Class: "D"}, amf.ErrExternalizable},
		{"cycle", cycle, amf.ErrTooDeep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := amf.Append3([]byte("x"), tt.value)
			if !errors.Is(err, tt.cause) || string(got) != "x" {
				t.Errorf("got %q, %v, want %v", got, err, tt.cause)
			}
		})
	}
}

// TestLongTables: references beyond one byte.
func TestLongTables(t *testing.T) {
	t.Parallel()

	var want amf.StrictArray

	for range 2 {
		for i := range 1000 {
			name := strings.Repeat("x", i+1)
			want = append(want, amf.TypedObject{Class: name, Object: amf.Object{{Key: name, Value: name}}, Sealed: 1})
		}
	}

	b, err := amf.Append3(nil, want)
	if err != nil {
		t.Fatal(err)
	}

	got, rest, err := amf.Decode3(b, amf.Limits{Bytes: 4 << 20})
	if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, any(want)) {
		t.Errorf("%d bytes, %d left: %v", len(b), len(rest), err)
	}
}
