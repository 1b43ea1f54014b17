package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// floorSession is a floor's side of one RTMP connection. Bytes are pushed into
// it. It is for one goroutine at a time.
type floorSession struct {
	hub    *floorHub
	player floorPlayer // takes answers, and media when the client plays

	handshake int // pieces of it that came: C0 and C1, C2
	chunkSize int
	streams   [64]floorChunks
	partial   int // messages that have begun and are not complete

	in      []byte // bytes that are not used up
	scanned int    // of them: chunks of messages that are not complete
	unit    floorUnit
	answer  []byte // owned by consume

	publishes, plays string // stream names
}

// floorChunks is the state of a chunk stream.
type floorChunks struct {
	length, left int
	typeID       uint8
	extended     bool
}

// floorUnit says what is in the chunks since no message was partial.
type floorUnit struct {
	media, video, header bool
}

const handshakeLength = 1536

// reset makes the session ready for another client, keeping its memory.
func (s *floorSession) reset() {
	*s = floorSession{hub: s.hub, player: s.player, chunkSize: message.DefaultChunkSize, in: s.in[:0], answer: s.answer[:0]}
}

func newFloorSession(hub *floorHub, player floorPlayer) *floorSession {
	return &floorSession{hub: hub, player: player, chunkSize: message.DefaultChunkSize}
}

// feed takes the next bytes of the client. It does not keep b.
func (s *floorSession) feed(b []byte) error {
	if len(s.in) > 0 {
		s.in = append(s.in, b...)
		b = s.in
	}
	n, err := s.consume(b)
	s.in = append(s.in[:0], b[n:]...)
	return err
}

// close ends what the client was doing.
func (s *floorSession) close() {
	if s.plays != "" {
		s.hub.leave(s.plays, s.player)
	}
}

// consume uses up a beginning of b and returns its length.
func (s *floorSession) consume(b []byte) (used int, err error) {
	if s.handshake == 0 {
		if len(b) < 1+handshakeLength {
			return 0, nil
		}
		// S0, S1 (of which only the length matters) and S2 are copies of C0 and C1.
		s.answer = append(append(s.answer[:0], b[:1+handshakeLength]...), b[1:1+handshakeLength]...)
		s.player.send(s.answer)
		s.handshake, used = 1, 1+handshakeLength
	}
	if s.handshake == 1 {
		if len(b)-used < handshakeLength {
			return used, nil
		}
		s.handshake = 2
		used += handshakeLength
	}
	for at := used + s.scanned; ; {
		n, complete, err := s.chunk(b[at:])
		if err != nil {
			return used, err
		}
		if n == 0 {
			s.scanned = at - used
			return used, nil
		}
		at += n
		if !complete || s.partial > 0 {
			continue
		}
		if s.unit.media && s.publishes != "" {
			s.hub.relay(s.publishes, s.unit, b[used:at])
		}
		s.unit = floorUnit{}
		used = at
	}
}

// messageHeader is the length of message headers by their type.
var messageHeader = [4]int{11, 7, 3, 0}

// chunk takes the chunk at the beginning of b and returns its length, 0 if it is
// not all there, and whether it completes a message.
func (s *floorSession) chunk(b []byte) (n int, complete bool, err error) {
	if len(b) == 0 {
		return 0, false, nil
	}
	kind, id := b[0]>>6, b[0]&63
	if id < 2 {
		return 0, false, errors.New("floor: chunk stream IDs above 63 are not known here")
	}
	n = 1 + messageHeader[kind]
	if len(b) < n {
		return 0, false, nil
	}
	st := s.streams[id] // stored when the chunk is all there
	begins := st.left == 0
	if kind < 3 {
		st.extended = b[1] == 0xFF && b[2] == 0xFF && b[3] == 0xFF
	}
	if kind < 2 {
		st.length = int(b[4])<<16 | int(b[5])<<8 | int(b[6])
		st.typeID = b[7]
	}
	if st.extended {
		n += 4
	}
	if begins {
		st.left = st.length
	}
	size := min(st.left, s.chunkSize)
	if len(b) < n+size {
		return 0, false, nil
	}
	payload := b[n : n+size]
	n += size
	if begins {
		s.partial++
		s.begin(st.typeID, payload)
	}
	st.left -= size
	s.streams[id] = st
	if st.left > 0 {
		return n, false, nil
	}
	s.partial--
	return n, true, s.complete(&st, payload)
}

