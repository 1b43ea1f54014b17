package message

import (
	"fmt"
	"io"

	"culvert/rtmpcore/amf"
)

const (
	sectionCommand = "7.1.1"
	sectionData    = "7.1.2"
)

// Command is a call of the peer, or the answer to one, RTMP 1.0 §7.1.1:
//
//	name (string) | transaction ID (number) | command object or null | arguments
type Command struct {
	// AMF3 selects message type 17 instead of 20. Answers go out in the type the
	// question came in.
	AMF3 bool
	// Name of the procedure, or NameResult, NameError.
	Name string
	// TransactionID is the number to answer with; 0 wants no answer.
	TransactionID float64
	// Object is the command object, one that amf.AsObject knows for connect and nil
	// for most.
	Object any
	// Args are the values after it. Those that switched to AMF3 are an amf.AMF3, as
	// Object may be.
	Args []any
}

// Names of commands that answer or report.
const (
	NameResult   = "_result"
	NameError    = "_error"
	NameOnStatus = "onStatus"
)

// DecodeCommand decodes the payload of type 20 or 17. A missing transaction ID
// is 0, a missing object nil. Type 17 may leave out its leading 0. Any value may
// have switched to AMF3.
//
// On error, name, transaction ID and object are set as far as they could be
// read, and Name is empty if there was none.
func DecodeCommand(typeID uint8, payload []byte, limits amf.Limits) (Command, error) {
	values, err := amf.DecodeAll(withoutFormat(typeID, payload), limits)
	c := Command{AMF3: typeID == TypeCommandAMF3}

	name, ok := first(values)
	if !ok {
		return c, notNamed(typeID, sectionCommand, values, err)
	}

	c.Name = name

	if len(values) > 1 {
		if c.TransactionID, ok = amf.Unwrap(values[1]).(float64); !ok {
			return Command{AMF3: c.AMF3}, &ProtocolError{
				TypeID: typeID, Section: sectionCommand,
				Err: fmt.Errorf("%w: transaction ID is %T", ErrValue, amf.Unwrap(values[1])),
			}
		}
	}

	if len(values) > 2 {
		c.Object = values[2]
	}

	if err != nil {
		if len(values) < 2 {
			c.Name = ""
		}

		return c, &ProtocolError{TypeID: typeID, Section: sectionCommand, Err: err}
	}

	if len(values) > 3 {
		c.Args = values[3:]
	}

	return c, nil
}

// TypeID returns 20, or 17 if AMF3.
func (c Command) TypeID() uint8 {
	if c.AMF3 {
		return TypeCommandAMF3
	}

	return TypeCommandAMF0
}

// AppendPayload implements Message. Values are AMF0, behind a leading 0 when AMF3
// is set, except for those in an amf.AMF3. The error is that of package amf.
func (c Command) AppendPayload(dst []byte) ([]byte, error) {
	out := dst
	if c.AMF3 {
		out = append(out, 0)
	}

	out, err := amf.AppendAll(out, c.Name, c.TransactionID, c.Object)
	if err == nil {
		out, err = amf.AppendAll(out, c.Args...)
	}

	if err != nil {
		return dst, fmt.Errorf("command %q: %w", c.Name, err)
	}

	return out, nil
}

// Arg returns Args[i] without the amf.AMF3 that may be around it, nil where there
// are fewer.
func (c Command) Arg(i int) any {
	if i >= len(c.Args) {
		return nil
	}

	return amf.Unwrap(c.Args[i])
}

// Result returns the answer to c that says it succeeded: object in place of the
// command object, and values.
func (c Command) Result(object any, values ...any) Command {
	return Command{AMF3: c.AMF3, Name: NameResult, TransactionID: c.TransactionID, Object: object, Args: values}
}

// Fail returns the answer to c that says it failed, and why.
func (c Command) Fail(s Status) Command {
	return Command{AMF3: c.AMF3, Name: NameError, TransactionID: c.TransactionID, Args: []any{s.Object()}}
}

// Data is a message with a name and values that is passed on to the players of a
// stream, such as onMetaData, RTMP 1.0 §7.1.2.
type Data struct {
	// AMF3 selects message type 15 instead of 18.
	AMF3 bool
	// Name is the first value of the payload.
	Name string
	// Values are those after it. Those that switched to AMF3 are an amf.AMF3.
	Values []any
}

// Names of data messages, RTMP 1.0 §7.1.2 and what publishers send.
const (
	NameSetDataFrame   = "@setDataFrame"   // store and pass on what the first of Values names
	NameClearDataFrame = "@clearDataFrame" // forget what it names
	NameOnMetaData     = "onMetaData"
	NameOnPlayStatus   = "onPlayStatus"
	NameSampleAccess   = "|RtmpSampleAccess"
)

// DecodeData decodes the payload of type 18 or 15. Type 15 may leave out its
// leading 0.
func DecodeData(typeID uint8, payload []byte, limits amf.Limits) (Data, error) {
	values, err := amf.DecodeAll(withoutFormat(typeID, payload), limits)

	name, ok := first(values)
	if !ok {
		return Data{}, notNamed(typeID, sectionData, values, err)
	}

	if err != nil {
		return Data{}, &ProtocolError{TypeID: typeID, Section: sectionData, Err: err}
	}

	d := Data{AMF3: typeID == TypeDataAMF3, Name: name}
	if len(values) > 1 {
		d.Values = values[1:]
	}

	return d, nil
}

// TypeID returns 18, or 15 if AMF3.
func (d Data) TypeID() uint8 {
	if d.AMF3 {
		return TypeDataAMF3
	}

	return TypeDataAMF0
}

// AppendPayload implements Message. Values are AMF0, behind a leading 0 when AMF3
// is set, except for those in an amf.AMF3. The error is that of package amf.
func (d Data) AppendPayload(dst []byte) ([]byte, error) {
	out := dst
	if d.AMF3 {
		out = append(out, 0)
	}

	out, err := amf.AppendAll(out, d.Name)
	if err == nil {
		out, err = amf.AppendAll(out, d.Values...)
	}

	if err != nil {
		return dst, fmt.Errorf("data %q: %w", d.Name, err)
	}

	return out, nil
}

// withoutFormat returns the AMF0 values of a payload. No AMF0 value that may
// come first begins with 0, a number.
func withoutFormat(typeID uint8, payload []byte) []byte {
	if (typeID == TypeCommandAMF3 || typeID == TypeDataAMF3) && len(payload) > 0 && payload[0] == 0 {
		return payload[1:]
	}

	return payload
}

func first(values []any) (string, bool) {
	if len(values) == 0 {
		return "", false
	}

	name, ok := amf.Unwrap(values[0]).(string)

	return name, ok
}

// notNamed returns the error for a payload that does not begin with a string.
func notNamed(typeID uint8, section string, values []any, err error) error {
	switch {
	case len(values) > 0:
		err = fmt.Errorf("%w: name is %T", ErrValue, amf.Unwrap(values[0]))
	case err == nil:
		err = io.ErrUnexpectedEOF
	}

	return &ProtocolError{TypeID: typeID, Section: section, Err: err}
}
