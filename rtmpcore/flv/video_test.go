package flv_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"culvert/rtmpcore/flv"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()

	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}

	return b
}

// long returns n bytes in hex.
func long(n int) string { return strings.Repeat("55", n) }

type track struct {
	id          uint8
	codec       flv.Codec
	composition int32
	body        string
}

// is abbreviates what the Is methods say: s sequence header, e sequence end,
// m metadata or multichannel config, f frame, k keyframe, d disposable.
func isVideo(h flv.VideoHeader) string {
	var s strings.Builder

	for _, f := range []struct {
		c  byte
		is bool
	}{
		{'s', h.IsSequenceHeader()},
		{'e', h.IsSequenceEnd()},
		{'m', h.IsMetadata()},
		{'f', h.IsFrame()},
		{'k', h.IsKeyframe()},
		{'d', h.IsDisposable()},
	} {
		if f.is {
			s.WriteByte(f.c)
		}
	}

	return s.String()
}

var videos = []struct {
	name   string
	wire   string
	header flv.VideoHeader
	is     string
	tracks []track
}{
	{
		"H.264 sequence header", "17 00 000000 0164",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoSequenceStart, Codec: flv.CodecAVC, Body: 5},
		"s",
		[]track{{codec: flv.CodecAVC, body: "0164"}},
	},
	{
		"H.264 keyframe", "17 01 000050 aabb",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecAVC, CompositionTime: 80, Body: 5},
		"fk",
		[]track{{codec: flv.CodecAVC, composition: 80, body: "aabb"}},
	},
	{
		"H.264 inter frame, presented earlier", "27 01 ffffff aa",
		flv.VideoHeader{FrameType: flv.FrameInter, PacketType: flv.VideoCodedFrames, Codec: flv.CodecAVC, CompositionTime: -1, Body: 5},
		"f",
		[]track{{codec: flv.CodecAVC, composition: -1, body: "aa"}},
	},
	{
		"H.264 disposable frame", "37 01 000000 aa",
		flv.VideoHeader{FrameType: flv.FrameDisposable, PacketType: flv.VideoCodedFrames, Codec: flv.CodecAVC, Body: 5},
		"fd",
		[]track{{codec: flv.CodecAVC, body: "aa"}},
	},
	{
		"H.264 end of sequence, composition time left out", "17 02",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoSequenceEnd, Codec: flv.CodecAVC, Body: 2},
		"e",
		[]track{{codec: flv.CodecAVC}},
	},
	{
		"H.264 unknown packet type", "17 03 000000",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoUnknown, Codec: flv.CodecAVC, Body: 5},
		"",
		[]track{{codec: flv.CodecAVC}},
	},
	{
		"H.264 cut", "17",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoUnknown, Codec: flv.CodecAVC, Body: 1, Truncated: true},
		"",
		nil,
	},
	{
		"HEVC as id 12, sequence header", "1c 00 000000 01",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoSequenceStart, Codec: flv.CodecHEVC, Body: 5},
		"s",
		[]track{{codec: flv.CodecHEVC, body: "01"}},
	},
	{
		"HEVC as id 12, frame", "2c 01 000001 aa",
		flv.VideoHeader{FrameType: flv.FrameInter, PacketType: flv.VideoCodedFrames, Codec: flv.CodecHEVC, CompositionTime: 1, Body: 5},
		"f",
		[]track{{codec: flv.CodecHEVC, composition: 1, body: "aa"}},
	},
	{
		"Sorenson keyframe", "12 00 00",
		flv.VideoHeader{FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecSorenson, Body: 1},
		"fk",
		[]track{{codec: flv.CodecSorenson, body: "0000"}},
	},
	{
		"VP6 generated keyframe", "44 00",
		flv.VideoHeader{FrameType: flv.FrameGeneratedKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecVP6, Body: 1},
		"fk",
		[]track{{codec: flv.CodecVP6, body: "00"}},
	},
	{
		"legacy command", "57 01",
		flv.VideoHeader{FrameType: flv.FrameCommand, PacketType: flv.VideoUnknown, Command: flv.CommandSeekEnd, Body: 2},
		"",
		nil,
	},
	{
		"legacy command cut", "57",
		flv.VideoHeader{FrameType: flv.FrameCommand, PacketType: flv.VideoUnknown, Body: 1, Truncated: true},
		"",
		nil,
	},
	{
		"empty", "",
		flv.VideoHeader{PacketType: flv.VideoUnknown, Truncated: true},
		"",
		nil,
	},
	{
		"HEVC sequence start", "90 68766331 0102",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoSequenceStart, Codec: flv.CodecHEVC, Body: 5},
		"s",
		[]track{{codec: flv.CodecHEVC, body: "0102"}},
	},
	{
		"HEVC coded frames with composition time", "91 68766331 000021 aa",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecHEVC,
			CompositionTime: 33, Body: 8,
		},
		"fk",
		[]track{{codec: flv.CodecHEVC, composition: 33, body: "aa"}},
	},
	{
		"HEVC coded frames without", "a3 68766331 aa",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameInter, PacketType: flv.VideoCodedFramesX, Codec: flv.CodecHEVC, Body: 5},
		"f",
		[]track{{codec: flv.CodecHEVC, body: "aa"}},
	},
	{
		"AV1 coded frames have no composition time", "91 61763031 0a0b0c0d",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecAV1, Body: 5},
		"fk",
		[]track{{codec: flv.CodecAV1, body: "0a0b0c0d"}},
	},
	{
		"VP9 disposable", "b1 76703039 aa",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameDisposable, PacketType: flv.VideoCodedFrames, Codec: flv.CodecVP9, Body: 5},
		"fd",
		[]track{{codec: flv.CodecVP9, body: "aa"}},
	},
	{
		"AV1 sequence start of MPEG-2 TS", "95 61763031 80",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoMPEG2TSStart, Codec: flv.CodecAV1, Body: 5},
		"s",
		[]track{{codec: flv.CodecAV1, body: "80"}},
	},
	{
		"sequence end", "92 61766331",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoSequenceEnd, Codec: flv.CodecAVC, Body: 5},
		"e",
		[]track{{codec: flv.CodecAVC}},
	},
	{
		"metadata, marked as a command frame", "d4 68766331 02",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameCommand, PacketType: flv.VideoMetadata, Codec: flv.CodecHEVC, Body: 5},
		"m",
		[]track{{codec: flv.CodecHEVC, body: "02"}},
	},
	{
		"enhanced command", "d1 00",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameCommand, PacketType: flv.VideoUnknown, Body: 2},
		"",
		nil,
	},
	{
		"unknown packet type", "9c 68766331 aa",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: 12, Codec: flv.CodecHEVC, Body: 5},
		"",
		[]track{{codec: flv.CodecHEVC, body: "aa"}},
	},
	{
		"unknown FourCC", "93 7878787a aa",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFramesX, Codec: 0x7878787a, Body: 5},
		"fk",
		[]track{{codec: 0x7878787a, body: "aa"}},
	},
	{
		"FourCC cut", "90 687663",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoSequenceStart, Body: 4, Truncated: true},
		"",
		nil,
	},
	{
		"nanosecond offset", "97 02 0f423f 01 68766331 000000 aa",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames, Codec: flv.CodecHEVC,
			NanoOffset: 999_999, Body: 13,
		},
		"fk",
		[]track{{codec: flv.CodecHEVC, body: "aa"}},
	},
	{
		"nanosecond offset beyond a millisecond", "97 02 ffffff 03 68766331",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFramesX, Codec: flv.CodecHEVC,
			NanoOffset: 999_999, Body: 10,
		},
		"fk",
		[]track{{codec: flv.CodecHEVC}},
	},
	{
		"modifiers in a row, one of 256 bytes, one unknown",
		"a7 ff00ff" + long(256) + "17 00 55 17 02 000007 03 61763031 bb",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameInter, PacketType: flv.VideoCodedFramesX, Codec: flv.CodecAV1,
			NanoOffset: 7, Body: 1 + 3 + 257 + 3 + 5 + 4,
		},
		"f",
		[]track{{codec: flv.CodecAV1, body: "bb"}},
	},
	{
		"modifier cut in its data", "97 02 0000",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: 7, Body: 4, Truncated: true},
		"",
		nil,
	},
	{
		"one track", "96 00 61766331 03 0164",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoSequenceStart, Codec: flv.CodecAVC,
			Multitrack: true, Layout: flv.OneTrack, Body: 6,
		},
		"s",
		[]track{{id: 3, codec: flv.CodecAVC, body: "0164"}},
	},
	{
		"many tracks", "a6 11 68766331 00 000005 000028 aabb 01 000004 000000 cc",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameInter, PacketType: flv.VideoCodedFrames, Codec: flv.CodecHEVC,
			Multitrack: true, Layout: flv.ManyTracks, Body: 6,
		},
		"f",
		[]track{{0, flv.CodecHEVC, 40, "aabb"}, {1, flv.CodecHEVC, 0, "cc"}},
	},
	{
		"many tracks, many codecs", "96 21 61763031 00 000002 aabb 61766331 ff 000004 000001 cc",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFrames,
			Multitrack: true, Layout: flv.ManyTracksManyCodecs, Body: 2,
		},
		"fk",
		[]track{{0, flv.CodecAV1, 0, "aabb"}, {255, flv.CodecAVC, 1, "cc"}},
	},
	{
		"many tracks, the second beyond the part given", "96 13 68766331 00 000004 aabbccdd 01 ffffff cc",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFramesX, Codec: flv.CodecHEVC,
			Multitrack: true, Layout: flv.ManyTracks, Body: 6,
		},
		"fk",
		[]track{{0, flv.CodecHEVC, 0, "aabbccdd"}, {1, flv.CodecHEVC, 0, "cc"}},
	},
	{
		"unknown layout", "96 33 68766331 00",
		flv.VideoHeader{
			Enhanced: true, FrameType: flv.FrameKey, PacketType: flv.VideoCodedFramesX, Codec: flv.CodecHEVC,
			Multitrack: true, Layout: 3, Body: 6,
		},
		"fk",
		nil,
	},
	{
		"layout cut", "96",
		flv.VideoHeader{Enhanced: true, FrameType: flv.FrameKey, PacketType: 6, Body: 1, Truncated: true},
		"",
		nil,
	},
}

