// Package amf encodes and decodes AMF0 and AMF3, the value formats inside RTMP
// commands, data messages, shared objects and FLV script tags.
//
// It knows values and bytes only. Which values make up a command is package
// message's business; who may send one is rtmpcore's.
//
// The specifications are "Action Message Format -- AMF 0" (2007), named AMF0 §n
// here, and "Action Message Format -- AMF 3" (2013), named AMF3 §n. RTMP speaks
// AMF0 throughout, in which a single value may switch to AMF3. Both have the same
// Go forms as far as they have the same values, so that a reader of properties
// need not know the family they came in:
//
//	AMF0 | AMF3   | value          | Go
//	-----+--------+----------------+-----------------------------------------
//	0x00 | 04, 05 | number         | float64
//	0x01 | 02, 03 | boolean        | bool
//	0x02 | 06     | string         | string
//	0x0C |        | long string    | string (chosen above 65,535 bytes)
//	0x05 | 01     | null           | nil
//	0x06 | 00     | undefined      | Undefined
//	0x03 | 0A     | object         | Object
//	0x10 | 0A     | typed object   | TypedObject
//	0x08 | 09     | named array    | ECMAArray
//	0x0A | 09     | ordinal array  | StrictArray
//	     | 09     | array of both  | MixedArray
//	0x0B | 08     | date           | Date
//	0x0F | 07     | XML document   | XML
//	     | 0B     | XML            | E4X
//	     | 0C     | byte array     | ByteArray
//	     | 0D-0F  | number vector  | Vector
//	     | 10     | object vector  | ObjectVector
//	     | 11     | dictionary     | Dictionary
//	     | 0A     | externalizable | Externalizable
//	0x07 |        | reference      | the value referred to (decoding only)
//	0x0D |        | unsupported    | Unsupported
//	0x11 |        | switch to AMF3 | AMF3
//
// An AMF3 array without elements is a StrictArray. The AMF0 markers 0x04 (movie
// clip) and 0x0E (record set) are reserved by the specification and refused with
// ErrMarker.
//
// Nothing in the input sizes an allocation: counts are hints or are checked
// against the bytes that are there, strings are copied after their bytes have
// been seen, and Limits caps nesting, properties and bytes. References are charged
// as if they were copies, and none may make a value contain itself: decoded values
// are finite trees, no larger than the limits when they are written in full.
//
//	b, err := amf.Append(nil, amf.Object{{Key: "app", Value: "live"}})
//	v, rest, err := amf.Decode(b, amf.Limits{})
//	object, ok := amf.AsObject(v) // an amf.AMF3 as well
//	app, ok := object.String("app")
package amf
