package live

import (
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// data is what a publisher's data message means for players.
type data struct {
	msg      *chunk.Message // what they get, with one reference; nil: nothing
	metadata bool           // it replaces the stream's metadata

	width, height int // that the metadata gives, in pixels
}

// readData reads a data message. "@setDataFrame" wraps one that is to be kept
// for later players, "@clearDataFrame" ends that (FMLE's convention, which all
// encoders follow). Players of old understand metadata as AMF0 ECMA array only.
func readData(m *chunk.Message) data {
	payload := m.Bytes()
	typeID := uint8(message.TypeDataAMF0)
	if m.TypeID == message.TypeDataAMF3 {
		if len(payload) == 0 || payload[0] != 0 {
			typeID = message.TypeDataAMF3
		} else {
			payload = payload[1:]
		}
	}
	name, rest, err := firstString(payload)
	if err != nil {
		return data{msg: chunk.NewMessage(m.TypeID, 0, 0, m.Bytes())}
	}
	switch name {
	case message.NameClearDataFrame:
		cleared, _, err := firstString(rest)
		return data{metadata: err == nil && cleared == message.NameOnMetaData}
	case message.NameSetDataFrame:
		payload = rest
		if name, rest, err = firstString(rest); err != nil {
			return data{}
		}
	}
	d := data{metadata: name == message.NameOnMetaData}
	if d.metadata {
		payload = d.readMetadata(payload, rest)
	}
	d.msg = chunk.NewMessage(typeID, 0, 0, payload)
	return d
}

func firstString(b []byte) (s string, rest []byte, err error) {
	v, rest, err := amf.Decode(b, amf.Limits{})
	if err != nil {
		return "", nil, err
	}
	s, ok := v.(string)
	if !ok {
		return "", nil, amf.ErrType
	}
	return s, rest, nil
}

// readMetadata reads the value of a metadata message and returns the message's
// payload with the value as an ECMA array.
func (d *data) readMetadata(payload, value []byte) []byte {
	v, _, err := amf.Decode(value, amf.Limits{})
	if err != nil {
		return payload
	}
	object, ok := amf.AsObject(v)
	if !ok {
		return payload
	}
	d.width, d.height = pixels(object, "width"), pixels(object, "height")
	if _, ok := v.(amf.ECMAArray); ok {
		return payload
	}
	out, err := amf.AppendAll(nil, message.NameOnMetaData, amf.ECMAArray(object))
	if err != nil {
		return payload
	}
	return out
}

func pixels(object amf.Object, key string) int {
	v, ok := object.Number(key)
	if !ok || !(v >= 0 && v <= 1<<20) {
		return 0
	}
	return int(v)
}
