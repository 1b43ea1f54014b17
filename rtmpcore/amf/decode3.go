package amf

import (
	"encoding/binary"
	"io"
	"math"
)

// Decode3 reads the first AMF3 value of b and returns it with the bytes that
// follow it. The errors are those of Decode; nothing may be missing at the end.
//
// The reference tables begin empty. A reference yields the value it refers to,
// whatever its marker, and shares its memory. Values that contain themselves are
// legal in AMF3 and refused here with ErrReference, so that every decoded value is
// a finite tree.
func Decode3(b []byte, limits Limits) (v any, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}

	d, err := newDecoder(b, limits)
	if err != nil {
		return nil, nil, err
	}

	if err := d.count(1); err != nil {
		return nil, nil, err
	}

	if v, err = d.value3(0); err != nil {
		return nil, nil, err
	}

	return v, b[d.pos:], nil
}

// switched reads the AMF3 value behind marker 0x11. It has tables of its own.
func (d *decoder) switched(depth int) (any, error) {
	around := d.refs
	d.refs, d.strings, d.traits = nil, nil, nil

	v, err := d.value3(depth)
	if err != nil {
		return nil, err
	}

	d.refs = around

	return AMF3{Value: v}, nil
}

// value3 reads one AMF3 value that has depth containers around it.
func (d *decoder) value3(depth int) (any, error) {
	at := d.pos

	marker, err := d.take(1)
	if err != nil {
		return nil, err
	}

	switch marker[0] {
	case marker3Undefined:
		return Undefined{}, nil
	case marker3Null:
		return nil, nil
	case marker3False:
		return false, nil
	case marker3True:
		return true, nil
	case marker3Integer:
		n, err := d.u29()
		if err != nil {
			return nil, err
		}

		return float64(int32(n<<3) >> 3), nil
	case marker3Double:
		return asAny(d.number())
	case marker3String:
		return asAny(d.string3())
	}

	if marker[0] > marker3Dictionary {
		return nil, &SyntaxError{Offset: at, Err: ErrMarker}
	}

	n, err := d.u29()
	if err != nil {
		return nil, err
	}

	if n&1 == 0 {
		return d.repeat(int(n>>1), at, depth)
	}

	switch marker[0] {
	case marker3Array, marker3Object, marker3ObjectVector, marker3Dictionary:
		return d.container3(marker[0], n>>1, at, depth+1)
	default:
		return d.leaf3(marker[0], n>>1, at)
	}
}

// leaf3 reads a value without values in it that can be referred to. n is the
// number behind its marker: a count or a length.
func (d *decoder) leaf3(marker byte, n uint32, at int) (any, error) {
	var v any

	switch marker {
	case marker3Date:
		ms, err := d.number()
		if err != nil {
			return nil, err
		}

		v = Date{Milliseconds: ms}
	case marker3IntVector:
		vector, err := numbers(d, n, 4, func(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) })
		if err != nil {
			return nil, err
		}

		v = vector
	case marker3UintVector:
		vector, err := numbers(d, n, 4, binary.BigEndian.Uint32)
		if err != nil {
			return nil, err
		}

		v = vector
	case marker3DoubleVector:
		vector, err := numbers(d, n, 8, func(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) })
		if err != nil {
			return nil, err
		}

		v = vector
	default:
		b, err := d.take(int64(n))
		if err != nil {
			return nil, err
		}

		switch marker {
		case marker3XMLDocument:
			v = XML(b)
		case marker3XML:
			v = E4X(b)
		default:
			v = append(ByteArray{}, b...)
		}
	}

	return d.leaf(at, v), nil
}

// numbers reads a Vector of count numbers that have size bytes each.
func numbers[T int32 | uint32 | float64](d *decoder, count uint32, size int, number func([]byte) T) (Vector[T], error) {
	fixed, err := d.take(1)
	if err != nil {
		return Vector[T]{}, err
	}

	b, err := d.take(int64(count) * int64(size))
	if err != nil {
		return Vector[T]{}, err
	}

	v := Vector[T]{Fixed: fixed[0] != 0, Items: make([]T, count)}
	for i := range v.Items {
		v.Items[i] = number(b[i*size:])
	}

	return v, nil
}

