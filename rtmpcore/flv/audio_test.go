package flv_test

import (
	"reflect"
	"strings"
	"testing"

	"culvert/rtmpcore/flv"
)

func isAudio(h flv.AudioHeader) string {
	var s strings.Builder

	for _, f := range []struct {
		c  byte
		is bool
	}{
		{'s', h.IsSequenceHeader()},
		{'e', h.IsSequenceEnd()},
		{'m', h.IsMultichannelConfig()},
		{'f', h.IsFrame()},
	} {
		if f.is {
			s.WriteByte(f.c)
		}
	}

	return s.String()
}

var audios = []struct {
	name   string
	wire   string
	header flv.AudioHeader
	is     string
	tracks []track
}{
	{
		"silence", "",
		flv.AudioHeader{PacketType: flv.AudioUnknown, Silence: true},
		"",
		nil,
	},
	{
		"AAC sequence header", "af 00 1210",
		flv.AudioHeader{PacketType: flv.AudioSequenceStart, Codec: flv.CodecAAC, SampleRate: 44100, Bits: 16, Channels: 2, Body: 2},
		"s",
		[]track{{codec: flv.CodecAAC, body: "1210"}},
	},
	{
		"AAC frame", "af 01 aa",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecAAC, SampleRate: 44100, Bits: 16, Channels: 2, Body: 2},
		"f",
		[]track{{codec: flv.CodecAAC, body: "aa"}},
	},
	{
		"AAC unknown packet type", "af 02",
		flv.AudioHeader{PacketType: flv.AudioUnknown, Codec: flv.CodecAAC, SampleRate: 44100, Bits: 16, Channels: 2, Body: 2},
		"",
		[]track{{codec: flv.CodecAAC}},
	},
	{
		"AAC cut", "af",
		flv.AudioHeader{
			PacketType: flv.AudioUnknown, Codec: flv.CodecAAC, SampleRate: 44100, Bits: 16, Channels: 2, Body: 1, Truncated: true,
		},
		"",
		nil,
	},
	{
		"MP3", "2a ff",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecMP3, SampleRate: 22050, Bits: 16, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecMP3, body: "ff"}},
	},
	{
		"MP3 at 8 kHz", "e2",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecMP3, SampleRate: 8000, Bits: 16, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecMP3}},
	},
	{
		"PCM", "30 00",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecPCMLE, SampleRate: 5512, Bits: 8, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecPCMLE, body: "00"}},
	},
	{
		"ADPCM", "15",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecADPCM, SampleRate: 11025, Bits: 8, Channels: 2, Body: 1},
		"f",
		[]track{{codec: flv.CodecADPCM}},
	},
	{
		"Speex", "b6 01",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecSpeex, SampleRate: 16000, Bits: 16, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecSpeex, body: "01"}},
	},
	{
		"Nellymoser at 16 kHz", "43",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecNellymoser16, SampleRate: 16000, Bits: 16, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecNellymoser16}},
	},
	{
		"Nellymoser at 8 kHz", "53",
		flv.AudioHeader{PacketType: flv.AudioCodedFrames, Codec: flv.CodecNellymoser8, SampleRate: 8000, Bits: 16, Channels: 1, Body: 1},
		"f",
		[]track{{codec: flv.CodecNellymoser8}},
	},
	{
		"Opus sequence start", "90 4f707573 4f70",
		flv.AudioHeader{Enhanced: true, PacketType: flv.AudioSequenceStart, Codec: flv.CodecOpus, Body: 5},
		"s",
		[]track{{codec: flv.CodecOpus, body: "4f70"}},
	},
	{
		"FLAC frame", "91 664c6143 aa",
		flv.AudioHeader{Enhanced: true, PacketType: flv.AudioCodedFrames, Codec: flv.CodecFLAC, Body: 5},
		"f",
		[]track{{codec: flv.CodecFLAC, body: "aa"}},
	},
	{
		"AC-3 sequence end", "92 61632d33",
		flv.AudioHeader{Enhanced: true, PacketType: flv.AudioSequenceEnd, Codec: flv.CodecAC3, Body: 5},
		"e",
		[]track{{codec: flv.CodecAC3}},
	},
	{
		"multichannel config", "94 65632d33 0106",
		flv.AudioHeader{Enhanced: true, PacketType: flv.AudioMultichannelConfig, Codec: flv.CodecEAC3, Body: 5},
		"m",
		[]track{{codec: flv.CodecEAC3, body: "0106"}},
	},
	{
		"unknown packet type", "9c 6d703461 00",
		flv.AudioHeader{Enhanced: true, PacketType: 12, Codec: flv.CodecAAC, Body: 5},
		"",
		[]track{{codec: flv.CodecAAC, body: "00"}},
	},
	{
		"nanosecond offset", "97 02 000064 01 2e6d7033 aa",
		flv.AudioHeader{Enhanced: true, PacketType: flv.AudioCodedFrames, Codec: flv.CodecMP3, NanoOffset: 100, Body: 10},
		"f",
		[]track{{codec: flv.CodecMP3, body: "aa"}},
	},
	{
		"one track", "95 01 4f707573 02 aabb",
		flv.AudioHeader{
			Enhanced: true, PacketType: flv.AudioCodedFrames, Codec: flv.CodecOpus,
			Multitrack: true, Layout: flv.OneTrack, Body: 6,
		},
		"f",
		[]track{{id: 2, codec: flv.CodecOpus, body: "aabb"}},
	},
	{
		"many tracks", "95 11 6d703461 01 000002 aabb 02 000001 cc",
		flv.AudioHeader{
			Enhanced: true, PacketType: flv.AudioCodedFrames, Codec: flv.CodecAAC,
			Multitrack: true, Layout: flv.ManyTracks, Body: 6,
		},
		"f",
		[]track{{id: 1, codec: flv.CodecAAC, body: "aabb"}, {id: 2, codec: flv.CodecAAC, body: "cc"}},
	},
	{
		"many tracks, many codecs", "95 20 6d703461 00 000001 aa 4f707573 01 000000",
		flv.AudioHeader{
			Enhanced: true, PacketType: flv.AudioSequenceStart,
			Multitrack: true, Layout: flv.ManyTracksManyCodecs, Body: 2,
		},
		"s",
		[]track{{id: 0, codec: flv.CodecAAC, body: "aa"}, {id: 1, codec: flv.CodecOpus}},
	},
}

