package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Type markers, AMF3 §3.1.
const (
	marker3Undefined    = 0x00
	marker3Null         = 0x01
	marker3False        = 0x02
	marker3True         = 0x03
	marker3Integer      = 0x04
	marker3Double       = 0x05
	marker3String       = 0x06
	marker3XMLDocument  = 0x07
	marker3Date         = 0x08
	marker3Array        = 0x09
	marker3Object       = 0x0A
	marker3XML          = 0x0B
	marker3ByteArray    = 0x0C
	marker3IntVector    = 0x0D
	marker3UintVector   = 0x0E
	marker3DoubleVector = 0x0F
	marker3ObjectVector = 0x10
	marker3Dictionary   = 0x11
)

// maxU29 is the highest number beside the bit that tells values from references.
const maxU29 = 1<<28 - 1

// Append3 appends the AMF3 form of v to dst and returns the longer slice. v is one
// of the types in the package documentation, or []any (an array), []byte (a
// ByteArray), or any Go integer or float32 (a number, exact up to 2^53).
//
// A number is written as an integer when it is one of 29 bits with sign, and as a
// double otherwise. Strings and traits that occur again are written as references;
// other values that occur several times are written several times.
//
// The error wraps ErrType, ErrTooLong, ErrTooDeep, ErrEmptyKey or
// ErrExternalizable; dst is then returned at its old length.
func Append3(dst []byte, v any) ([]byte, error) {
	var e encoder3

	out, err := e.value(dst, v, 0)
	if err != nil {
		return dst, fmt.Errorf("amf: encode: %w", err)
	}

	return out, nil
}

// encoder3 holds the tables of one AMF3 value.
type encoder3 struct {
	strings map[string]int
	traits  map[string]int // by the inline form of traits, with whole strings
	key     []byte         // scratch
}

func (e *encoder3) value(dst []byte, v any, depth int) ([]byte, error) {
	if depth > maxEncodeDepth {
		return nil, ErrTooDeep
	}

	switch v := v.(type) {
	case nil:
		return append(dst, marker3Null), nil
	case bool:
		if v {
			return append(dst, marker3True), nil
		}

		return append(dst, marker3False), nil
	case string:
		return e.string(append(dst, marker3String), v)
	case Undefined:
		return append(dst, marker3Undefined), nil
	case Date:
		return appendDouble(append(dst, marker3Date, 1), v.Milliseconds), nil
	case XML:
		return appendBlock(append(dst, marker3XMLDocument), string(v))
	case E4X:
		return appendBlock(append(dst, marker3XML), string(v))
	case ByteArray:
		return appendBlock(append(dst, marker3ByteArray), v)
	case []byte:
		return appendBlock(append(dst, marker3ByteArray), v)
	case Vector[int32]:
		return appendVector(append(dst, marker3IntVector), v, func(dst []byte, n int32) []byte {
			return binary.BigEndian.AppendUint32(dst, uint32(n))
		})
	case Vector[uint32]:
		return appendVector(append(dst, marker3UintVector), v, binary.BigEndian.AppendUint32)
	case Vector[float64]:
		return appendVector(append(dst, marker3DoubleVector), v, appendDouble)
	case AMF3:
		return e.value(dst, v.Value, depth+1)
	}

	if n, ok := asNumber(v); ok {
		return appendNumber3(dst, n), nil
	}

	return e.container(dst, v, depth)
}

func (e *encoder3) container(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case Object:
		return e.object(dst, TypedObject{Object: v, Dynamic: true}, depth)
	case TypedObject:
		return e.object(dst, v, depth)
	case ECMAArray:
		return e.array(dst, Object(v), nil, depth)
	case StrictArray:
		return e.array(dst, nil, v, depth)
	case []any:
		return e.array(dst, nil, v, depth)
	case MixedArray:
		return e.array(dst, v.Object, v.Elements, depth)
	case ObjectVector:
		dst, err := appendLength3(append(dst, marker3ObjectVector), len(v.Items))
		if err != nil {
			return nil, err
		}

		if dst, err = e.string(appendFlag(dst, v.Fixed), v.Class); err != nil {
			return nil, err
		}

		return e.elements(dst, v.Items, depth)
	case Dictionary:
		return e.dictionary(dst, v, depth)
	case Externalizable:
		if !externalizable(v.Class) {
			return nil, fmt.Errorf("%w %.100q", ErrExternalizable, v.Class)
		}

		dst, err := e.appendTraits(append(dst, marker3Object), 7, v.Class, nil)
		if err != nil {
			return nil, err
		}

		return e.value(dst, v.Value, depth+1)
	default:
		return nil, fmt.Errorf("%w: %T in AMF3", ErrType, v)
	}
}

func (e *encoder3) array(dst []byte, pairs Object, elements []any, depth int) ([]byte, error) {
	dst, err := appendLength3(append(dst, marker3Array), len(elements))
	if err != nil {
		return nil, err
	}

	if dst, err = e.dynamic(dst, pairs, depth); err != nil {
		return nil, err
	}

	return e.elements(dst, elements, depth)
}

func (e *encoder3) elements(dst []byte, elements []any, depth int) ([]byte, error) {
	var err error

	for i, v := range elements {
		if dst, err = e.value(dst, v, depth+1); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}

	return dst, nil
}

