package message_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

const (
	one     = "00 3ff0000000000000"
	two     = "00 4000000000000000"
	null    = "05"
	play    = "02 0004 706c6179"
	connect = "02 0007 636f6e6e656374"
	live    = "02 0004 6c697665"
)

// messages pairs each message with its one payload. Both directions use it.
var messages = []struct {
	name string
	id   uint8
	msg  message.Message
	wire string // hex, blanks ignored
}{
	{"set chunk size", 1, message.SetChunkSize{Size: 4096}, "00001000"},
	{"smallest chunk size", 1, message.SetChunkSize{Size: 1}, "00000001"},
	{"largest chunk size", 1, message.SetChunkSize{Size: 0x7FFFFFFF}, "7fffffff"},
	{"abort", 2, message.Abort{ChunkStreamID: 6}, "00000006"},
	{"acknowledgement", 3, message.Acknowledgement{SequenceNumber: 0xFFFFFFFF}, "ffffffff"},
	{"window acknowledgement size", 5, message.WindowAckSize{Size: 2_500_000}, "002625a0"},
	{"peer bandwidth, hard", 6, message.SetPeerBandwidth{Size: 1, Limit: message.LimitHard}, "00000001 00"},
	{"peer bandwidth, soft", 6, message.SetPeerBandwidth{Size: 1, Limit: message.LimitSoft}, "00000001 01"},
	{"peer bandwidth, dynamic", 6, message.SetPeerBandwidth{Size: 2_500_000, Limit: message.LimitDynamic}, "002625a0 02"},
	{"peer bandwidth, unknown", 6, message.SetPeerBandwidth{Size: 1, Limit: 9}, "00000001 09"},
	{"StreamBegin", 4, message.UserControl{Event: message.EventStreamBegin, StreamID: 1}, "0000 00000001"},
	{"StreamEOF", 4, message.UserControl{Event: message.EventStreamEOF, StreamID: 1}, "0001 00000001"},
	{"StreamDry", 4, message.UserControl{Event: message.EventStreamDry, StreamID: 1}, "0002 00000001"},
	{
		"SetBufferLength", 4,
		message.UserControl{Event: message.EventSetBufferLength, StreamID: 1, Value: 3000},
		"0003 00000001 00000bb8",
	},
	{"StreamIsRecorded", 4, message.UserControl{Event: message.EventStreamIsRecorded, StreamID: 1}, "0004 00000001"},
	{"PingRequest", 4, message.UserControl{Event: message.EventPingRequest, Value: 5}, "0006 00000005"},
	{"PingResponse", 4, message.UserControl{Event: message.EventPingResponse, Value: 5}, "0007 00000005"},
	{"SWFVerifyRequest", 4, message.UserControl{Event: message.EventSWFVerifyRequest}, "001a"},
	{
		"SWFVerifyReply", 4,
		message.UserControl{Event: message.EventSWFVerifyReply, Data: []byte{1, 1}},
		"001b 0101",
	},
	{"BufferEmpty", 4, message.UserControl{Event: message.EventBufferEmpty, StreamID: 1}, "001f 00000001"},
	{"BufferReady", 4, message.UserControl{Event: message.EventBufferReady, StreamID: 1}, "0020 00000001"},
	{"unknown event", 4, message.UserControl{Event: 99, Data: []byte{1, 2, 3}}, "0063 010203"},
	{
		"connect", 20,
		message.Command{Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: "live"}}},
		connect + one + "03 0003 617070" + live + "000009",
	},
	{
		"play with arguments", 20,
		message.Command{Name: "play", Args: []any{"live", -2000.0, true}},
		play + "00 0000000000000000" + null + live + "00 c09f400000000000" + "0101",
	},
	{
		"command of type 17", 17,
		message.Command{AMF3: true, Name: "play", TransactionID: 2},
		"00" + play + two + null,
	},
	{
		"onStatus", 20,
		message.Status{Level: "status", Code: "c", Description: "d", Extra: []amf.Pair{{Key: "x", Value: 1.0}}}.OnStatus(),
		"02 0008 6f6e537461747573 00 0000000000000000" + null +
			"03 0005 6c6576656c 02 0006 737461747573 0004 636f6465 02 0001 63" +
			"000b 6465736372697074696f6e 02 0001 64 0001 78" + one + "000009",
	},
	{
		"data", 18,
		message.Data{Name: "onMetaData", Values: []any{amf.ECMAArray{{Key: "w", Value: 1.0}}}},
		"02 000a 6f6e4d65746144617461 08 00000001 0001 77" + one + "000009",
	},
	{
		"command with AMF3 values", 17,
		message.Command{
			AMF3: true, Name: "connect", TransactionID: 1,
			Object: amf.AMF3{Value: amf.Object{{Key: "app", Value: "live"}, {Key: "objectEncoding", Value: 3.0}}},
			Args:   []any{amf.AMF3{Value: "a"}, "live", amf.AMF3{Value: amf.ByteArray{7}}},
		},
		"00" + connect + one + "11 0a 0b 01 07 617070 06 09 6c697665 1d 6f626a656374456e636f64696e67 04 03 01" +
			"11 06 03 61" + live + "11 0c 03 07",
	},
	{
		"data with AMF3 values", 15,
		message.Data{AMF3: true, Name: "live", Values: []any{amf.AMF3{Value: amf.ECMAArray{{Key: "w", Value: 1.5}}}, nil}},
		"00" + live + "11 09 01 03 77 05 3ff8000000000000 01" + null,
	},
	{"data of type 15", 15, message.Data{AMF3: true, Name: "live", Values: []any{nil}}, "00" + live + null},
	{"data without values", 18, message.Data{Name: "live"}, live},
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()

	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}

	return b
}