// container3 reads the value whose marker was read at offset at and whose number
// behind it is n. level counts it and the containers around it.
func (d *decoder) container3(marker byte, n uint32, at, level int) (any, error) {
	o, err := d.open(at, level)
	if err != nil {
		return nil, err
	}

	var v any

	switch marker {
	case marker3Array:
		v, err = d.array3(n, level)
	case marker3Object:
		v, err = d.object3(n, level)
	case marker3ObjectVector:
		v, err = d.objectVector(n, level)
	default:
		v, err = d.dictionary(n, level)
	}

	if err != nil {
		return nil, err
	}

	d.close(o, v)

	return v, nil
}

func (d *decoder) array3(count uint32, level int) (any, error) {
	if err := d.promise(count, 1); err != nil {
		return nil, err
	}

	pairs, err := d.dynamic(Object{}, level)
	if err != nil {
		return nil, err
	}

	elements, err := d.elements3(count, level)

	switch {
	case err != nil:
		return nil, err
	case len(pairs) == 0:
		return StrictArray(elements), nil
	case len(elements) == 0:
		return ECMAArray(pairs), nil
	default:
		return MixedArray{Object: pairs, Elements: elements}, nil
	}
}

func (d *decoder) objectVector(count uint32, level int) (any, error) {
	if err := d.promise(count, 1); err != nil {
		return nil, err
	}

	fixed, err := d.take(1)
	if err != nil {
		return nil, err
	}

	class, err := d.string3()
	if err != nil {
		return nil, err
	}

	items, err := d.elements3(count, level)

	return asAny(ObjectVector{Fixed: fixed[0] != 0, Class: class, Items: items}, err)
}

func (d *decoder) dictionary(count uint32, level int) (any, error) {
	if err := d.promise(count, 2); err != nil {
		return nil, err
	}

	weak, err := d.take(1)
	if err != nil {
		return nil, err
	}

	entries := []Entry{}

	for range count {
		if err := d.count(1); err != nil {
			return nil, err
		}

		var e Entry

		if e.Key, err = d.value3(level); err != nil {
			return nil, err
		}

		if e.Value, err = d.value3(level); err != nil {
			return nil, err
		}

		entries = append(entries, e)
	}

	return Dictionary{Weak: weak[0] != 0, Entries: entries}, nil
}

// promise checks a count of things that have at least size bytes each against the
// limits and against what is left of the input.
func (d *decoder) promise(count uint32, size int) error {
	if int64(count) > int64(d.limits.Properties-d.props) {
		return &LimitError{Offset: d.pos, What: LimitProperties, Max: d.limits.Properties}
	}

	if int64(count)*int64(size) > int64(len(d.b)-d.pos) {
		return &SyntaxError{Offset: len(d.b), Err: io.ErrUnexpectedEOF}
	}

	return nil
}

func (d *decoder) elements3(count uint32, level int) ([]any, error) {
	elements := []any{}

	for range count {
		if err := d.count(1); err != nil {
			return nil, err
		}

		v, err := d.value3(level)
		if err != nil {
			return nil, err
		}

		elements = append(elements, v)
	}

	return elements, nil
}

// string3 reads a string or a reference to one. The empty string is never referred
// to (AMF3 §1.3.2).
func (d *decoder) string3() (string, error) {
	at := d.pos

	n, err := d.u29()
	if err != nil {
		return "", err
	}

	if n&1 == 0 {
		index := int(n >> 1)
		if index >= len(d.strings) {
			return "", &SyntaxError{Offset: at, Err: ErrReference}
		}

		s := d.strings[index]

		return s, d.charge(len(s), at)
	}

	b, err := d.take(int64(n >> 1))
	if err != nil {
		return "", err
	}

	s := string(b)
	if s != "" {
		d.strings = append(d.strings, s)
	}

	return s, nil
}

// u29 reads a number of 29 bits in one to four bytes (AMF3 §1.3.1): seven bits in
// each of the first three, whose highest bit says that one more follows, and eight
// in the fourth.
func (d *decoder) u29() (uint32, error) {
	var n uint32

	for range 3 {
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}

		n = n<<7 | uint32(b[0]&0x7F)

		if b[0] < 0x80 {
			return n, nil
		}
	}

	b, err := d.take(1)
	if err != nil {
		return 0, err
	}

	return n<<8 | uint32(b[0]), nil
}