// begin notes what kind of message begins in the unit.
func (s *floorSession) begin(typeID uint8, payload []byte) {
	switch typeID {
	case message.TypeVideo:
		s.unit.video = true
	case message.TypeAudio:
	default:
		return
	}
	s.unit.media = true
	s.unit.header = len(payload) > 1 && payload[1] == 0
}

// complete obeys a message, of which payload is the last chunk.
func (s *floorSession) complete(st *floorChunks, payload []byte) error {
	switch st.typeID {
	case message.TypeSetChunkSize:
		if len(payload) == 4 {
			s.chunkSize = int(min(binary.BigEndian.Uint32(payload)&0x7FFFFFFF, chunk.MaxChunkSize))
		}
		if s.chunkSize == 0 {
			return errors.New("floor: chunk size 0")
		}
	case message.TypeCommandAMF0:
		if len(payload) < st.length {
			return errors.New("floor: a command in several chunks")
		}
		return s.command(payload)
	}
	return nil
}

// preparedAnswer lacks nothing but a transaction ID, whose place is the offset at.
type preparedAnswer struct {
	bytes []byte
	at    int
}

// prepared are the answers to commands, by their names.
var prepared = map[string]preparedAnswer{
	"connect":      prepareResult(message.SetChunkSize{Size: chunk.SegmentSize}, floorStatus(message.StatusConnectSuccess).Object()),
	"createStream": prepareResult(nil, float64(1)),
}

// prepareResult encodes a _result, with a message before it if before is not nil.
func prepareResult(before message.Message, result any) (p preparedAnswer) {
	if before != nil {
		p.bytes = appendMessage(p.bytes, 0, before)
	}
	// chunk header; type, length and text of the name; type of the transaction ID
	p.at = len(p.bytes) + 12 + 3 + len(message.NameResult) + 1
	p.bytes = appendMessage(p.bytes, 0, message.Command{Name: message.NameResult, Args: []any{result}})
	return p
}

func floorStatus(code string) message.Status {
	return message.Status{Level: message.LevelStatus, Code: code}
}

// command answers the commands of the load generator. Only what names a stream
// is decoded.
func (s *floorSession) command(payload []byte) error {
	name, transaction, ok := commandHead(payload)
	if !ok {
		return errors.New("floor: a command without name or transaction ID")
	}
	if p, ok := prepared[string(name)]; ok {
		s.answer = append(s.answer[:0], p.bytes...)
		copy(s.answer[p.at:], transaction)
		s.player.send(s.answer)
		return nil
	}
	switch string(name) {
	case "publish", "play":
	default:
		return nil
	}
	c, err := message.DecodeCommand(message.TypeCommandAMF0, payload, amf.Limits{})
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	if c.Name == "publish" {
		s.publishes = argument(c)
		s.player.send(appendMessage(nil, 1, floorStatus(message.StatusPublishStart).OnStatus()))
		return nil
	}
	s.plays = argument(c)
	s.player.send(appendMessage(nil, 1, floorStatus(message.StatusPlayStart).OnStatus()))
	s.hub.join(s.plays, s.player)
	return nil
}

// commandHead returns a command's name and the 8 bytes of its transaction ID:
//
//	0x02 | length (2) | name | 0x00 | transaction ID (8)
func commandHead(b []byte) (name, transaction []byte, ok bool) {
	if len(b) < 3 || b[0] != 2 {
		return nil, nil, false
	}
	end := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < end+9 || b[end] != 0 {
		return nil, nil, false
	}
	return b[3:end], b[end+1 : end+9], true
}

// argument returns a command's stream name.
func argument(c message.Command) string {
	if len(c.Args) == 0 {
		return ""
	}
	name, _ := c.Args[0].(string)
	return name
}

// appendMessage appends a message as one chunk on chunk stream 3.
func appendMessage(dst []byte, streamID uint32, msg message.Message) []byte {
	payload, err := msg.AppendPayload(nil)
	if err != nil {
		panic("bench: a prepared answer cannot be encoded: " + err.Error())
	}
	m := chunk.NewMessage(msg.TypeID(), streamID, 0, payload)
	defer m.Release()
	m.Encode(3, chunk.SegmentSize)
	for _, b := range m.AppendWire(nil) {
		dst = append(dst, b...)
	}
	return dst
}