func collect(it flv.TrackIterator) (ts []track) {
	for tr, ok := it.Next(); ok; tr, ok = it.Next() {
		ts = append(ts, track{tr.ID, tr.Codec, tr.CompositionTime, hex.EncodeToString(tr.Body)})
	}

	return ts
}

func TestParseVideo(t *testing.T) {
	t.Parallel()

	for _, tt := range videos {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			b := unhex(t, tt.wire)

			h := flv.ParseVideo(b)
			if h != tt.header {
				t.Errorf("got  %+v\nwant %+v", h, tt.header)
			}

			if got := isVideo(h); got != tt.is {
				t.Errorf("is %q, want %q", got, tt.is)
			}

			if got := collect(h.Tracks(b)); !reflect.DeepEqual(got, tt.tracks) {
				t.Errorf("tracks %+v, want %+v", got, tt.tracks)
			}

			set := h.TrackSet(b)
			for _, tr := range tt.tracks {
				if !set.Has(tr.id) {
					t.Errorf("track %d is not in %x", tr.id, set)
				}
			}
		})
	}
}

// TestVideoTruncated: every beginning of a payload is read without harm, and says
// what the whole says as soon as it is no longer Truncated.
func TestVideoTruncated(t *testing.T) {
	t.Parallel()

	for _, tt := range videos {
		b := unhex(t, tt.wire)

		for i := range b {
			h := flv.ParseVideo(b[:i])
			if h.Body > i {
				t.Errorf("%s cut at %d: body at %d", tt.name, i, h.Body)
			}

			collect(h.Tracks(b[:i]))

			if h.Truncated {
				if is := isVideo(h); is != "" {
					t.Errorf("%s cut at %d: is %q", tt.name, i, is)
				}
			} else if is := isVideo(h); is != tt.is || h.Codec != tt.header.Codec || h.PacketType != tt.header.PacketType {
				t.Errorf("%s cut at %d: is %q, %+v", tt.name, i, is, h)
			}
		}
	}
}

