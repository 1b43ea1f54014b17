// Package amf encodes and decodes AMF0, the value format inside RTMP commands,
// data messages, shared objects and FLV script tags.
//
// It knows values and bytes only. Which values make up a command is package
// message's business; who may send one is rtmpcore's.
//
// The specification is "Action Message Format -- AMF 0" (2007), named AMF0 §n
// here. Each marker has one Go form:
//
//	marker | AMF0       | Go
//	-------+------------+-----------------------------------------------
//	0x00   | number     | float64
//	0x01   | boolean    | bool
//	0x02   | string     | string
//	0x03   | object     | Object
//	0x05   | null       | nil
//	0x06   | undefined  | Undefined
//	0x07   | reference  | the value referred to (decoding only)
//	0x08   | ECMA array | ECMAArray
//	0x0A   | array      | StrictArray
//	0x0B   | date       | Date
//	0x0C   | string     | string (chosen above 65,535 bytes)
//	0x0D   | unsupported| Unsupported
//	0x0F   | XML        | XML
//	0x10   | object     | TypedObject
//	0x11   | AMF3       | refused with ErrAMF3
//
// The markers 0x04 (movie clip) and 0x0E (record set) are reserved by the
// specification and refused with ErrMarker.
//
// Nothing in the input sizes an allocation: counts are hints or are checked
// against the bytes that are there, strings are copied after their bytes have
// been seen, and Limits caps nesting, properties and bytes.
//
//	b, err := amf.Append(nil, amf.Object{{Key: "app", Value: "live"}})
//	v, rest, err := amf.Decode(b, amf.Limits{})
//	app, ok := v.(amf.Object).String("app")
package amf
