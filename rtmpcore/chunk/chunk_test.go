package chunk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/iotest"

	"culvert/rtmpcore/chunk"
	"culvert/testdata"
)

// wire builds the bytes of one direction by hand, so that the Reader is tested
// against the specification and not against our own writer.
type wire struct{ bytes.Buffer }

func (w *wire) basic(kind byte, csid int) *wire {
	switch {
	case csid < 64:
		w.Write([]byte{kind<<6 | byte(csid)})
	case csid < 320:
		w.Write([]byte{kind << 6, byte(csid - 64)})
	default:
		w.Write([]byte{kind<<6 | 1, byte((csid - 64) & 0xFF), byte((csid - 64) >> 8)})
	}
	return w
}

func (w *wire) u24(v int) *wire { w.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)}); return w }
func (w *wire) u32(v uint32) *wire {
	_ = binary.Write(w, binary.BigEndian, v)
	return w
}

func (w *wire) fmt0(csid, ts, length int, typeID byte, msid uint32) *wire {
	w.basic(0, csid).u24(ts).u24(length).WriteByte(typeID)
	_ = binary.Write(w, binary.LittleEndian, msid)
	return w
}

func (w *wire) fmt1(csid, delta, length int, typeID byte) *wire {
	w.basic(1, csid).u24(delta).u24(length).WriteByte(typeID)
	return w
}
func (w *wire) fmt2(csid, delta int) *wire { return w.basic(2, csid).u24(delta) }
func (w *wire) fmt3(csid int) *wire        { return w.basic(3, csid) }
func (w *wire) data(b []byte) *wire        { w.Write(b); return w }

func (w *wire) setChunkSize(size uint32) *wire {
	return w.fmt0(2, 0, 4, 1, 0).u32(size)
}

// got is a message as a test compares it.
type got struct {
	typeID  uint8
	msid    uint32
	ts      chunk.Timestamp
	payload string
}

func readAll(t *testing.T, src io.Reader, limits chunk.Limits) ([]got, error) {
	t.Helper()
	r := chunk.NewReader(src, limits)
	defer r.Close()
	var list []got
	for {
		m, err := r.ReadMessage()
		if errors.Is(err, syscall.EAGAIN) {
			continue
		}
		if err != nil {
			return list, err
		}
		list = append(list, got{m.TypeID, m.StreamID, m.Timestamp, string(m.Bytes())})
		m.Release()
	}
}

// hesitant has nothing at hand every other time.
type hesitant struct {
	io.Reader
	ready bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.ready = !h.ready; h.ready {
		return 0, syscall.EAGAIN
	}
	return h.Reader.Read(p)
}

