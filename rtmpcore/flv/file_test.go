package flv_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"

	"culvert/rtmpcore/flv"
)

// A file of four tags, byte by byte.
const file = "464c56 01 05 00000009 00000000" +
	"12 000003 000000 00 000000 020000 0000000e" +
	"09 000002 000021 00 000000 1701 0000000d" +
	"08 000000 ffffff 00 000000 0000000b" +
	"29 000001 000001 ff 000000 17 0000000c"

var (
	fileHeader = flv.Header{Version: 1, Audio: true, Video: true}
	fileTags   = []flv.Tag{
		{Type: flv.TagScript, Data: []byte{2, 0, 0}},
		{Type: flv.TagVideo, Timestamp: 33, Data: []byte{0x17, 1}},
		{Type: flv.TagAudio, Timestamp: 0xFFFFFF, Data: []byte{}},
		{Type: flv.TagVideo, Timestamp: 0xFF000001, Filtered: true, Data: []byte{0x17}},
	}
	tagEnds = []int{13 + 18, 13 + 18 + 17, 13 + 18 + 17 + 15, 13 + 18 + 17 + 15 + 16}
)

// readAll returns the tags of r, with their data copied.
func readAll(r *flv.Reader) (tags []flv.Tag, err error) {
	for {
		tag, err := r.Next()
		if err != nil {
			return tags, err
		}

		tag.Data = append([]byte{}, tag.Data...)
		tags = append(tags, tag)
	}
}

// bareEOF tells whether err is io.EOF itself, as the end between tags is.
func bareEOF(err error) bool {
	return errors.Is(err, io.EOF) && errors.Unwrap(err) == nil
}

func TestWriter(t *testing.T) {
	t.Parallel()

	var got bytes.Buffer

	w := flv.NewWriter(&got)
	if err := w.WriteHeader(fileHeader); err != nil {
		t.Fatal(err)
	}

	for _, tag := range fileTags {
		if err := w.WriteTag(tag); err != nil {
			t.Fatal(err)
		}
	}

	if want := unhex(t, file); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got  %x\nwant %x", got.Bytes(), want)
	}
}

func TestReader(t *testing.T) {
	t.Parallel()

	wrong := unhex(t, file)
	for _, end := range tagEnds {
		copy(wrong[end-4:], []byte{0xde, 0xad, 0xbe, 0xef})
	}

	b := unhex(t, file)

	for name, in := range map[string]io.Reader{
		"in one piece":                      bytes.NewReader(b),
		"one byte at a time":                iotest.OneByteReader(bytes.NewReader(b)),
		"wrong back pointers":               bytes.NewReader(wrong),
		"last back pointer missing":         bytes.NewReader(b[:len(b)-4]),
		"last back pointer cut off":         bytes.NewReader(b[:len(b)-1]),
		"header with an extension":          bytes.NewReader(unhex(t, "464c56 01 05 0000000b aabb"+file[22:])),
		"version 0, as some writers put it": bytes.NewReader(unhex(t, "464c56 00"+file[9:])),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			r := flv.NewReader(in, flv.ReaderConfig{})

			for range 2 {
				if h, err := r.Header(); err != nil || h != fileHeader {
					t.Fatalf("header %+v, %v", h, err)
				}
			}

			got, err := readAll(r)
			if !bareEOF(err) {
				t.Errorf("end: %v", err)
			}

			if !reflect.DeepEqual(got, fileTags) {
				t.Errorf("got  %+v\nwant %+v", got, fileTags)
			}

			if _, err := r.Next(); !bareEOF(err) {
				t.Errorf("after the end: %v", err)
			}

			if h, err := r.Header(); err != nil || h != fileHeader {
				t.Errorf("header after the end %+v, %v", h, err)
			}
		})
	}
}

// TestReaderTruncated cuts the file at every byte: the tags that are whole are
// read, and the error tells whether one is cut.
func TestReaderTruncated(t *testing.T) {
	t.Parallel()

	b := unhex(t, file)

	for i := range b {
		whole := 0
		clean := i >= 9 && i <= 13

		for _, end := range tagEnds {
			if i >= end-4 {
				whole++
				clean = i <= end
			}
		}

		got, err := readAll(flv.NewReader(bytes.NewReader(b[:i]), flv.ReaderConfig{}))
		if len(got) != whole {
			t.Errorf("cut at %d: %d tags, want %d", i, len(got), whole)
		}

		want := io.ErrUnexpectedEOF
		if clean || i == 0 {
			want = io.EOF
		}

		if !errors.Is(err, want) {
			t.Errorf("cut at %d: %v, want %v", i, err, want)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()

	failed := errors.New("disk")

	for name, tt := range map[string]struct {
		in   io.Reader
		want error
	}{
		"no FLV":           {bytes.NewReader(unhex(t, "464c58 01 05 00000009 00000000")), flv.ErrFormat},
		"header too short": {bytes.NewReader(unhex(t, "464c56 01 05 00000008 00000000")), flv.ErrFormat},
		"header too long":  {bytes.NewReader(unhex(t, "464c56 01 05 ffffffff 00000000")), flv.ErrFormat},
		"disk":             {iotest.ErrReader(failed), failed},
		"disk, later":      {io.MultiReader(bytes.NewReader(unhex(t, file)[:40]), iotest.ErrReader(failed)), failed},
	} {
		r := flv.NewReader(tt.in, flv.ReaderConfig{})

		_, err := readAll(r)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}

		if _, again := r.Next(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: %v, then %v", name, err, again)
		}
	}
}

func TestReaderLimit(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		max, size int
		want      error
	}{
		"within the default": {0, 8 << 20, io.EOF},
		"beyond the default": {0, 8<<20 + 1, flv.ErrTagSize},
		"within":             {10, 10, io.EOF},
		"beyond":             {10, 11, flv.ErrTagSize},
		"the format's own":   {flv.MaxTagSize, flv.MaxTagSize, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b, err := flv.AppendTag(flv.AppendHeader(nil, fileHeader), flv.Tag{Data: make([]byte, tt.size)})
			if err != nil {
				t.Fatal(err)
			}

			tags, err := readAll(flv.NewReader(bytes.NewReader(b), flv.ReaderConfig{MaxTag: tt.max}))
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}

			if errors.Is(tt.want, io.EOF) && (len(tags) != 1 || len(tags[0].Data) != tt.size) {
				t.Errorf("%d tags", len(tags))
			}
		})
	}
}

