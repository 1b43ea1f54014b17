package message_test

import (
	"errors"
	"reflect"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

const soHeader = "0004 63686174 00000007 00000002 00000000" // "chat", version 7, persistent

var sharedObjects = []struct {
	name string
	id   uint8
	msg  message.SharedObject
	wire string
}{
	{"use", 19, message.SharedObject{
		Name: "chat", Version: 7, Flags: message.SharedObjectPersistent,
		Events: []message.SharedObjectEvent{{Type: 1}},
	}, soHeader + "01 00000000"},
	{"no events", 19, message.SharedObject{Name: "chat", Version: 7, Flags: 2}, soHeader},
	{"change and an unknown event", 19, message.SharedObject{
		Name: "chat", Version: 7, Flags: 2,
		Events: []message.SharedObjectEvent{{Type: 4, Data: []byte{0, 1, 'x', 5}}, {Type: 42, Data: []byte{9}}},
	}, soHeader + "04 00000004 000178 05 2a 00000001 09"},
	{"AMF3", 16, message.SharedObject{
		AMF3: true, Name: "chat", Version: 7, Flags: 2,
		Events: []message.SharedObjectEvent{{Type: 4, Data: []byte{0, 1, 'x', 0x11, 3}}},
	}, "00" + soHeader + "04 00000005 000178 1103"},
}

func TestSharedObjects(t *testing.T) {
	for _, tt := range sharedObjects {
		t.Run(tt.name, func(t *testing.T) {
			payload := unhex(t, tt.wire)
			got, err := message.Decode(tt.id, payload, amf.Limits{})
			if err != nil || !reflect.DeepEqual(got, message.Message(tt.msg)) {
				t.Errorf("decoded %+v, %v", got, err)
			}
			back, err := tt.msg.AppendPayload(nil)
			if err != nil || string(back) != string(payload) || tt.msg.TypeID() != tt.id {
				t.Errorf("encoded % x, %v", back, err)
			}
			header := len(unhex(t, soHeader)) // after it every end of an event is an end of the message
			for i := range payload {
				if _, err := message.Decode(tt.id, payload[:i], amf.Limits{}); err == nil && i < header {
					t.Errorf("cut to %d bytes: no error", i)
				}
			}
		})
	}
}

func TestSharedObjectWithoutFormatByte(t *testing.T) {
	got, err := message.DecodeSharedObject(16, unhex(t, soHeader+"01 00000000"), amf.Limits{})
	if err != nil || !got.AMF3 || got.Name != "chat" || len(got.Events) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSharedObjectLimits(t *testing.T) {
	payload := unhex(t, soHeader)
	for range 5 {
		payload = append(payload, 1, 0, 0, 0, 0)
	}
	if _, err := message.DecodeSharedObject(19, payload, amf.Limits{Properties: 5}); err != nil {
		t.Errorf("five events within a limit of five: %v", err)
	}
	_, err := message.DecodeSharedObject(19, append(payload, 1, 0, 0, 0, 0), amf.Limits{Properties: 5})
	if !errors.As(err, new(*amf.LimitError)) || !errors.As(err, new(*message.ProtocolError)) {
		t.Errorf("six events: %v", err)
	}
	if _, err := message.DecodeSharedObject(19, append(payload, 4, 0xFF, 0xFF, 0xFF, 0xFF), amf.Limits{}); err == nil {
		t.Error("an event longer than the message: no error")
	}
	if _, err := (message.SharedObject{Name: string(make([]byte, 65536))}).AppendPayload(nil); !errors.Is(err, message.ErrValue) {
		t.Errorf("a name of 65,536 bytes: %v", err)
	}
}
