package message_test

import (
	"bytes"
	"errors"
	"testing"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
	"culvert/testdata"
)

// captured are the messages of real clients and servers, without the long ones.
func captured(tb testing.TB) (all []*chunk.Message) {
	tb.Helper()

	const handshake, long = 1 + 2*1536, 1000

	captures, err := testdata.Captures()
	if err != nil {
		tb.Fatal(err)
	}

	for _, c := range captures {
		for _, side := range [][]byte{c.ClientToServer, c.ServerToClient} {
			r := chunk.NewReader(bytes.NewReader(side[handshake:]), chunk.Limits{})

			for {
				m, err := r.ReadMessage()
				if err != nil {
					break
				}

				if m.Len() <= long {
					all = append(all, m)
				}
			}

			r.Close()
		}
	}

	if len(all) < 50 {
		tb.Fatalf("%d messages", len(all))
	}

	return all
}

// FuzzUserControl decodes events, and encodes and decodes them again.
func FuzzUserControl(f *testing.F) {
	for _, tt := range messages {
		if tt.id == message.TypeUserControl {
			f.Add(unhex(f, tt.wire))
		}
	}

	for _, m := range captured(f) {
		if m.TypeID == message.TypeUserControl {
			f.Add(m.AppendPayload(nil))
		}
	}

	f.Add([]byte{0, 3, 0, 0, 0, 1, 0, 0})             // SetBufferLength cut short
	f.Add(append([]byte{0, 27}, make([]byte, 42)...)) // SWF verification
	f.Add([]byte{0xFF, 0xFF})

	f.Fuzz(func(t *testing.T, payload []byte) {
		first, err := message.DecodeUserControl(payload)
		if err != nil {
			var pe *message.ProtocolError
			if !errors.As(err, &pe) {
				t.Fatalf("untyped error %v", err)
			}

			return
		}

		once, err := first.AppendPayload(nil)
		if err != nil {
			t.Fatal(err)
		}

		if len(once) > len(payload) {
			t.Fatalf("%d bytes became %d", len(payload), len(once))
		}

		second, err := message.DecodeUserControl(once)
		if err != nil {
			t.Fatalf("own payload: %v", err)
		}

		if twice, err := second.AppendPayload(nil); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v: %x became %x", err, once, twice)
		}
	})
}