func TestAppendPayload(t *testing.T) {
	t.Parallel()

	for _, tt := range messages {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			if got := tt.msg.TypeID(); got != tt.id {
				t.Errorf("type %d, want %d", got, tt.id)
			}

			got, err := tt.msg.AppendPayload([]byte("x"))
			if err != nil {
				t.Fatal(err)
			}

			if want := append([]byte("x"), unhex(t, tt.wire)...); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()

	for _, tt := range messages {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			payload := unhex(t, tt.wire)

			got, err := message.Decode(tt.id, payload, amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			clear(payload) // what was decoded does not refer to it

			if !reflect.DeepEqual(got, tt.msg) {
				t.Errorf("got %#v, want %#v", got, tt.msg)
			}
		})
	}
}

// TestTruncated cuts every payload at every byte. Commands and data may be cut
// between their values, and events without fields anywhere behind their number.
func TestTruncated(t *testing.T) {
	t.Parallel()

	for _, tt := range messages {
		payload := unhex(t, tt.wire)

		for i := range payload {
			msg, err := message.Decode(tt.id, payload[:i], amf.Limits{})
			if err == nil {
				if uc, ok := msg.(message.UserControl); tt.id < 15 && (!ok || uc.StreamID != 0 || uc.Value != 0) {
					t.Errorf("%s cut at %d: %#v", tt.name, i, msg)
				}

				continue
			}

			var pe *message.ProtocolError
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &pe) || pe.TypeID != tt.id || pe.Section == "" {
				t.Errorf("%s cut at %d: %v", tt.name, i, err)
			}
		}
	}
}

