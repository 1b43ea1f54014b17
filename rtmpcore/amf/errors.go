package amf

import (
	"errors"
	"fmt"
)

// Reasons a SyntaxError wraps, besides io.ErrUnexpectedEOF for input that ends
// inside a value.
var (
	// ErrMarker: a type marker that is reserved or unknown (AMF0 §2.1, AMF3 §3.1).
	ErrMarker = errors.New("invalid type marker")
	// ErrReference: a reference to a value, string or traits that do not exist, or
	// to a value that is still open, which would make it contain itself (AMF0 §2.9,
	// AMF3 §2.2).
	ErrReference = errors.New("invalid reference")
	// ErrExternalizable: an object whose class writes itself in a form of its own
	// that is not known here, so that its end is not known either (AMF3 §3.12).
	// What Externalizable lists is known.
	ErrExternalizable = errors.New("unknown externalizable class")
)

// Reasons an encoder refuses a value.
var (
	// ErrType: a Go type that has no form in the family asked for.
	ErrType = errors.New("type has no form here")
	// ErrTooLong: in AMF0 a key or class name above 65,535 bytes, or a string or
	// array above 2^32-1 bytes or elements; in AMF3 anything above 2^28-1.
	ErrTooLong = errors.New("too long")
	// ErrEmptyKey: an empty key, which AMF3 has for sealed properties only.
	ErrEmptyKey = errors.New("empty key has no AMF3 form")
	// ErrTooDeep: containers nested deeper than 1024, most likely in a cycle.
	ErrTooDeep = errors.New("nested too deep")
)

// SyntaxError reports input that is not AMF. Test for its cause with errors.Is.
type SyntaxError struct {
	Offset int // of the first byte that could not be used, from the start of the input
	Err    error
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("amf: offset %d: %v", e.Offset, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// LimitError reports input that is larger than the reader allows.
type LimitError struct {
	Offset int // from the start of the input
	What   Limit
	Max    int // the limit in force
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("amf: offset %d: more than %d %s", e.Offset, e.Max, e.What)
}

// Limit names one of the fields of Limits.
type Limit string

// The limits a LimitError may name.
const (
	LimitDepth      Limit = "levels"
	LimitProperties Limit = "properties"
	LimitBytes      Limit = "bytes"
)