func TestParsingDoesNotAllocate(t *testing.T) {
	var payloads [][]byte
	for _, tt := range videos {
		payloads = append(payloads, unhex(t, tt.wire))
	}

	if n := testing.AllocsPerRun(100, func() {
		for _, b := range payloads {
			h := flv.ParseVideo(b)
			_ = h.TrackSet(b)
			_ = isSequence(h, b)
			a := flv.ParseAudio(b)
			_ = a.TrackSet(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func isSequence(h flv.VideoHeader, b []byte) bool {
	it := h.Tracks(b)
	_, ok := it.Next()

	return ok && h.IsSequenceHeader()
}

func FuzzVideo(f *testing.F) {
	for _, tt := range videos {
		f.Add(unhex(f, tt.wire))
	}

	for _, b := range payloads(f, flv.TagVideo) {
		f.Add(b)
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		h := flv.ParseVideo(b)
		if h.Body < 0 || h.Body > len(b) || h.NanoOffset > 999_999 || h.Truncated && isVideo(h) != "" {
			t.Fatalf("%+v", h)
		}

		checkTracks(t, b, h.Multitrack, h.Tracks(b))
	})
}

// checkTracks: tracks are parts of the payload that do not overlap, and no more
// than fit.
func checkTracks(t *testing.T, b []byte, multitrack bool, it flv.TrackIterator) {
	t.Helper()

	n, total := 0, 0

	for tr, ok := it.Next(); ok; tr, ok = it.Next() {
		n++
		total += len(tr.Body)

		if !bytes.Contains(b, tr.Body) {
			t.Fatal("a track is not in the payload")
		}
	}

	if total > len(b) || n > len(b)+1 || !multitrack && n > 1 {
		t.Fatalf("%d tracks of %d bytes in %d bytes", n, total, len(b))
	}
}
