package amf

// AMF3 is a value inside AMF0 that is written as AMF3 (marker 0x11, AMF0 §3.1).
// Values inside Value are AMF3 by themselves and are not wrapped. Lookup, AsObject
// and Unwrap look through it.
type AMF3 struct {
	Value any
}

// MixedArray is an array with both named and ordinal elements (AMF3 §3.11). Its
// Object holds the named ones.
type MixedArray struct {
	Object
	Elements []any
}

// E4X is the text of an XML value of ECMAScript for XML (AMF3 §3.13), which is
// another class than the older XMLDocument, here XML.
type E4X string

// ByteArray is a block of bytes (AMF3 §3.14).
type ByteArray []byte

// Vector is an array of numbers of one kind (AMF3 §3.15): Vector.<int>,
// Vector.<uint> and Vector.<Number> of ActionScript.
type Vector[T int32 | uint32 | float64] struct {
	Fixed bool // its length must not be changed
	Items []T
}

// ObjectVector is an array of values of one class (AMF3 §3.15).
type ObjectVector struct {
	Fixed bool
	Class string // of the items; empty or "*" when they may be anything
	Items []any
}

// Entry is one association in a Dictionary.
type Entry struct {
	Key   any
	Value any
}

// Dictionary maps values of any type (AMF3 §3.16). Its entries are in the order of
// the wire and keys may repeat.
type Dictionary struct {
	Weak    bool // keys are held by weak references
	Entries []Entry
}

// Externalizable is an object whose class writes itself in a form of its own (AMF3
// §3.12). Only classes whose form is exactly one AMF3 value are known:
//
//	flex.messaging.io.ArrayCollection
//	flex.messaging.io.ArrayList
//	flex.messaging.io.ObjectProxy
type Externalizable struct {
	Class string
	Value any
}

// externalizable reports whether the form of a class is one value.
func externalizable(class string) bool {
	switch class {
	case "flex.messaging.io.ArrayCollection", "flex.messaging.io.ArrayList", "flex.messaging.io.ObjectProxy":
		return true
	default:
		return false
	}
}