// expect reads w in several ways of cutting it and compares the messages.
func expect(t *testing.T, w *wire, want ...got) {
	t.Helper()
	sources := map[string]io.Reader{
		"whole":  bytes.NewReader(w.Bytes()),
		"halves": iotest.HalfReader(bytes.NewReader(w.Bytes())),
	}
	if w.Len() < 5000 {
		sources["bytewise"] = iotest.OneByteReader(bytes.NewReader(w.Bytes()))
		sources["bytewise, in turns"] = &hesitant{Reader: iotest.OneByteReader(bytes.NewReader(w.Bytes()))}
	}
	for name, src := range sources {
		list, err := readAll(t, src, chunk.Limits{})
		if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%s: ended with %v, want io.EOF", name, err)
		}
		if len(list) != len(want) {
			t.Fatalf("%s: %d messages, want %d", name, len(list), len(want))
		}
		for i := range want {
			if list[i] != want[i] {
				t.Fatalf("%s: message %d is type %d stream %d at %d with %d bytes, want type %d stream %d at %d with %d bytes",
					name, i, list[i].typeID, list[i].msid, list[i].ts, len(list[i].payload),
					want[i].typeID, want[i].msid, want[i].ts, len(want[i].payload))
			}
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestCase34_ChunkStreamIDs(t *testing.T) {
	for _, csid := range []int{2, 3, 63, 64, 65, 319, 320, 1000, 65599} {
		p := random(300)
		w := new(wire).fmt0(csid, 5, 300, 9, 1).data(p[:128])
		w.fmt3(csid).data(p[128:256])
		w.fmt3(csid).data(p[256:])
		expect(t, w, got{9, 1, 5, string(p)})
	}
	t.Run("64 in three bytes", func(t *testing.T) {
		w := new(wire)
		w.Write([]byte{0x01, 0, 0})
		w.u24(7).u24(1).WriteByte(8)
		w.Write([]byte{1, 0, 0, 0, 'x'})
		expect(t, w, got{8, 1, 7, "x"})
	})
}

func TestCase35_Timestamps(t *testing.T) {
	for _, ts := range []uint32{0, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0xFFFFFFFF} {
		p := random(300)
		field, ext := int(ts), ts >= 0xFFFFFF
		if ext {
			field = 0xFFFFFF
		}
		for name, repeat := range map[string]bool{"extended repeated": true, "extended not repeated": false} {
			t.Run(name, func(t *testing.T) {
				w := new(wire).fmt0(6, field, 300, 9, 1)
				if ext {
					w.u32(ts)
				}
				w.data(p[:128])
				for _, part := range [][]byte{p[128:256], p[256:]} {
					w.fmt3(6)
					if ext && repeat {
						w.u32(ts)
					}
					w.data(part)
				}
				w.fmt1(6, 40, 1, 9).data([]byte{1}) // a delta after it
				w.fmt2(6, 2).data([]byte{2})
				w.fmt3(6).data([]byte{3}) // repeats the delta of 2
				at := chunk.Timestamp(ts)
				expect(
					t, w,
					got{9, 1, at, string(p)},
					got{9, 1, at + 40, "\x01"},
					got{9, 1, at + 42, "\x02"},
					got{9, 1, at + 44, "\x03"},
				)
			})
		}
	}
	t.Run("extended delta", func(t *testing.T) {
		w := new(wire).fmt0(4, 10, 1, 8, 1).data([]byte{'a'})
		w.fmt2(4, 0xFFFFFF).u32(0x1000000).data([]byte{'b'})
		w.fmt3(4).u32(0x1000000).data([]byte{'c'})
		expect(t, w, got{8, 1, 10, "a"}, got{8, 1, 10 + 0x1000000, "b"}, got{8, 1, 10 + 0x2000000, "c"})
	})
	t.Run("extended delta of a type 1 header, and of a message of several chunks", func(t *testing.T) {
		p := random(300)
		w := new(wire).fmt0(4, 10, 1, 8, 1).data([]byte{'a'})
		w.fmt1(4, 0xFFFFFF, 300, 9).u32(0xFFFFFF).data(p[:128])
		w.fmt3(4).u32(0xFFFFFF).data(p[128:256])
		w.fmt3(4).u32(0xFFFFFF).data(p[256:])
		w.fmt2(4, 0xFFFFFE).data(p[:128])
		w.fmt3(4).data(p[128:256])
		w.fmt3(4).data(p[256:])
		expect(t, w, got{8, 1, 10, "a"}, got{9, 1, 10 + 0xFFFFFF, string(p)}, got{9, 1, 10 + 0xFFFFFF + 0xFFFFFE, string(p)})
	})
	t.Run("wraps", func(t *testing.T) {
		w := new(wire).fmt0(4, 0xFFFFFF, 1, 8, 1).u32(0xFFFFFFF0).data([]byte{'a'})
		w.fmt1(4, 0x20, 1, 8).data([]byte{'b'})
		expect(t, w, got{8, 1, 0xFFFFFFF0, "a"}, got{8, 1, 0x10, "b"})
		if d := chunk.Timestamp(0x10).Sub(0xFFFFFFF0); d != 0x20 {
			t.Errorf("difference over the wrap is %d, want 32", d)
		}
	})
}

func TestCase36_FirstHeader(t *testing.T) {
	w := new(wire).fmt1(2, 0, 6, 4).data([]byte{0, 7, 0, 0, 0, 1})
	expect(t, w, got{4, 0, 0, "\x00\x07\x00\x00\x00\x01"})
	for kind := byte(2); kind <= 3; kind++ {
		w := new(wire).basic(kind, 4).data(make([]byte, 64))
		_, err := readAll(t, w, chunk.Limits{})
		var broken *chunk.ProtocolError
		if !errors.As(err, &broken) {
			t.Errorf("type %d header first: %v, want a ProtocolError", kind, err)
		}
	}
}

func TestCase37_Type3AfterType0DoublesTheTimestamp(t *testing.T) {
	w := new(wire).fmt0(4, 1000, 1, 8, 1).data([]byte{'a'})
	w.fmt3(4).data([]byte{'b'})
	expect(t, w, got{8, 1, 1000, "a"}, got{8, 1, 2000, "b"})
}

func TestCase38_SetChunkSize(t *testing.T) {
	for _, size := range []uint32{1, 128, 4096, 65536, 0x7FFFFFFF} {
		p := random(200_000)
		w := new(wire).setChunkSize(size).fmt0(6, 0, len(p), 9, 1)
		for rest := p; ; w.fmt3(6) {
			n := min(len(rest), int(size))
			w.data(rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		expect(t, w, got{9, 1, 0, string(p)})
	}
	for _, size := range []uint32{0, 0x80000000, 0xFFFFFFFF} {
		_, err := readAll(t, new(wire).setChunkSize(size), chunk.Limits{})
		var broken *chunk.ProtocolError
		if !errors.As(err, &broken) {
			t.Errorf("size %#x: %v, want a ProtocolError", size, err)
		}
	}
	t.Run("between the chunks of a message", func(t *testing.T) {
		p := random(500)
		w := new(wire).fmt0(6, 0, 500, 9, 1).data(p[:128])
		w.setChunkSize(300)
		w.fmt3(6).data(p[128:428])
		w.fmt3(6).data(p[428:])
		expect(t, w, got{9, 1, 0, string(p)})
	})
	t.Run("on any chunk stream", func(t *testing.T) {
		w := new(wire).fmt0(5, 0, 4, 1, 0).u32(1000)
		p := random(900)
		w.fmt0(6, 0, 900, 9, 1).data(p)
		expect(t, w, got{9, 1, 0, string(p)})
	})
}

func TestCase39_Abort(t *testing.T) {
	p := random(200)
	w := new(wire).fmt0(6, 0, 200, 9, 1).data(p[:128])
	w.fmt0(2, 0, 4, 2, 0).u32(6)
	w.fmt0(6, 9, 3, 9, 1).data([]byte("abc"))
	expect(t, w, got{9, 1, 9, "abc"})
	t.Run("a new header on the same chunk stream", func(t *testing.T) {
		w := new(wire).fmt0(6, 0, 200, 9, 1).data(p[:128])
		w.fmt1(6, 4, 3, 9).data([]byte("abc"))
		expect(t, w, got{9, 1, 4, "abc"})
	})
}

func TestCase40_Limits(t *testing.T) {
	expect(t, new(wire).fmt0(4, 3, 0, 8, 1), got{8, 1, 3, ""})
	limit := func(name string, w *wire, limits chunk.Limits, what string) {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(t, w, limits)
			var over *chunk.LimitError
			if !errors.As(err, &over) || over.What != what {
				t.Errorf("%v, want a LimitError for %s", err, what)
			}
		})
	}
	limit("media one byte too long", new(wire).fmt0(6, 0, 1001, 9, 1), chunk.Limits{Media: 1000}, "message length")
	limit("command one byte too long", new(wire).fmt0(3, 0, 101, 20, 0), chunk.Limits{Other: 100}, "message length")
	limit("16 MiB declared with default limits", new(wire).fmt0(6, 0, 0xFFFFFF, 9, 1), chunk.Limits{}, "message length")
	many := new(wire)
	for csid := 2; csid < 1002; csid++ {
		many.fmt0(csid, 0, 1, 8, 1).data([]byte{0})
	}
	limit("1000 chunk streams", many, chunk.Limits{}, "chunk streams")
	partial := new(wire).setChunkSize(1)
	for csid := 3; csid < 10; csid++ {
		partial.fmt0(csid, 0, 60_000, 9, 1).data([]byte{0})
	}
	limit("incomplete messages", partial, chunk.Limits{Partial: 256 << 10}, "partial bytes")

	exactly := new(wire)
	for csid := 2; csid < 6; csid++ {
		exactly.fmt0(csid, 0, 1, 8, 1).data([]byte{0})
	}
	if list, err := readAll(t, bytes.NewReader(exactly.Bytes()), chunk.Limits{ChunkStreams: 4}); len(list) != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("four chunk streams within a limit of four: %d messages, %v", len(list), err)
	}
	limit("one chunk stream too many", new(wire).data(exactly.Bytes()).fmt0(6, 0, 1, 8, 1).data([]byte{0}), chunk.Limits{ChunkStreams: 4}, "chunk streams")

	half := func() *wire {
		w := new(wire).setChunkSize(1)
		for csid := 3; csid < 6; csid++ {
			w.fmt0(csid, 0, 60_000, 9, 1).data([]byte{0})
		}
		return w
	}
	whole := chunk.NewMessage(9, 1, 0, make([]byte, 60_000))
	memory := 3 * whole.Footprint()
	whole.Release()
	if _, err := readAll(t, half(), chunk.Limits{Partial: memory}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("incomplete messages of %d bytes of memory, which are allowed: %v", memory, err)
	}
	limit("a byte of incomplete messages too much", half(), chunk.Limits{Partial: memory - 1}, "partial bytes")
}

func TestMediaIsNotExpectedFromEveryone(t *testing.T) {
	limits := chunk.Limits{Media: 10_000, Other: 1000, Partial: 1 << 20}
	payload := random(5000)
	w := new(wire).setChunkSize(100_000).fmt0(6, 0, len(payload), 9, 1).data(payload)
	r := chunk.NewReader(bytes.NewReader(slices.Concat(w.Bytes(), w.Bytes())), limits)
	defer r.Close()
	m, err := r.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	m.Release()
	r.ExpectMedia(false)
	var over *chunk.LimitError
	if _, err := r.ReadMessage(); !errors.As(err, &over) || over.Limit != 1000 {
		t.Errorf("media from a client that does not publish: %v", err)
	}

	pieces := new(wire).setChunkSize(10)
	for csid := 3; csid < 40; csid++ {
		pieces.fmt0(csid, 0, 900, 9, 1).data(payload[:10])
	}
	r = chunk.NewReader(pieces, limits)
	defer r.Close()
	r.ExpectMedia(false)
	if _, err := r.ReadMessage(); !errors.As(err, &over) || over.What != "partial bytes" {
		t.Errorf("many incomplete messages: %v", err)
	}
}

func TestInterleaved(t *testing.T) {
	v, a := random(300), random(200)
	w := new(wire).fmt0(6, 10, 300, 9, 1).data(v[:128])
	w.fmt0(4, 11, 200, 8, 1).data(a[:128])
	w.fmt3(6).data(v[128:256])
	w.fmt3(4).data(a[128:])
	w.fmt3(6).data(v[256:])
	expect(t, w, got{8, 1, 11, string(a)}, got{9, 1, 10, string(v)})
}

func TestEveryTruncation(t *testing.T) {
	p := random(300)
	w := new(wire).fmt0(6, 0xFFFFFF, 300, 9, 1).u32(0x1000000).data(p[:128])
	w.fmt3(6).u32(0x1000000).data(p[128:256])
	w.fmt3(6).u32(0x1000000).data(p[256:])
	b := w.Bytes()
	for i := 1; i < len(b); i++ {
		if list, err := readAll(t, bytes.NewReader(b[:i]), chunk.Limits{}); len(list) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %d messages, %v", i, len(list), err)
		}
	}
	if _, err := readAll(t, bytes.NewReader(nil), chunk.Limits{}); !errors.Is(err, io.EOF) {
		t.Errorf("no bytes: %v, want io.EOF", err)
	}
}

func TestEncodeIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 129, 255, 256, 257, 4096, 65535, 65536, 65537, 131072, 200_001} {
		for _, ts := range []chunk.Timestamp{0, 0xFFFFFE, 0xFFFFFF, 0xFFFFFFFF} {
			for _, chunkSize := range []int{chunk.SegmentSize, chunk.MaxChunkSize} {
				p := random(size)
				m := chunk.NewMessage(9, 7, ts, p)
				m.Encode(6, chunkSize)
				w := new(wire).setChunkSize(uint32(chunkSize))
				n := 0
				for _, b := range m.AppendWire(nil) {
					n += len(b)
					w.data(b)
				}
				if n != m.WireLen() {
					t.Errorf("%d bytes on the wire, WireLen says %d", n, m.WireLen())
				}
				m.Release()
				expect(t, w, got{9, 7, ts, string(p)})
			}
		}
	}
}

func TestClone(t *testing.T) {
	p := random(70_000)
	m := chunk.NewMessage(9, 1, 5, p)
	m.Class = chunk.ClassKeyframe
	c := m.Clone(3)
	m.Release()
	if c.StreamID != 3 || c.Timestamp != 5 || c.Class != chunk.ClassKeyframe || !bytes.Equal(c.Bytes(), p) {
		t.Error("clone differs")
	}
	c.Release()
}

