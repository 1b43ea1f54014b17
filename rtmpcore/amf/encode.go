package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Type markers, AMF0 §2.1. 0x04 and 0x0E are reserved.
const (
	markerNumber      = 0x00
	markerBoolean     = 0x01
	markerString      = 0x02
	markerObject      = 0x03
	markerNull        = 0x05
	markerUndefined   = 0x06
	markerReference   = 0x07
	markerECMAArray   = 0x08
	markerObjectEnd   = 0x09
	markerStrictArray = 0x0A
	markerDate        = 0x0B
	markerLongString  = 0x0C
	markerUnsupported = 0x0D
	markerXML         = 0x0F
	markerTypedObject = 0x10
	markerAMF3        = 0x11
)

// maxEncodeDepth ends the encoding of a value that contains itself.
const maxEncodeDepth = 1024

// Append appends the AMF0 form of v to dst and returns the longer slice. v is
// one of the types that the package documentation lists for AMF0, or []any (a
// strict array), or any Go integer or float32 (a number, exact up to 2^53). The
// value of an AMF3 is written by Append3.
//
// The error wraps ErrType, ErrTooLong or ErrTooDeep, or within an AMF3 those of
// Append3; dst is then returned at its old length. Values that occur several times are written several times: no
// references are made.
func Append(dst []byte, v any) ([]byte, error) {
	out, err := appendValue(dst, v, 0)
	if err != nil {
		return dst, fmt.Errorf("amf: encode: %w", err)
	}

	return out, nil
}

// AppendAll appends the AMF0 forms of vs to dst, by the rules of Append.
func AppendAll(dst []byte, vs ...any) ([]byte, error) {
	out := dst

	for _, v := range vs {
		var err error
		if out, err = Append(out, v); err != nil {
			return dst, err
		}
	}

	return out, nil
}

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	if depth > maxEncodeDepth {
		return nil, ErrTooDeep
	}

	switch v := v.(type) {
	case nil:
		return append(dst, markerNull), nil
	case bool:
		if v {
			return append(dst, markerBoolean, 1), nil
		}

		return append(dst, markerBoolean, 0), nil
	case string:
		return appendString(dst, v)
	case Undefined:
		return append(dst, markerUndefined), nil
	case Unsupported:
		return append(dst, markerUnsupported), nil
	case Date:
		dst = binary.BigEndian.AppendUint64(append(dst, markerDate), math.Float64bits(v.Milliseconds))

		return binary.BigEndian.AppendUint16(dst, uint16(v.Zone)), nil
	case XML:
		return appendLong(append(dst, markerXML), string(v))
	case Object:
		return appendPairs(append(dst, markerObject), v, depth)
	case ECMAArray:
		count, err := length32(len(v))
		if err != nil {
			return nil, err
		}

		return appendPairs(binary.BigEndian.AppendUint32(append(dst, markerECMAArray), count), v, depth)
	case TypedObject:
		dst, err := appendShort(append(dst, markerTypedObject), v.Class)
		if err != nil {
			return nil, err
		}

		return appendPairs(dst, v.Object, depth)
	case StrictArray:
		return appendElements(dst, v, depth)
	case []any:
		return appendElements(dst, v, depth)
	case AMF3:
		var e encoder3

		return e.value(append(dst, markerAMF3), v.Value, depth)
	default:
		n, ok := asNumber(v)
		if !ok {
			return nil, fmt.Errorf("%w: %T in AMF0", ErrType, v)
		}

		return binary.BigEndian.AppendUint64(append(dst, markerNumber), math.Float64bits(n)), nil
	}
}

func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case int8:
		return float64(v), true
	case int16:
		return float64(v), true
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint:
		return float64(v), true
	case uint8:
		return float64(v), true
	case uint16:
		return float64(v), true
	case uint32:
		return float64(v), true
	case uint64:
		return float64(v), true
	default:
		return 0, false
	}
}

func appendElements(dst []byte, elements []any, depth int) ([]byte, error) {
	count, err := length32(len(elements))
	if err != nil {
		return nil, err
	}

	dst = binary.BigEndian.AppendUint32(append(dst, markerStrictArray), count)

	for i, v := range elements {
		if dst, err = appendValue(dst, v, depth+1); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}

	return dst, nil
}

func appendPairs(dst []byte, pairs []Pair, depth int) ([]byte, error) {
	var err error

	for _, p := range pairs {
		if dst, err = appendShort(dst, p.Key); err != nil {
			return nil, err
		}

		if dst, err = appendValue(dst, p.Value, depth+1); err != nil {
			return nil, fmt.Errorf("%q: %w", p.Key, err)
		}
	}

	return append(dst, 0, 0, markerObjectEnd), nil
}

func appendString(dst []byte, s string) ([]byte, error) {
	if len(s) > math.MaxUint16 {
		return appendLong(append(dst, markerLongString), s)
	}

	return appendShort(append(dst, markerString), s)
}

func appendShort(dst []byte, s string) ([]byte, error) {
	if len(s) > math.MaxUint16 {
		return nil, fmt.Errorf("%w: name of %d bytes", ErrTooLong, len(s))
	}

	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...), nil
}

func appendLong(dst []byte, s string) ([]byte, error) {
	n, err := length32(len(s))
	if err != nil {
		return nil, err
	}

	return append(binary.BigEndian.AppendUint32(dst, n), s...), nil
}

func length32(n int) (uint32, error) {
	if int64(n) > math.MaxUint32 {
		return 0, fmt.Errorf("%w: %d bytes or elements", ErrTooLong, n)
	}

	return uint32(n), nil
}
