package message_test

import (
	"bytes"
	"reflect"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

// TestCase42_ConnectInAMF3: a client with objectEncoding 3 may send any part of
// connect as AMF3. It reads the same as AMF0, and the answer is AMF0 in type 17.
func TestCase42_ConnectInAMF3(t *testing.T) {
	t.Parallel()

	const (
		number3 = "00 4008000000000000"
		// app "live", objectEncoding 3
		object0 = "03 0003 617070" + live + "000e 6f626a656374456e636f64696e67" + number3 + "000009"
		object3 = "11 0a 0b 01 07 617070 06 09 6c697665 1d 6f626a656374456e636f64696e67 04 03 01"
		sealed3 = "11 0a 23 01 07 617070 1d 6f626a656374456e636f64696e67 06 09 6c697665 05 4008000000000000"
		array3  = "11 09 01 07 617070 06 09 6c697665 1d 6f626a656374456e636f64696e67 04 03 01"
		proxy3  = "11 0a 07 3b 666c65782e6d6573736167696e672e696f2e4f626a65637450726f7879" +
			"0a 0b 01 07 617070 06 09 6c697665 1d 6f626a656374456e636f64696e67 04 03 01"
		values3 = "03 0003 617070 11 06 09 6c697665 000e 6f626a656374456e636f64696e67 11 04 03 000009"
		user    = "02 0004 75736572"
	)

	for name, wire := range map[string]string{
		"AMF0":                             connect + one + object0 + user + two,
		"object":                           connect + one + object3 + user + two,
		"object with sealed properties":    connect + one + sealed3 + user + two,
		"array":                            connect + one + array3 + user + two,
		"ObjectProxy":                      connect + one + proxy3 + user + two,
		"properties of an AMF0 object":     connect + one + values3 + user + two,
		"arguments":                        connect + one + object0 + "11 06 09 75736572 11 04 02",
		"everything, each with its tables": "11 06 0f 636f6e6e656374 11 04 01" + object3 + "11 06 09 75736572 11 04 02",
		"doubles where integers would do":  connect + "11 05 3ff0000000000000" + object3 + user + "11 05 4000000000000000",
	} {
		for _, format := range []string{"00", ""} {
			c, err := message.DecodeCommand(message.TypeCommandAMF3, unhex(t, format+wire), amf.Limits{})
			if err != nil {
				t.Errorf("%s (format byte %q): %v", name, format, err)

				continue
			}

			object, _ := amf.AsObject(c.Object)
			app, _ := object.String("app")
			encoding, _ := object.Number("objectEncoding")

			if !c.AMF3 || c.Name != "connect" || c.TransactionID != 1 || app != "live" || encoding != 3 {
				t.Errorf("%s (format byte %q): %#v", name, format, c)
			}

			if c.Arg(0) != "user" || c.Arg(1) != 2.0 || c.Arg(2) != nil {
				t.Errorf("%s (format byte %q): arguments %#v", name, format, c.Args)
			}

			answer := c.Result(amf.Object{{Key: "mode", Value: 1.0}}, amf.Object{{Key: "objectEncoding", Value: encoding}})
			want := unhex(t, "00 02 0007 5f726573756c74"+one+"03 0004 6d6f6465"+one+"000009"+
				"03 000e 6f626a656374456e636f64696e67"+number3+"000009")

			if got, err := answer.AppendPayload(nil); answer.TypeID() != 17 || err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: type %d\n%x, %v, want\n%x", name, answer.TypeID(), got, err, want)
			}
		}
	}
}

// TestAMF3StaysAMF3: what was decoded goes out again in the family it came in.
func TestAMF3StaysAMF3(t *testing.T) {
	t.Parallel()

	wire := unhex(t, "00"+live+"11 0a 0b 01 03 61 06 03 62 01"+one+"11 06 03 62")

	d, err := message.DecodeData(message.TypeDataAMF3, wire, amf.Limits{})
	if err != nil {
		t.Fatal(err)
	}

	want := []any{amf.AMF3{Value: amf.Object{{Key: "a", Value: "b"}}}, 1.0, amf.AMF3{Value: "b"}}
	if !reflect.DeepEqual(d.Values, want) {
		t.Errorf("got %#v, want %#v", d.Values, want)
	}

	if got, err := d.AppendPayload(nil); err != nil || !bytes.Equal(got, wire) {
		t.Errorf("got %x, %v, want %x", got, err, wire)
	}
}
