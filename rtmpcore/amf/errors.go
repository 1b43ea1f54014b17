package amf

import (
	"errors"
	"fmt"
)

// Reasons a SyntaxError wraps, besides io.ErrUnexpectedEOF for input that ends
// inside a value.
var (
	// ErrMarker: a type marker that is reserved or unknown (AMF0 §2.1).
	ErrMarker = errors.New("invalid type marker")
	// ErrReference: a reference to a complex value that does not exist, or to one
	// that is still open, which would make the value contain itself (AMF0 §2.9).
	ErrReference = errors.New("invalid reference")
	// ErrAMF3: a switch to AMF3 (marker 0x11, AMF0 §3.1).
	ErrAMF3 = errors.New("AMF3 value")
)

// Reasons an encoder refuses a value.
var (
	// ErrType: a Go type that has no AMF0 form.
	ErrType = errors.New("type has no AMF0 form")
	// ErrTooLong: a key or class name above 65,535 bytes, or a string or array
	// above 2^32-1 bytes or elements.
	ErrTooLong = errors.New("too long for AMF0")
	// ErrTooDeep: containers nested deeper than 1024, most likely in a cycle.
	ErrTooDeep = errors.New("nested too deep")
)

// SyntaxError reports input that is not AMF0. Test for its cause with errors.Is.
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
