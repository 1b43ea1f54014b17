package amf

import (
	"encoding/binary"
	"io"
	"math"
)

// Defaults for zero fields of Limits.
const (
	DefaultDepth      = 32
	DefaultProperties = 4096
	DefaultBytes      = 256 << 10
)

// Limits caps what a decoder accepts from a peer. A zero field means its
// default, a negative one allows nothing.
type Limits struct {
	// Depth is how far objects, arrays and the other containers may nest, 32 by
	// default; a value that is no container has depth 0.
	Depth int
	// Properties is the number of properties, array elements, dictionary entries
	// and top-level values in one input together, 4096 by default. The numbers in a
	// Vector and the bytes in a ByteArray do not count.
	Properties int
	// Bytes is the length of one input, 256 KiB by default. What references
	// repeat counts as often as it is repeated.
	Bytes int
}

func (l Limits) withDefaults() Limits {
	if l.Depth == 0 {
		l.Depth = DefaultDepth
	}

	if l.Properties == 0 {
		l.Properties = DefaultProperties
	}

	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}

	return l
}

// Decode reads the first AMF0 value of b and returns it with the bytes that
// follow it. A value that switches to AMF3 is returned as an AMF3. Empty input is
// io.EOF; other errors are *SyntaxError or *LimitError, and rest is then nil.
//
// An object or associative array whose end marker is missing exactly at the end
// of b is accepted, as some writers forget it. Strings are copies: b may be
// reused. References are resolved within b; a value that is referred to shares
// its memory with the references.
func Decode(b []byte, limits Limits) (v any, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}

	d, err := newDecoder(b, limits)
	if err != nil {
		return nil, nil, err
	}

	if v, err = d.topLevel(); err != nil {
		return nil, nil, err
	}

	return v, b[d.pos:], nil
}

// DecodeAll reads all AMF0 values of b, by the rules of Decode. Empty input yields
// no values and no error. On error it returns the values before the bad one as
// well, so that a command whose arguments are beyond its reader can be answered.
func DecodeAll(b []byte, limits Limits) ([]any, error) {
	d, err := newDecoder(b, limits)
	if err != nil {
		return nil, err
	}

	var vs []any

	for d.pos < len(b) {
		v, err := d.topLevel()
		if err != nil {
			return vs, err
		}

		vs = append(vs, v)
	}

	return vs, nil
}

type decoder struct {
	b       []byte
	pos     int
	limits  Limits
	props   int // counted so far
	bytes   int // length of b and of what references repeated
	deepest int // level of the deepest container since the innermost open one
	refs    []reference
	strings []string // of the AMF3 value that is being read
	traits  []traits // likewise
}

func newDecoder(b []byte, limits Limits) (decoder, error) {
	limits = limits.withDefaults()
	if len(b) > limits.Bytes {
		return decoder{}, &LimitError{Offset: max(limits.Bytes, 0), What: LimitBytes, Max: limits.Bytes}
	}

	return decoder{b: b, limits: limits, bytes: len(b)}, nil
}

func (d *decoder) topLevel() (any, error) {
	if err := d.count(1); err != nil {
		return nil, err
	}

	return d.value(0)
}

// value reads one value that has depth containers around it.
func (d *decoder) value(depth int) (any, error) {
	at := d.pos

	marker, err := d.take(1)
	if err != nil {
		return nil, err
	}

	switch marker[0] {
	case markerNumber:
		return asAny(d.number())
	case markerBoolean:
		b, err := d.take(1)
		if err != nil {
			return nil, err
		}

		return b[0] != 0, nil
	case markerString:
		return asAny(d.shortString())
	case markerLongString:
		return asAny(d.longString())
	case markerXML:
		s, err := d.longString()
		if err != nil {
			return nil, err
		}

		return XML(s), nil
	case markerNull:
		return nil, nil
	case markerUndefined:
		return Undefined{}, nil
	case markerUnsupported:
		return Unsupported{}, nil
	case markerDate:
		return asAny(d.date())
	case markerReference:
		b, err := d.take(2)
		if err != nil {
			return nil, err
		}

		return d.repeat(int(binary.BigEndian.Uint16(b)), at, depth)
	case markerObject, markerECMAArray, markerStrictArray, markerTypedObject:
		return d.container(marker[0], at, depth+1)
	case markerAMF3:
		return d.switched(depth)
	default:
		return nil, &SyntaxError{Offset: at, Err: ErrMarker}
	}
}