// wireAgain is what our own writer makes of messages.
func wireAgain(list []got) []byte {
	w := new(wire).setChunkSize(chunk.SegmentSize)
	for _, g := range list {
		m := chunk.NewMessage(g.typeID, g.msid, g.ts, []byte(g.payload))
		m.Encode(6, chunk.SegmentSize)
		for _, b := range m.AppendWire(nil) {
			w.data(b)
		}
		m.Release()
	}
	return w.Bytes()
}

// checkHeld reads b and checks that no more memory is held for messages that are
// not complete than is counted, than is allowed, and than their bytes need: a
// segment begins with its first byte.
func checkHeld(t *testing.T, b []byte, limits chunk.Limits) {
	t.Helper()
	const header = 16 // in front of a segment
	r := chunk.NewReader(iotest.OneByteReader(bytes.NewReader(b)), limits)
	defer r.Close()
	r.OnWait(func() error {
		memory, counted := r.Held()
		most := min(limits.Partial, 2*int(r.BytesRead())+limits.ChunkStreams*(chunk.SegmentSize+header))
		if memory != counted || memory > most {
			t.Fatalf("%d bytes held and %d counted after %d, want at most %d", memory, counted, r.BytesRead(), most)
		}
		return nil
	})
	for {
		m, err := r.ReadMessage()
		if err != nil {
			return
		}
		m.Release()
	}
}

