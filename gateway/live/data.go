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
	case "@clearDataFrame":
		cleared, _, err := firstString(rest)
		return data{metadata: err == nil && cleared == metadataName}
	case "@setDataFrame":
		payload = rest
		if name, rest, err = firstString(rest); err != nil {
			return data{}
		}
	}
	if name == metadataName {
		if array, ok := asECMAArray(name, rest); ok {
			payload = array
		}
	}
	return data{msg: chunk.NewMessage(typeID, 0, 0, payload), metadata: name == metadataName}
}

const metadataName = "onMetaData"

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

// asECMAArray encodes a data message anew when its value is an object.
func asECMAArray(name string, b []byte) ([]byte, bool) {
	v, _, err := amf.Decode(b, amf.Limits{})
	if err != nil {
		return nil, false
	}
	object, ok := v.(amf.Object)
	if !ok {
		return nil, false
	}
	out, err := amf.AppendAll(nil, name, amf.ECMAArray(object))
	return out, err == nil
}