// TestDecodeOnly holds payloads that peers send and we do not.
func TestDecodeOnly(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		id   uint8
		wire string
		want message.Message
	}{
		{"control with bytes behind it", 1, "00000080 00", message.SetChunkSize{Size: 128}},
		{"ping with bytes behind it", 4, "0006 00000005 00000000", message.UserControl{Event: message.EventPingRequest, Value: 5}},
		{"unknown event without data", 4, "0063", message.UserControl{Event: 99}},
		{"type 17 without format byte", 17, play + two + null, message.Command{AMF3: true, Name: "play", TransactionID: 2}},
		{"type 15 without format byte", 15, live, message.Data{AMF3: true, Name: "live"}},
		{
			"type 17 of AMF3 values throughout", 17, "11 06 09 706c6179 11 04 02 11 01 11 06 01",
			message.Command{
				AMF3: true, Name: "play", TransactionID: 2, Object: amf.AMF3{}, Args: []any{amf.AMF3{Value: ""}},
			},
		},
		{"type 15 with an AMF3 name", 15, "00 11 06 09 6c697665", message.Data{AMF3: true, Name: "live"}},
		{"AMF3 value in type 20", 20, play + two + "11 01", message.Command{Name: "play", TransactionID: 2, Object: amf.AMF3{}}},
		{"command without object", 20, play + two, message.Command{Name: "play", TransactionID: 2}},
		{"command without transaction", 20, play, message.Command{Name: "play"}},
		{
			"object without end marker", 20, connect + one + "03 0003 617070" + live,
			message.Command{Name: "connect", TransactionID: 1, Object: amf.Object{{Key: "app", Value: "live"}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, err := message.Decode(tt.id, unhex(t, tt.wire), amf.Limits{})
			if err != nil {
				t.Fatal(err)
			}

			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

// TestCase38ChunkSizes: 0 and sizes with the top bit are refused in both
// directions.
func TestCase38ChunkSizes(t *testing.T) {
	t.Parallel()

	for _, wire := range []string{"00000000", "80000000", "ffffffff"} {
		_, err := message.Decode(message.TypeSetChunkSize, unhex(t, wire), amf.Limits{})

		var pe *message.ProtocolError
		if !errors.Is(err, message.ErrValue) || !errors.As(err, &pe) || pe.Section != "5.4.1" {
			t.Errorf("%s: %v", wire, err)
		}
	}

	for _, size := range []uint32{0, 0x80000000} {
		if got, err := (message.SetChunkSize{Size: size}).AppendPayload([]byte("x")); !errors.Is(err, message.ErrValue) || string(got) != "x" {
			t.Errorf("%#x: %q, %v", size, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		id   uint8
		wire string
		want error
	}{
		{"audio", 8, "af00", message.ErrType},
		{"video", 9, "1700", message.ErrType},
		{"empty shared object", 19, "", io.ErrUnexpectedEOF},
		{"shared object without a name", 19, "0000 00000007 00000002 00000000", message.ErrValue},
		{"aggregate", 22, "", message.ErrType},
		{"unknown type", 99, "", message.ErrType},
		{"nameless command", 20, "", io.ErrUnexpectedEOF},
		{"nameless data", 18, "", io.ErrUnexpectedEOF},
		{"format byte only", 17, "00", io.ErrUnexpectedEOF},
		{"number as name of a command", 20, one, message.ErrValue},
		{"null as name of data", 18, null, message.ErrValue},
		{"string as transaction ID", 20, play + live, message.ErrValue},
		{"AMF3 value as name", 17, "00 11 04 01", message.ErrValue},
		{"AMF3 value as name of data", 15, "00 11 01", message.ErrValue},
		{"AMF3 string as transaction ID", 17, "00" + play + "11 06 03 61", message.ErrValue},
		{"two format bytes", 17, "00 00" + play + two, message.ErrValue},
		{"unknown externalizable class", 15, "00" + live + "11 0a 07 03 44 01", amf.ErrExternalizable},
		{"half an AMF3 value", 15, "00" + live + "11", io.ErrUnexpectedEOF},
		{"bad marker", 20, play + two + "ff", amf.ErrMarker},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			_, err := message.Decode(tt.id, unhex(t, tt.wire), amf.Limits{})
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}

			var pe *message.ProtocolError
			if errors.As(err, &pe) == errors.Is(tt.want, message.ErrType) {
				t.Errorf("%T", err)
			}
		})
	}
}

// TestPartialCommand: a call with an argument that cannot be read can still be
// answered.
func TestPartialCommand(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		wire string
		want message.Command
	}{
		"in the object": {
			"00" + play + two + "11 0a 07 03 44 01",
			message.Command{AMF3: true, Name: "play", TransactionID: 2},
		},
		"in an argument": {
			"00" + play + two + "03 000009" + live + "11 0a 07 03 44 01",
			message.Command{AMF3: true, Name: "play", TransactionID: 2, Object: amf.Object{}},
		},
	} {
		got, err := message.Decode(message.TypeCommandAMF3, unhex(t, tt.wire), amf.Limits{})
		if !errors.Is(err, amf.ErrExternalizable) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %#v, %v", name, got, err)
		}
	}

	if got, err := message.Decode(message.TypeCommandAMF0, unhex(t, play+"ff"), amf.Limits{}); got != nil || err == nil {
		t.Errorf("without a transaction ID: %#v, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()

	payload := unhex(t, play+two+null)

	for _, id := range []uint8{message.TypeCommandAMF0, message.TypeDataAMF0} {
		if _, err := message.Decode(id, payload, amf.Limits{Bytes: len(payload)}); err != nil {
			t.Errorf("type %d at the limit: %v", id, err)
		}

		_, err := message.Decode(id, payload, amf.Limits{Bytes: len(payload) - 1})

		var (
			pe *message.ProtocolError
			le *amf.LimitError
		)

		if !errors.As(err, &pe) || !errors.As(err, &le) {
			t.Errorf("type %d beyond the limit: %v", id, err)
		}
	}
}

func TestAppendPayloadRefuses(t *testing.T) {
	t.Parallel()

	for _, m := range []message.Message{
		message.Command{AMF3: true, Name: "call", Object: struct{}{}},
		message.Command{Name: "call", Args: []any{struct{}{}}},
		message.Data{AMF3: true, Name: "data", Values: []any{nil, struct{}{}}},
	} {
		got, err := m.AppendPayload([]byte("x"))
		if !errors.Is(err, amf.ErrType) || string(got) != "x" {
			t.Errorf("%#v: %q, %v", m, got, err)
		}
	}
}

func TestControlDoesNotAllocate(t *testing.T) {
	var (
		word = []byte{0, 0, 1, 0}
		band = []byte{0, 0, 1, 0, 2}
		ping = []byte{0, 6, 0, 0, 1, 0}
		buf  = []byte{0, 3, 0, 0, 0, 1, 0, 0, 1, 0}
		dst  = make([]byte, 0, 64)
		sum  uint32
	)

	if n := testing.AllocsPerRun(100, func() {
		a, _ := message.DecodeSetChunkSize(word)
		b, _ := message.DecodeAbort(word)
		c, _ := message.DecodeAcknowledgement(word)
		d, _ := message.DecodeWindowAckSize(word)
		e, _ := message.DecodeSetPeerBandwidth(band)
		f, _ := message.DecodeUserControl(ping)
		g, _ := message.DecodeUserControl(buf)
		sum += a.Size + b.ChunkStreamID + c.SequenceNumber + d.Size + e.Size + f.Value + g.Value
		out, _ := f.AppendPayload(dst)
		sum += uint32(len(out))
	}); n != 0 || sum == 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecode decodes messages, and encodes and decodes them again. Memory is bounded
// by the payload.
func FuzzDecode(f *testing.F) {
	for _, tt := range messages {
		f.Add(tt.id, unhex(f, tt.wire))
	}
	for _, tt := range sharedObjects {
		f.Add(tt.id, unhex(f, tt.wire))
	}

	for _, m := range captured(f) {
		f.Add(m.TypeID, m.AppendPayload(nil))
	}

	f.Fuzz(func(t *testing.T, id uint8, payload []byte) {
		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)

		first, err := message.Decode(id, payload, amf.Limits{})

		runtime.ReadMemStats(&after)

		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(payload))*512+64<<10 {
			t.Fatalf("%d bytes allocated for %d", got, len(payload))
		}

		if err != nil {
			var pe *message.ProtocolError
			if !errors.As(err, &pe) && !errors.Is(err, message.ErrType) {
				t.Fatalf("untyped error %v", err)
			}
		}

		if first == nil {
			return
		}

		if first.TypeID() != id {
			t.Fatalf("type %d became %d", id, first.TypeID())
		}

		once, err := first.AppendPayload(nil)
		if err != nil {
			t.Fatal(err)
		}

		// References count as what they repeat, here and there.
		second, err := message.Decode(id, once, amf.Limits{Bytes: 2 * amf.DefaultBytes, Properties: amf.DefaultProperties + 3})
		if err != nil {
			t.Fatalf("own payload: %v", err)
		}

		twice, err := second.AppendPayload(nil)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v: %x became %x", err, once, twice)
		}
	})
}