// FuzzReader reads whatever comes: how it arrives makes no difference, what is held
// for incomplete messages is bounded by it, and the messages survive being written.
func FuzzReader(f *testing.F) {
	f.Add(new(wire).fmt0(6, 0xFFFFFF, 300, 9, 1).u32(0x1000000).data(random(128)).fmt3(6).u32(0x1000000).data(random(128)).Bytes())
	f.Add(new(wire).setChunkSize(4096).fmt0(3, 0, 20, 20, 0).data(random(20)).fmt1(4, 3, 5, 8).data(random(5)).Bytes())
	f.Add(new(wire).fmt0(6, 0, 200, 9, 1).data(random(128)).fmt0(2, 0, 4, 2, 0).u32(6).Bytes())
	captures, err := testdata.Captures()
	if err != nil {
		f.Fatal(err)
	}
	const handshake, enough = 1 + 2*1536, 2 << 10 // bytes: all commands, and the first media
	for _, c := range captures {
		for _, b := range [][]byte{c.ClientToServer[handshake:], c.ServerToClient[handshake:]} {
			f.Add(b[:min(len(b), enough)])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		limits := chunk.Limits{Media: 1 << 20, Other: 64 << 10, ChunkStreams: 16, Partial: 1 << 20}
		whole, err1 := readAll(t, bytes.NewReader(b), limits)
		cut, err2 := readAll(t, &hesitant{Reader: iotest.OneByteReader(bytes.NewReader(b))}, limits)
		if len(whole) != len(cut) || err1.Error() != err2.Error() {
			t.Fatalf("read whole: %d messages, %v; bytewise: %d messages, %v", len(whole), err1, len(cut), err2)
		}
		for i := range whole {
			if whole[i] != cut[i] {
				t.Fatalf("message %d depends on how the bytes arrive", i)
			}
		}
		checkHeld(t, b, limits)
		again, err := readAll(t, bytes.NewReader(wireAgain(whole)), limits)
		if !slices.Equal(again, whole) || !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d messages became %d when written again, %v", len(whole), len(again), err)
		}
	})
}

// Whoever has got a message may keep the reader waiting: it holds a buffer meanwhile only for what has come behind the message.
func TestReaderHoldsNoEmptyBuffer(t *testing.T) {
	var w wire
	w.fmt0(3, 0, 5, 20, 0).data([]byte("first")).fmt0(3, 0, 6, 20, 0).data([]byte("second"))
	r := chunk.NewReader(&w, chunk.Limits{})
	for i, lent := range []bool{true, false} {
		m, err := r.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		m.Release()
		if r.Lent() != lent {
			t.Errorf("behind message %d: buffer held is %v, want %v", i, r.Lent(), lent)
		}
	}
}
