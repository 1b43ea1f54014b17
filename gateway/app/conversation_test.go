package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// signedHello is C0, C1 with a digest of scheme 1, and a C2 that nobody checks.
func signedHello() []byte {
	b := make([]byte, handshakeSize)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	b[0] = 3
	c1 := b[1:1537]
	copy(c1[4:], []byte{10, 0, 32, 18})
	at := (int(c1[772])+int(c1[773])+int(c1[774])+int(c1[775]))%728 + 776
	mac := hmac.New(sha256.New, []byte("Genuine Adobe Flash Player 001"))
	mac.Write(c1[:at])
	mac.Write(c1[at+32:])
	copy(c1[at:], mac.Sum(nil))
	return b
}

// sender writes chunks, all but the first of a message with a type 3 header.
type sender struct {
	t    *testing.T
	b    []byte
	size int // of chunks
}

// begin writes the first chunk of a message of n bytes.
func (s *sender) begin(csid, typeID byte, streamID uint32, at chunk.Timestamp, n int, part []byte) {
	field := min(uint32(at), 0xFFFFFF)
	s.b = append(s.b, csid, byte(field>>16), byte(field>>8), byte(field), byte(n>>16), byte(n>>8), byte(n), typeID)
	s.b = binary.LittleEndian.AppendUint32(s.b, streamID)
	s.part(at, part)
}

// resume writes the next chunk of a message.
func (s *sender) resume(csid byte, at chunk.Timestamp, part []byte) {
	s.b = append(s.b, 3<<6|csid)
	s.part(at, part)
}

func (s *sender) part(at chunk.Timestamp, part []byte) {
	if at.NeedsExtendedTimestamp() {
		s.b = binary.BigEndian.AppendUint32(s.b, uint32(at))
	}
	s.b = append(s.b, part...)
}

func (s *sender) message(csid, typeID byte, streamID uint32, at chunk.Timestamp, payload []byte) {
	parts := slices.Collect(slices.Chunk(payload, s.size))
	s.begin(csid, typeID, streamID, at, len(payload), parts[0])
	for _, part := range parts[1:] {
		s.resume(csid, at, part)
	}
}

func (s *sender) typed(streamID uint32, m message.Message) {
	s.t.Helper()
	b, err := m.AppendPayload(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.message(3, m.TypeID(), streamID, 0, b)
}

// say sends a command in AMF3.
func (s *sender) say(streamID uint32, name string, transaction float64, args ...any) {
	s.t.Helper()
	for i := range args {
		args[i] = amf.AMF3{Value: args[i]}
	}
	s.typed(streamID, message.Command{AMF3: true, Name: name, TransactionID: transaction, Object: amf.AMF3{}, Args: args})
}

// madeConversation is a publisher that signs in scheme 1, speaks AMF3, sends
// aggregates, changes its chunk size inside a message, aborts one, and has timestamps
// that need the extended field.
func madeConversation(t *testing.T) []byte {
	t.Helper()
	s := &sender{t: t, b: signedHello(), size: 128}
	s.typed(0, message.Command{AMF3: true, Name: "connect", TransactionID: 1, Object: amf.AMF3{Value: amf.TypedObject{
		Class: "Connect", Object: amf.Object{
			{Key: "app", Value: "live"},
			{Key: "tcUrl", Value: "rtmp://host/live"},
			{Key: "objectEncoding", Value: 3.0},
			{Key: "live", Value: "live"}, // strings again, by reference
		}, Sealed: 2,
	}}})
	s.say(0, "createStream", 2)
	s.say(1, "publish", 3, "made", "live")
	s.typed(1, message.Data{AMF3: true, Name: message.NameSetDataFrame, Values: []any{
		message.NameOnMetaData,
		amf.AMF3{Value: amf.ECMAArray{{Key: "width", Value: 640.0}, {Key: "encoder", Value: "made"}}},
	}})
	s.message(6, message.TypeVideo, 1, 0, avcHeader)

	const base = 0x01FFFFF0
	text, err := message.Data{Name: "onTextData", Values: []any{"text"}}.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	text3, err := message.Data{AMF3: true, Name: "onTextData", Values: []any{amf.AMF3{Value: "text"}}}.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := append([]byte{0x17, 1, 0, 0, 0, 'K'}, strings.Repeat("k", 200)...)
	aggregate := slices.Concat(
		part(message.TypeVideo, base, key, 11+206),
		part(message.TypeAudio, base+10, aacHeader, 0),
		part(message.TypeDataAMF0, base+15, text, 7),
		part(message.TypeAudio, base+20, []byte{0xAF, 1, 'A'}, 14),
		part(message.TypeDataAMF3, base+25, text3, 0),
		part(message.TypeVideo, base+30, []byte("\x27\x01\x00\x00\x00P and so on"), 0)[:20], // cut off
	)
	s.message(7, message.TypeAggregate, 1, 1000, aggregate)

	s.begin(8, message.TypeVideo, 1, 1500, 300, make([]byte, 128)) // the rest never comes
	s.message(2, 2, 0, 0, []byte{0, 0, 0, 8})

	long := append([]byte{0x27, 1, 0, 0, 0, 'L'}, strings.Repeat("l", 400)...)
	s.begin(6, message.TypeVideo, 1, 0xFFFFFF, len(long), long[:128])
	s.typed(0, message.SetChunkSize{Size: 4096})
	s.size = 4096
	s.resume(6, 0xFFFFFF, long[128:])

	s.message(6, message.TypeAudio, 1, 0x1000000, []byte{0xAF, 1, 'B'})
	s.say(1, "FCUnpublish", 4, "made")
	s.say(0, "deleteStream", 5, 1.0)
	return s.b
}

// TestMadeConversation: it says what it is meant to, and is answered in AMF3's type.
func TestMadeConversation(t *testing.T) {
	b := madeConversation(t)
	bubble(t, func(t *testing.T) {
		r := replayed(t, published(t, b), false)
		r.deliver(t, 0, b)
		o := r.end(t)
		const want = "onMetaData H0 k1000 h1010 onTextData a1020 onTextData l16777215 a16777216"
		// The player's session, which there is none of here, would have set the chunk size.
		const chunkSize = "\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x01\x00\x00"
		if got := brief(parsed(t, chunkSize+o.played)); got != want {
			t.Errorf("the player got\n\t%s\nwant\n\t%s", got, want)
		}
		answers := parsed(t, o.answers)
		if got := brief(answers); got != connectAnswers+" _result:1 "+publishAnswers+" _result onFCUnpublish:NetStream.Unpublish.Success" {
			t.Errorf("the answers are %s", got)
		}
		for _, m := range answers {
			if m.typeID == message.TypeCommandAMF0 {
				t.Errorf("answered in type 20: %s", m.brief())
			}
		}
	})
}

// parsed returns the messages in what the server sent.
func parsed(t *testing.T, b string) (list []received) {
	t.Helper()
	r := chunk.NewReader(strings.NewReader(b), chunk.Limits{})
	defer r.Close()
	for {
		m, err := r.ReadMessage()
		if err != nil {
			if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the server's bytes end with %v", err)
			}
			return list
		}
		list = append(list, received{m.TypeID, m.StreamID, m.Timestamp, string(m.Bytes())})
		m.Release()
	}
}
