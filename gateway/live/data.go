package live

import (
	"bytes"
	"slices"

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
// encoders follow). Players of old understand data as AMF0 only, and metadata as
// an ECMA array only.
func readData(m *chunk.Message) data {
	payload := m.Bytes()
	if m.TypeID == message.TypeDataAMF3 && len(payload) > 0 && payload[0] == 0 {
		payload = payload[1:]
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
	if name == message.NameOnMetaData {
		return readMetadata(payload, rest)
	}
	return data{msg: newData(payload)}
}

func firstString(b []byte) (s string, rest []byte, err error) {
	v, rest, err := amf.Decode(b, amf.Limits{})
	if err != nil {
		return "", nil, err
	}
	s, ok := amf.Unwrap(v).(string)
	if !ok {
		return "", nil, amf.ErrType
	}
	return s, rest, nil
}

// newData makes a data message: of the AMF0 type if its values are AMF0.
func newData(payload []byte) *chunk.Message {
	values, _ := amf.DecodeAll(payload, amf.Limits{}) // what cannot be read is passed on as it is
	if slices.ContainsFunc(values, isAMF3) {
		return chunk.NewMessage(message.TypeDataAMF3, 0, 0, append([]byte{0}, payload...))
	}
	return chunk.NewMessage(message.TypeDataAMF0, 0, 0, payload)
}

func isAMF3(v any) bool {
	_, ok := v.(amf.AMF3)
	return ok
}

// readMetadata reads metadata, whose value is given too, and makes it an ECMA
// array of what AMF0 can say.
func readMetadata(payload, value []byte) data {
	d := data{metadata: true}
	v, _, err := amf.Decode(value, amf.Limits{})
	object, ok := amf.AsObject(v)
	if err != nil || !ok {
		d.msg = newData(payload)
		return d
	}
	d.width, d.height = pixels(object, "width"), pixels(object, "height")
	if _, ok := v.(amf.ECMAArray); !ok || slices.ContainsFunc(object, func(p amf.Pair) bool { return isAMF3(p.Value) }) {
		payload = metadataPayload(object)
	}
	d.msg = chunk.NewMessage(message.TypeDataAMF0, 0, 0, payload)
	return d
}

func metadataPayload(object amf.Object) []byte {
	var array amf.ECMAArray
	for _, p := range object {
		p.Value = amf.Unwrap(p.Value)
		if _, err := amf.Append(nil, p.Value); err == nil {
			array = append(array, p)
		}
	}
	b, err := amf.AppendAll(nil, message.NameOnMetaData, array)
	if err != nil {
		b, _ = amf.AppendAll(nil, message.NameOnMetaData, amf.ECMAArray{}) // never fails
	}
	return b
}

func pixels(object amf.Object, key string) int {
	v, ok := object.Number(key)
	if !ok || !(v >= 0 && v <= 1<<20) {
		return 0
	}
	return int(v)
}

// metadataHead and setDataFrameHead are the names in AMF0.
var (
	metadataHead     = []byte("\x02\x00\x0aonMetaData")
	setDataFrameHead = []byte("\x02\x00\x0d@setDataFrame")
)

// setDataFrame makes of metadata for players the message with which a publisher asks a
// server to keep it, nil of other data.
func setDataFrame(m *chunk.Message) *chunk.Message {
	if m.TypeID != message.TypeDataAMF0 || !bytes.HasPrefix(m.Head(), metadataHead) {
		return nil
	}
	return chunk.NewMessage(m.TypeID, 0, m.Timestamp, m.AppendPayload(slices.Clone(setDataFrameHead)))
}
