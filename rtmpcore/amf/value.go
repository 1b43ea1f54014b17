package amf

import (
	"math"
	"time"
)

// Pair is one named property. Keys are UTF-8 by convention and in AMF0 at most
// 65,535 bytes long; neither is enforced on input beyond what the wire can
// express.
type Pair struct {
	Key   string
	Value any
}

// Object is an anonymous object (AMF0 §2.5; AMF3 §3.12, dynamic): its properties in the order of the
// wire. A key may occur more than once, as peers do send such objects; the
// lookup methods then return the last one. Decoded objects may share memory
// with each other (see Decode), so treat them as read-only.
type Object []Pair

// ECMAArray is an associative array (AMF0 §2.10), the form most players expect
// onMetaData in. In AMF3 it is an array without a dense part (§3.11). It behaves
// like an Object.
type ECMAArray []Pair

// TypedObject is an object with a registered class name (AMF0 §2.18), and in AMF3
// any object but the plain Object (§3.12); its class name may then be empty.
type TypedObject struct {
	Class string
	Object
	// Sealed is how many of the first properties are those that the class declares.
	// AMF3 only, as is Dynamic.
	Sealed int
	// Dynamic: objects of the class may have properties besides. Implied when there
	// are some.
	Dynamic bool
}

// StrictArray is an array with ordinal indices only (AMF0 §2.12), in AMF3 an array
// without an associative part (§3.11).
type StrictArray []any

// Undefined is the undefined value (AMF0 §2.8).
type Undefined struct{}

// Unsupported stands for a value its writer could not serialise (AMF0 §2.15).
type Unsupported struct{}

// XML is the text of an XML document (AMF0 §2.17; AMF3 §3.9, XMLDocument).
type XML string

// Date is a point in time (AMF0 §2.13, AMF3 §3.10).
type Date struct {
	// Milliseconds since 1970-01-01 00:00 UTC; may be fractional or NaN.
	Milliseconds float64
	// Zone is reserved. Writers should send 0 and readers ignore it. AMF3 has none.
	Zone int16
}

// DateOf returns t as a Date with a zone of 0, at millisecond precision.
func DateOf(t time.Time) Date {
	return Date{Milliseconds: float64(t.UnixMilli())}
}

// Time returns d in UTC, and false when it is NaN or beyond ±8.64e15
// milliseconds, the range of ECMAScript dates.
func (d Date) Time() (time.Time, bool) {
	if math.IsNaN(d.Milliseconds) || math.Abs(d.Milliseconds) > 8.64e15 {
		return time.Time{}, false
	}

	return time.UnixMilli(int64(d.Milliseconds)).UTC(), true
}

// Lookup returns the last value stored under key, without the AMF3 that may be
// around it.
func (o Object) Lookup(key string) (any, bool) {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].Key == key {
			return Unwrap(o[i].Value), true
		}
	}

	return nil, false
}

// String returns the value of key, and false when it is absent or no string.
func (o Object) String(key string) (string, bool) {
	v, _ := o.Lookup(key)
	s, ok := v.(string)

	return s, ok
}

// Number returns the value of key, and false when it is absent or no number.
func (o Object) Number(key string) (float64, bool) {
	v, _ := o.Lookup(key)
	n, ok := v.(float64)

	return n, ok
}

// Bool returns the value of key, and false when it is absent or no boolean.
func (o Object) Bool(key string) (value, ok bool) {
	v, _ := o.Lookup(key)
	value, ok = v.(bool)

	return value, ok
}

// Lookup returns the last value stored under key.
func (a ECMAArray) Lookup(key string) (any, bool) { return Object(a).Lookup(key) }

// String returns the value of key, and false when it is absent or no string.
func (a ECMAArray) String(key string) (string, bool) { return Object(a).String(key) }

// Number returns the value of key, and false when it is absent or no number.
func (a ECMAArray) Number(key string) (float64, bool) { return Object(a).Number(key) }

// Bool returns the value of key, and false when it is absent or no boolean.
func (a ECMAArray) Bool(key string) (value, ok bool) { return Object(a).Bool(key) }

// AsObject returns the properties of an Object, ECMAArray, TypedObject or
// MixedArray, of the value of an Externalizable, and of any of them in an AMF3,
// for callers to which these are one, and false for any other value. The result
// shares its memory with v.
func AsObject(v any) (Object, bool) {
	switch v := v.(type) {
	case Object:
		return v, true
	case ECMAArray:
		return Object(v), true
	case TypedObject:
		return v.Object, true
	case MixedArray:
		return v.Object, true
	case Externalizable:
		return AsObject(v.Value)
	case AMF3:
		return AsObject(v.Value)
	default:
		return nil, false
	}
}

// Unwrap returns the value of an AMF3, and any other value as it is, for callers
// to which the family does not matter.
func Unwrap(v any) any {
	if w, ok := v.(AMF3); ok {
		return Unwrap(w.Value)
	}

	return v
}
