package message_test

import (
	"bytes"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

// A command is passed on under another transaction ID with no other byte changed, also when its arguments cannot be read.
func TestEnvelope(t *testing.T) {
	for name, amf3 := range map[string]bool{"type 20": false, "type 17": true} {
		t.Run(name, func(t *testing.T) {
			cmd := message.Command{Name: "vendorCall", TransactionID: 7, Args: []any{"x"}, AMF3: amf3}
			payload, err := cmd.AppendPayload(nil)
			if err != nil {
				t.Fatal(err)
			}
			payload = append(payload, 0x11, 0x0A, 0x07, 0x03, 'X') // an externalizable object
			e, ok := message.ReadEnvelope(cmd.TypeID(), payload)
			if !ok || e.Name != "vendorCall" || e.TransactionID != 7 {
				t.Fatalf("read %+v, %v", e, ok)
			}
			before := bytes.Clone(payload)
			other := e.Readdress(payload, 1<<24)
			if !bytes.Equal(before, payload) {
				t.Error("the message itself was changed")
			}
			cmd.TransactionID = 1 << 24
			want, err := cmd.AppendPayload(nil)
			if err != nil {
				t.Fatal(err)
			}
			if want = append(want, 0x11, 0x0A, 0x07, 0x03, 'X'); !bytes.Equal(other, want) {
				t.Errorf("passed on as %x, want %x", other, want)
			}
			whole := len(payload) - 5 - 1 - len("\x02\x00\x01x")
			for i := range whole {
				if _, ok := message.ReadEnvelope(cmd.TypeID(), payload[:i]); ok {
					t.Errorf("read of %d bytes", i)
				}
			}
			if _, ok := message.ReadEnvelope(cmd.TypeID(), payload[:whole]); !ok {
				t.Error("not read although it is whole")
			}
		})
	}
	for name, values := range map[string][]any{"a number first": {1.0, 2.0}, "text for a number": {"x", "y"}, "no name": {nil, 1.0}} {
		b, err := amf.AppendAll(nil, values...)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := message.ReadEnvelope(message.TypeCommandAMF0, b); ok {
			t.Errorf("%s: read", name)
		}
	}
}