// TestReaderGrowsWithInput: a header that promises 16 MB costs what follows it.
func TestReaderGrowsWithInput(t *testing.T) {
	in := unhex(t, "464c56 01 05 00000009 00000000 09 ffffff 000000 00 000000 17")
	r := flv.NewReader(bytes.NewReader(in), flv.ReaderConfig{MaxTag: flv.MaxTagSize})

	var before, after runtime.MemStats

	runtime.ReadMemStats(&before)

	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}

	runtime.ReadMemStats(&after)

	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
		t.Errorf("%d bytes allocated", got)
	}
}

func TestReaderOffset(t *testing.T) {
	t.Parallel()

	r := flv.NewReader(bytes.NewReader(unhex(t, file)), flv.ReaderConfig{})
	if _, err := r.Header(); err != nil || r.Offset() != 13 {
		t.Errorf("after the header: %d, %v", r.Offset(), err)
	}

	for _, end := range tagEnds {
		if _, err := r.Next(); err != nil || r.Offset() != int64(end) {
			t.Errorf("offset %d, want %d, %v", r.Offset(), end, err)
		}
	}
}

func TestReaderReusesItsBuffer(t *testing.T) {
	var b []byte

	for range 200 {
		var err error
		if b, err = flv.AppendTag(b, flv.Tag{Data: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}

	r := flv.NewReader(bytes.NewReader(append(flv.AppendHeader(nil, fileHeader), b...)), flv.ReaderConfig{})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}

	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a tag", n)
	}
}

func TestWriterRefuses(t *testing.T) {
	t.Parallel()

	var out bytes.Buffer

	err := flv.NewWriter(&out).WriteTag(flv.Tag{Data: make([]byte, flv.MaxTagSize+1)})
	if !errors.Is(err, flv.ErrTagSize) || out.Len() != 0 {
		t.Errorf("%v, %d bytes written", err, out.Len())
	}

	r, w := io.Pipe()
	r.Close()

	if err := flv.NewWriter(w).WriteHeader(fileHeader); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// TestWriterBuffer: small tags share a buffer, and one write carries a tag.
func TestWriterBuffer(t *testing.T) {
	count := &countingWriter{}
	w := flv.NewWriter(count)
	large := flv.Tag{Type: flv.TagVideo, Data: make([]byte, 1<<20)}
	small := flv.Tag{Type: flv.TagAudio, Data: make([]byte, 500)}

	for _, tag := range []flv.Tag{small, large, small} {
		if err := w.WriteTag(tag); err != nil {
			t.Fatal(err)
		}
	}

	if want := []int{515, 1<<20 + 15, 515}; !reflect.DeepEqual(count.writes, want) {
		t.Errorf("writes of %v bytes, want %v", count.writes, want)
	}

	w = flv.NewWriter(io.Discard)
	if n := testing.AllocsPerRun(100, func() {
		if err := w.WriteTag(small); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a tag", n)
	}
}

type countingWriter struct{ writes []int }

func (w *countingWriter) Write(b []byte) (int, error) {
	w.writes = append(w.writes, len(b))

	return len(b), nil
}

// FuzzReader reads files, and writes and reads them again. Memory is bounded by the
// input, whatever the tags say of their size.
func FuzzReader(f *testing.F) {
	f.Add(unhex(f, file))
	f.Add(unhex(f, "464c56 01 05 00000009 00000000 09 ffffff 000000 00 000000 17"))
	f.Add(unhex(f, "464c56 01 05 00000009 00000000 09 7fffff 000000 00 000000 17"))

	for _, b := range capturedFiles(f) {
		f.Add(b)
	}

	f.Fuzz(func(t *testing.T, in []byte) {
		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)

		r := flv.NewReader(bytes.NewReader(in), flv.ReaderConfig{})

		h, err := r.Header()
		if err != nil {
			return
		}

		tags, err := readAll(r)

		runtime.ReadMemStats(&after)

		// A buffer, the beginning of a tag, and the copies of the tags here.
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(in))*32+256<<10 {
			t.Fatalf("%d bytes allocated for %d", got, len(in))
		}

		if r.Offset() > int64(len(in)) || len(tags) > len(in)/11 {
			t.Fatalf("%d tags and offset %d from %d bytes", len(tags), r.Offset(), len(in))
		}

		if err == nil {
			t.Fatal("no end")
		}

		var out bytes.Buffer

		w := flv.NewWriter(&out)
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}

		for _, tag := range tags {
			if err := w.WriteTag(tag); err != nil {
				t.Fatal(err)
			}
		}

		r = flv.NewReader(&out, flv.ReaderConfig{})

		again, err := readAll(r)
		if !bareEOF(err) || !reflect.DeepEqual(again, tags) {
			t.Fatalf("%v: %+v became %+v", err, tags, again)
		}

		if got, err := r.Header(); err != nil || got != h {
			t.Fatalf("%v: %+v became %+v", err, h, got)
		}
	})
}