// asAny keeps a typed zero value from travelling next to an error.
func asAny[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}

	return v, nil
}

// container reads the value whose marker was read at offset at, and enters it
// into the reference table. level counts it and the containers around it.
func (d *decoder) container(marker byte, at, level int) (any, error) {
	o, err := d.open(at, level)
	if err != nil {
		return nil, err
	}

	v, err := d.containerBody(marker, level)
	if err != nil {
		return nil, err
	}

	d.close(o, v)

	return v, nil
}

func (d *decoder) containerBody(marker byte, level int) (any, error) {
	switch marker {
	case markerStrictArray:
		return asAny(d.elements(level))
	case markerECMAArray:
		if _, err := d.take(4); err != nil { // the count: a hint that often lies
			return nil, err
		}

		pairs, err := d.pairs(level)

		return asAny(ECMAArray(pairs), err)
	case markerTypedObject:
		class, err := d.shortString()
		if err != nil {
			return nil, err
		}

		pairs, err := d.pairs(level)

		return asAny(TypedObject{Class: class, Object: pairs}, err)
	default:
		pairs, err := d.pairs(level)

		return asAny(Object(pairs), err)
	}
}

// commandPairs is room for the properties of most command objects, which then
// grow once.
const commandPairs = 12

// pairs reads properties up to and including the end marker: an empty key and
// 0x09. The end of the input in place of a key ends them too.
func (d *decoder) pairs(level int) ([]Pair, error) {
	pairs := []Pair{}
	if level == 1 {
		pairs = make([]Pair, 0, commandPairs)
	}

	for d.pos < len(d.b) {
		key, err := d.shortString()
		if err != nil {
			return nil, err
		}

		if key == "" && d.pos < len(d.b) && d.b[d.pos] == markerObjectEnd {
			d.pos++

			break
		}

		if err := d.count(1); err != nil {
			return nil, err
		}

		v, err := d.value(level)
		if err != nil {
			return nil, err
		}

		pairs = append(pairs, Pair{Key: key, Value: v})
	}

	return pairs, nil
}

func (d *decoder) elements(level int) (StrictArray, error) {
	at := d.pos

	b, err := d.take(4)
	if err != nil {
		return nil, err
	}

	count := binary.BigEndian.Uint32(b)
	if left := d.limits.Properties - d.props; int64(count) > int64(left) {
		return nil, &LimitError{Offset: at, What: LimitProperties, Max: d.limits.Properties}
	}

	array := StrictArray{}

	for range count {
		if err := d.count(1); err != nil {
			return nil, err
		}

		v, err := d.value(level)
		if err != nil {
			return nil, err
		}

		array = append(array, v)
	}

	return array, nil
}

func (d *decoder) number() (float64, error) {
	b, err := d.take(8)
	if err != nil {
		return 0, err
	}

	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func (d *decoder) date() (Date, error) {
	b, err := d.take(10)
	if err != nil {
		return Date{}, err
	}

	return Date{
		Milliseconds: math.Float64frombits(binary.BigEndian.Uint64(b)),
		Zone:         int16(binary.BigEndian.Uint16(b[8:])),
	}, nil
}

func (d *decoder) shortString() (string, error) {
	b, err := d.take(2)
	if err != nil {
		return "", err
	}

	b, err = d.take(int64(binary.BigEndian.Uint16(b)))

	return string(b), err
}

func (d *decoder) longString() (string, error) {
	b, err := d.take(4)
	if err != nil {
		return "", err
	}

	b, err = d.take(int64(binary.BigEndian.Uint32(b)))

	return string(b), err
}

// take returns the next n bytes, which remain part of the input.
func (d *decoder) take(n int64) ([]byte, error) {
	if n > int64(len(d.b)-d.pos) {
		return nil, &SyntaxError{Offset: len(d.b), Err: io.ErrUnexpectedEOF}
	}

	b := d.b[d.pos : d.pos+int(n)]
	d.pos += int(n)

	return b, nil
}

func (d *decoder) count(n int) error {
	if n > d.limits.Properties-d.props {
		return &LimitError{Offset: d.pos, What: LimitProperties, Max: d.limits.Properties}
	}

	d.props += n

	return nil
}