func (e *encoder3) dictionary(dst []byte, v Dictionary, depth int) ([]byte, error) {
	dst, err := appendLength3(append(dst, marker3Dictionary), len(v.Entries))
	if err != nil {
		return nil, err
	}

	dst = appendFlag(dst, v.Weak)

	for i, entry := range v.Entries {
		if dst, err = e.value(dst, entry.Key, depth+1); err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}

		if dst, err = e.value(dst, entry.Value, depth+1); err != nil {
			return nil, fmt.Errorf("value %d: %w", i, err)
		}
	}

	return dst, nil
}

func (e *encoder3) object(dst []byte, v TypedObject, depth int) ([]byte, error) {
	sealed := v.Object[:max(0, min(v.Sealed, len(v.Object)))]
	rest := v.Object[len(sealed):]

	if len(sealed) > maxU29>>3 {
		return nil, fmt.Errorf("%w: %d properties", ErrTooLong, len(sealed))
	}

	kind := uint32(len(sealed))<<4 | 3

	dynamic := v.Dynamic || len(rest) > 0
	if dynamic {
		kind |= 8
	}

	dst, err := e.appendTraits(append(dst, marker3Object), kind, v.Class, sealed)
	if err != nil {
		return nil, err
	}

	for _, p := range sealed {
		if dst, err = e.value(dst, p.Value, depth+1); err != nil {
			return nil, fmt.Errorf("%q: %w", p.Key, err)
		}
	}

	if !dynamic {
		return dst, nil
	}

	return e.dynamic(dst, rest, depth)
}

// appendTraits writes traits, or a reference to the same ones. kind is the number
// that begins them.
func (e *encoder3) appendTraits(dst []byte, kind uint32, class string, sealed Object) ([]byte, error) {
	e.key = append(binary.AppendUvarint(appendU29(e.key[:0], kind), uint64(len(class))), class...)
	for _, p := range sealed {
		e.key = append(binary.AppendUvarint(e.key, uint64(len(p.Key))), p.Key...)
	}

	if index, ok := e.traits[string(e.key)]; ok {
		return appendU29(dst, uint32(index)<<2|1), nil
	}

	if e.traits == nil {
		e.traits = make(map[string]int)
	}

	// Beyond 2^27 there is no way to refer to one.
	if len(e.traits) <= maxU29>>1 {
		e.traits[string(e.key)] = len(e.traits)
	}

	dst, err := e.string(appendU29(dst, kind), class)
	if err != nil {
		return nil, err
	}

	for _, p := range sealed {
		if dst, err = e.string(dst, p.Key); err != nil {
			return nil, err
		}
	}

	return dst, nil
}

func (e *encoder3) dynamic(dst []byte, pairs Object, depth int) ([]byte, error) {
	var err error

	for _, p := range pairs {
		if p.Key == "" {
			return nil, ErrEmptyKey
		}

		if dst, err = e.string(dst, p.Key); err != nil {
			return nil, err
		}

		if dst, err = e.value(dst, p.Value, depth+1); err != nil {
			return nil, fmt.Errorf("%q: %w", p.Key, err)
		}
	}

	return append(dst, 1), nil // the empty key
}

func (e *encoder3) string(dst []byte, s string) ([]byte, error) {
	if s == "" {
		return append(dst, 1), nil
	}

	if index, ok := e.strings[s]; ok {
		return appendU29(dst, uint32(index)<<1), nil
	}

	if e.strings == nil {
		e.strings = make(map[string]int)
	}

	// Beyond 2^28 there is no way to refer to one.
	if len(e.strings) <= maxU29 {
		e.strings[s] = len(e.strings)
	}

	return appendBlock(dst, s)
}

// appendBlock appends the length of b, with the bit of a value, and b.
func appendBlock[T string | []byte | ByteArray](dst []byte, b T) ([]byte, error) {
	dst, err := appendLength3(dst, len(b))
	if err != nil {
		return nil, err
	}

	return append(dst, b...), nil
}

func appendVector[T int32 | uint32 | float64](dst []byte, v Vector[T], number func([]byte, T) []byte) ([]byte, error) {
	dst, err := appendLength3(dst, len(v.Items))
	if err != nil {
		return nil, err
	}

	dst = appendFlag(dst, v.Fixed)
	for _, n := range v.Items {
		dst = number(dst, n)
	}

	return dst, nil
}

// appendNumber3 appends n as an integer where that is exact. Negative zero has no
// integer.
func appendNumber3(dst []byte, n float64) []byte {
	if n >= -1<<28 && n < 1<<28 && n == math.Trunc(n) && (n != 0 || !math.Signbit(n)) {
		return appendU29(append(dst, marker3Integer), uint32(int32(n))&(1<<29-1))
	}

	return appendDouble(append(dst, marker3Double), n)
}

func appendDouble(dst []byte, n float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(n))
}

func appendFlag(dst []byte, on bool) []byte {
	if on {
		return append(dst, 1)
	}

	return append(dst, 0)
}

func appendLength3(dst []byte, n int) ([]byte, error) {
	if n > maxU29 {
		return nil, fmt.Errorf("%w: %d bytes or elements", ErrTooLong, n)
	}

	return appendU29(dst, uint32(n)<<1|1), nil
}

// appendU29 appends a number below 2^29 in the fewest bytes.
func appendU29(dst []byte, n uint32) []byte {
	switch {
	case n < 1<<7:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, byte(n>>7|0x80), byte(n&0x7F))
	case n < 1<<21:
		return append(dst, byte(n>>14|0x80), byte(n>>7|0x80), byte(n&0x7F))
	default:
		return append(dst, byte(n>>22|0x80), byte(n>>15|0x80), byte(n>>8|0x80), byte(n))
	}
}