func TestParseAudio(t *testing.T) {
	t.Parallel()

	for _, tt := range audios {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			b := unhex(t, tt.wire)

			h := flv.ParseAudio(b)
			if h != tt.header {
				t.Errorf("got  %+v\nwant %+v", h, tt.header)
			}

			if got := isAudio(h); got != tt.is {
				t.Errorf("is %q, want %q", got, tt.is)
			}

			if got := collect(h.Tracks(b)); !reflect.DeepEqual(got, tt.tracks) {
				t.Errorf("tracks %+v, want %+v", got, tt.tracks)
			}

			for i := range b {
				part := flv.ParseAudio(b[:i])
				if part.Body > i || i > 0 && !part.Truncated && isAudio(part) != tt.is {
					t.Errorf("cut at %d: %+v", i, part)
				}

				collect(part.Tracks(b[:i]))
			}
		})
	}
}

func TestCodecNames(t *testing.T) {
	t.Parallel()

	for codec, want := range map[flv.Codec]string{
		0:                 "none",
		flv.CodecAVC:      "H.264",
		flv.CodecHEVC:     "HEVC",
		flv.CodecAV1:      "AV1",
		flv.CodecVP9:      "VP9",
		flv.CodecAAC:      "AAC",
		flv.CodecOpus:     "Opus",
		flv.CodecFLAC:     "FLAC",
		flv.CodecAC3:      "AC-3",
		flv.CodecEAC3:     "E-AC-3",
		flv.CodecMP3:      "MP3",
		flv.CodecVP6Alpha: "VP6 with alpha",
		flv.CodecG711U:    "G.711 mu-law",
		0x7878787a:        `"xxxz"`,
		0xff000001:        `"\xff\x00\x00\x01"`,
		0x10e:             "video codec 14",
		0x20c:             "audio format 12",
		0x300:             "codec 0x00000300",
	} {
		if got := codec.String(); got != want {
			t.Errorf("%#x is %s, want %s", uint32(codec), got, want)
		}
	}

	if fourCC, ok := flv.CodecOpus.FourCC(); fourCC != "Opus" || !ok {
		t.Errorf("FourCC of Opus: %q, %v", fourCC, ok)
	}

	if fourCC, ok := flv.CodecVP6.FourCC(); ok {
		t.Errorf("FourCC of VP6: %q", fourCC)
	}
}

func TestTrackSet(t *testing.T) {
	t.Parallel()

	var none flv.TrackSet

	low, high := none.With(0).With(63), none.With(64).With(255)
	both := low.Union(high)

	for _, id := range []uint8{0, 63, 64, 255} {
		if none.Has(id) || !both.Has(id) || low.Has(id) == high.Has(id) {
			t.Errorf("track %d: %x %x %x", id, low, high, both)
		}
	}

	if !both.Covers(low) || !both.Covers(none) || low.Covers(high) || low.Covers(both) || !low.Covers(low) {
		t.Error("covers")
	}
}

func FuzzAudio(f *testing.F) {
	for _, tt := range audios {
		f.Add(unhex(f, tt.wire))
	}

	for _, b := range payloads(f, flv.TagAudio) {
		f.Add(b)
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		h := flv.ParseAudio(b)
		if h.Body < 0 || h.Body > len(b) || h.NanoOffset > 999_999 || h.Truncated && isAudio(h) != "" {
			t.Fatalf("%+v", h)
		}

		checkTracks(t, b, h.Multitrack, h.Tracks(b))
	})
}
