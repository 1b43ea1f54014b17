package flv_test

import (
	"bytes"
	"testing"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/testdata"
)

// captured returns what encoders and servers sent, as the tags of one file for each direction of a capture.
func captured(tb testing.TB) [][]flv.Tag {
	tb.Helper()

	captures, err := testdata.Captures()
	if err != nil {
		tb.Fatal(err)
	}

	const handshake = 1 + 2*1536

	var files [][]flv.Tag

	for _, c := range captures {
		for _, b := range [][]byte{c.ClientToServer[handshake:], c.ServerToClient[handshake:]} {
			if tags := tagsOf(b); len(tags) > 0 {
				files = append(files, tags)
			}
		}
	}

	if len(files) == 0 {
		tb.Fatal("no media in the captures")
	}

	return files
}

// tagsOf returns the first audio, video and data messages of a chunk stream.
func tagsOf(b []byte) []flv.Tag {
	const enough = 12

	r := chunk.NewReader(bytes.NewReader(b), chunk.Limits{})
	defer r.Close()

	var tags []flv.Tag

	for len(tags) < enough {
		m, err := r.ReadMessage()
		if err != nil {
			return tags
		}

		switch typ := flv.TagType(m.TypeID); typ {
		case flv.TagAudio, flv.TagVideo, flv.TagScriptAMF3, flv.TagScript:
			tags = append(tags, flv.Tag{Type: typ, Timestamp: uint32(m.Timestamp), Data: m.AppendPayload(nil)})
		}

		m.Release()
	}

	return tags
}

// payloads returns the data of the captured tags of one type.
func payloads(tb testing.TB, typ flv.TagType) [][]byte {
	tb.Helper()

	var all [][]byte

	for _, tags := range captured(tb) {
		for _, tag := range tags {
			if tag.Type == typ {
				all = append(all, tag.Data)
			}
		}
	}

	return all
}

// capturedFiles returns the captured tags as FLV files.
func capturedFiles(tb testing.TB) [][]byte {
	tb.Helper()

	var files [][]byte

	for _, tags := range captured(tb) {
		var b bytes.Buffer

		w := flv.NewWriter(&b)
		if err := w.WriteHeader(flv.Header{Audio: true, Video: true}); err != nil {
			tb.Fatal(err)
		}

		for _, tag := range tags {
			if err := w.WriteTag(tag); err != nil {
				tb.Fatal(err)
			}
		}

		files = append(files, b.Bytes())
	}

	return files
}
