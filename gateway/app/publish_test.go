package app_test

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/auth"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

const (
	publishAnswers = "StreamBegin(1) onStatus:NetStream.Publish.Start"
	playAnswers    = "StreamBegin(1) onStatus:NetStream.Play.Reset onStatus:NetStream.Play.Start |RtmpSampleAccess onStatus"
)

func TestCase45_SecondPublisherIsRefusedAndClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		first, player := s.publisher("a"), s.player("a")
		first.expect(publishAnswers)
		player.take()
		second := s.publisher("a")
		second.expect("onStatus:NetStream.Publish.BadName")
		if !second.isClosed() {
			t.Error("the second publisher was not closed: OBS hangs")
		}
		first.key(1)
		player.expectMedia("k1")
		first.conn.Close()
		synctest.Wait()
		s.publisher("a").expect(publishAnswers) // the name is free at once
	})
}

// TestLongNames publishes and plays under the longest name, and under one that is a
// byte longer.
func TestLongNames(t *testing.T) {
	for what, refusal := range map[string]string{"publish": "onStatus:NetStream.Publish.BadName", "play": "onStatus:NetStream.Play.StreamNotFound"} {
		for n, over := range map[int]bool{4096: false, 4097: true} {
			bubble(t, func(t *testing.T) {
				p := newServer(t, public()).dial(true, nil).connect("live")
				p.command(0, "createStream")
				p.take()
				p.command(1, what, strings.Repeat("n", n))
				got := brief(p.take())
				if (got == refusal) != over || p.isClosed() != over || over && !errors.Is(p.err, rtmpcore.ErrName) {
					t.Errorf("%s under a name of %d bytes: %s, closed %v", what, n, got, p.isClosed())
				}
			})
		}
	}
}

func TestTakeover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		policy := public()
		policy.Takeover = true
		s := newServer(t, policy)
		first, player := s.publisher("a"), s.player("a")
		first.headers()
		first.key(10)
		player.take()
		first.take()
		second := s.publisher("a")
		second.expect(publishAnswers)
		first.expect("onStatus:NetStream.Publish.BadName")
		if !first.isClosed() {
			t.Error("the first publisher is still there")
		}
		second.inter(0) // not decodable: no keyframe yet
		second.headers()
		second.key(5)
		list := player.take()
		if got := kinds(list); got != "H h k" {
			t.Errorf("the player got %s: it must not see the change, except in the media", brief(list))
		}
		if at := list[len(list)-1].at; at <= 10 {
			t.Errorf("time ran back to %d", at)
		}
	})
}

// kinds is brief without times.
func kinds(list []received) string {
	var parts []string
	for _, m := range list {
		parts = append(parts, strings.TrimRight(m.brief(), "0123456789"))
	}
	return strings.Join(parts, " ")
}

func TestPublishRules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.stream(false)
		p.command(1, "publish", "a")
		p.expect("onStatus:NetStream.Publish.Denied")
		if !p.isClosed() {
			t.Error("a publisher without rights was not closed")
		}
	})
	bubble(t, func(t *testing.T) {
		policy := public()
		policy.Publish.Keys = []auth.Key{auth.NewKey("", "s3cret"), auth.NewKey("show", "0bs")}
		s := newServer(t, policy)
		for name, stream := range map[string]string{"a?key=s3cret": "a", "0bs": "show"} {
			p := s.stream(false)
			p.command(1, "publish", name)
			p.expect(publishAnswers)
			if streams := s.hub.Streams(); len(streams) != 1 || streams[0].Name != stream {
				t.Errorf("%+v, want stream %s", streams, stream)
			}
			p.conn.Close()
			synctest.Wait()
		}
		p := s.dial(false, nil).connect("live?key=s3cret")
		p.command(0, "createStream")
		p.take()
		p.command(1, "publish", "b")
		p.expect(publishAnswers) // the key in the app's query
		p = s.stream(true)
		p.command(1, "publish", "c?key=wrong")
		p.expect("onStatus:NetStream.Publish.Denied")
		if got := s.apps.Refused(); got != 1 {
			t.Errorf("%d refusals counted", got)
		}
	})
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).publisher("")
		p.expect("onStatus:NetStream.Publish.BadName")
		if !p.isClosed() {
			t.Error("still open")
		}
	})
}

func TestPlayRules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		policy := public()
		policy.Play = auth.PlayRules{Loopback: true}
		s := newServer(t, policy)
		s.player("a").expect("onStatus:NetStream.Play.Failed")
		p := s.stream(true)
		p.command(1, "play", "a")
		p.expect(playAnswers)
	})
}

func TestCase47_PlayerBeforeThePublisher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		player := s.player("a")
		player.expect(playAnswers)
		p := s.publisher("a")
		player.expect("StreamBegin(1) onStatus:NetStream.Play.PublishNotify")
		p.headers()
		p.inter(0)
		p.key(40)
		player.expect("H0 h0 k40")
		p.send(0, message.Command{Name: "deleteStream", Args: []any{1.0}})
		player.expect("StreamEOF(1) onStatus:NetStream.Play.UnpublishNotify")
		time.Sleep(time.Second)
		p = s.publisher("a")
		player.expect("StreamBegin(1) onStatus:NetStream.Play.PublishNotify")
		p.headers()
		p.key(0)
		list := player.take()
		if got := kinds(list); got != "H h k" {
			t.Errorf("after the return: %s", got)
		}
		if at := list[0].at; at != 40+1001 {
			t.Errorf("the second publication begins at %d, want 1001 ms after the last message at 40", at)
		}
	})
	bubble(t, func(t *testing.T) {
		policy := public()
		policy.Wait = false
		s := newServer(t, policy)
		s.player("a").expect("onStatus:NetStream.Play.StreamNotFound")
		s.publisher("a").take()
		s.player("a").expect(playAnswers)
		if streams := s.hub.Streams(); len(streams) != 1 {
			t.Errorf("%d streams", len(streams))
		}
	})
}

func TestCase49_LateJoiner(t *testing.T) {
	metadata := amf.Object{{Key: "width", Value: 640.0}, {Key: "height", Value: 360.0}}
	for name, value := range map[string]any{"object": metadata, "ECMA array": amf.ECMAArray(metadata)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServer(t, public())
				p := s.publisher("a")
				p.send(1, message.Data{Name: message.NameSetDataFrame, Values: []any{message.NameOnMetaData, value}})
				p.headers()
				p.key(1000)
				p.sound(1010)
				p.inter(1033)
				p.key(2000)
				p.sound(2010)
				p.inter(2033)
				p.take()
				player := s.player("a")
				list := player.take()
				if got := brief(list); got != playAnswers+" onMetaData H2000 h2000 k2000 a2010 p2033" {
					t.Errorf("the late player got %s", got)
				}
				for _, m := range list {
					if m.typeID != message.TypeDataAMF0 || !strings.Contains(m.payload, message.NameOnMetaData) {
						continue
					}
					d, err := message.DecodeData(m.typeID, []byte(m.payload), amf.Limits{})
					if err != nil {
						t.Fatal(err)
					}
					array, ok := d.Values[0].(amf.ECMAArray)
					if w, _ := array.Number("width"); !ok || w != 640 {
						t.Errorf("metadata is %#v, want an ECMA array", d.Values[0])
					}
					if m.at != 0 {
						t.Errorf("metadata at %d: ffmpeg takes it for a subtitle", m.at)
					}
				}
				p.inter(2066)
				player.expectMedia("p2066")
				if info := s.hub.Streams()[0]; info.Width != 640 || info.Height != 360 || info.VideoCodec != "H.264" || info.AudioCodec != "AAC" {
					t.Errorf("described as %+v", info)
				}
				p.send(1, message.Data{Name: message.NameClearDataFrame, Values: []any{message.NameOnMetaData}})
				p.key(3000)
				p.take()
				if got := brief(s.player("a").take()); got != playAnswers+" H3000 h3000 k3000" {
					t.Errorf("after the metadata was cleared: %s", got)
				}
			})
		})
	}
	t.Run("a header that changes after the key frame", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := newServer(t, public())
			p := s.publisher("a")
			p.headers()
			p.key(1000)
			p.sound(1010)
			changed := []byte{0xAF, 0, 0x11, 0x90}
			p.raw(message.TypeAudio, 1, 1020, changed)
			p.sound(1030)
			p.take()
			var sounds []string
			for _, m := range s.player("a").take() {
				if m.typeID == message.TypeAudio {
					sounds = append(sounds, m.payload)
				}
			}
			want := []string{string(aacHeader), "\xAF\x01A\xF2", string(changed), "\xAF\x01A\x06"}
			if !slices.Equal(sounds, want) {
				t.Errorf("a late player gets %q, want %q", sounds, want)
			}
		})
	})
	t.Run("no GOP cache", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			policy := public()
			policy.Live.GOPCache = 0
			s := newServer(t, policy)
			p := s.publisher("a")
			p.headers()
			p.key(1000)
			p.take()
			player := s.player("a")
			player.expect(playAnswers + " H1000 h1000")
			p.sound(1010)
			p.inter(1033)
			p.key(2000)
			player.expect("a1010 k2000")
		})
	})
	t.Run("GOP over the cache's limit", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			policy := public()
			policy.Live.GOPCache = 10_000
			s := newServer(t, policy)
			p := s.publisher("a")
			p.headers()
			p.key(1000)
			p.raw(message.TypeVideo, 1, 1033, append([]byte{0x27, 1, 0, 0, 0, 'P'}, make([]byte, 20_000)...))
			p.take()
			player := s.player("a")
			player.expectMedia("H1033 h1033")
			p.inter(1066)
			p.key(2000)
			player.expectMedia("k2000")
		})
	})
	t.Run("audio only", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := newServer(t, public())
			p := s.publisher("a")
			p.raw(message.TypeAudio, 1, 0, aacHeader)
			p.sound(20)
			p.take()
			player := s.player("a")
			player.expectMedia("h20")
			p.sound(40)
			player.expectMedia("a40")
		})
	})
}

// enhanced video and audio payloads, by what they are.
var enhanced = map[string]struct {
	typeID  uint8
	payload string
}{
	"hvc1 header":          {message.TypeVideo, "\x90hvc1config"},
	"hvc1 frame":           {message.TypeVideo, "\xA1hvc1\x00\x00\x10frame"},
	"av01 header":          {message.TypeVideo, "\x90av01config"},
	"av01 frame X":         {message.TypeVideo, "\xA3av01frame"},
	"vp09 header":          {message.TypeVideo, "\x90vp09config"},
	"vp09 colour metadata": {message.TypeVideo, "\xD4vp09\x02\x00\x09colorInfo"},
	"Opus header":          {message.TypeAudio, "\x90OpusOpusHead"},
	"Opus frame":           {message.TypeAudio, "\x91Opusframe"},
	"fLaC header":          {message.TypeAudio, "\x90fLaCconfig"},
	"ac-3 frame":           {message.TypeAudio, "\x91ac-3frame"},
	"silence":              {message.TypeAudio, ""},
	"ModEx nano offset":    {message.TypeVideo, "\xA7\x02\x00\x01\x00\x01hvc1\x00\x00\x00frame"},
	"multitrack one":       {message.TypeVideo, "\xA6\x01av01\x01frame"},
	"multitrack many":      {message.TypeVideo, "\xA6\x11av01\x00\x00\x00\x02ab\x01\x00\x00\x02cd"},
	"multitrack codecs":    {message.TypeVideo, "\xA6\x21av01\x00\x00\x00\x02abvp09\x01\x00\x00\x02cd"},
	"audio multitrack":     {message.TypeAudio, "\x95\x01Opus\x01frame"},
	"packet type 12":       {message.TypeVideo, "\xAChvc1what"},
	"unknown FourCC":       {message.TypeVideo, "\xA1zzzzwhat"},
	"HEVC as codec 12":     {message.TypeVideo, "\x2C\x01\x00\x00\x00frame"},
}

func TestCase52_EnhancedRTMPPassesBitExact(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.publisher("a") // announced no fourCcList
		p.raw(message.TypeVideo, 1, 0, []byte("\x91hvc1\x00\x00\x00keyframe"))
		p.take()
		player := s.player("a")
		player.take()
		for name, e := range enhanced {
			p.raw(e.typeID, 1, 7, []byte(e.payload))
			list := player.take()
			if len(list) != 1 || list[0].payload != e.payload || list[0].typeID != e.typeID || list[0].at != 7 {
				t.Errorf("%s: the player got %d messages: %s", name, len(list), brief(list))
			}
		}
		if p.isClosed() {
			t.Error("the publisher was closed")
		}
	})
}

func TestEnhancedLateJoiner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.publisher("a")
		old, track0, track1 := "\x90av01old", "\x90av01track0", "\x96\x00av01\x01track1"
		colour, opus, channels := "\xD4av01\x02\x00\x09colorInfo", "\x90OpusOpusHead", "\x94Opus\x01\x02"
		key0, key1 := "\x93av01key0", "\x96\x03av01\x01key1"
		for _, m := range []struct {
			typeID  uint8
			payload string
		}{
			{message.TypeVideo, old},
			{message.TypeVideo, colour},
			{message.TypeVideo, track0},
			{message.TypeVideo, track1},
			{message.TypeAudio, opus},
			{message.TypeAudio, channels},
			{message.TypeVideo, key0},
			{message.TypeVideo, key1},
		} {
			p.raw(m.typeID, 1, 5, []byte(m.payload))
		}
		p.take()
		var got []string
		for _, m := range s.player("a").take() {
			if m.typeID == message.TypeVideo || m.typeID == message.TypeAudio {
				got = append(got, m.payload)
			}
		}
		want := []string{track0, track1, opus, colour, channels, key0, key1}
		if !slices.Equal(got, want) {
			t.Errorf("the late player got\n%q\nwant\n%q", got, want)
		}
	})
}

func TestCase52_CapsEx(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.dial(false, nil)
		p.send(0, message.Command{Name: "connect", TransactionID: 1, Object: connectObject(
			amf.Pair{Key: "fourCcList", Value: amf.StrictArray{"hvc1"}},
			amf.Pair{Key: "capsEx", Value: 3.0},
		)})
		list := p.take()
		cmd, err := message.DecodeCommand(message.TypeCommandAMF0, []byte(list[len(list)-1].payload), amf.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range map[string]any{"properties": cmd.Object, "info": cmd.Arg(0)} {
			object, _ := amf.AsObject(v)
			if caps, ok := object.Number("capsEx"); !ok || int(caps)&rtmpcore.CapsMultitrack == 0 {
				t.Errorf("%s: capsEx %v %v", name, caps, ok)
			}
			if _, ok := object.Lookup("videoFourCcInfoMap"); !ok {
				t.Errorf("%s: no videoFourCcInfoMap", name)
			}
		}
		old := s.dial(false, nil).connect("live")
		list = old.take()
		if strings.Contains(list[len(list)-1].payload, "capsEx") {
			t.Error("a client that does not know Enhanced RTMP is answered in it")
		}
	})
}

func TestCase55_QuietPublisher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		quiet := &quietConn{}
		p := s.dial(true, func(c net.Conn) net.Conn { quiet.Conn = c; return quiet }).connect("live")
		p.command(0, "createStream")
		p.send(0, message.WindowAckSize{Size: 2_500_000}) // asks for what it must not get while it publishes
		p.command(1, "publish", "a")
		p.take()
		player := s.player("a")
		p.headers()
		frame := append([]byte{0x17, 1, 0, 0, 0, 'K'}, make([]byte, 1<<20)...)
		for i := range chunk.Timestamp(8) { // three windows of acknowledgement
			p.raw(message.TypeVideo, 1, i*1000, frame)
			player.take()
			time.Sleep(time.Minute)
		}
		player.conn.Close()
		p.expect("") // nothing between Publish.Start and the end
		p.send(0, message.Command{Name: "deleteStream", Args: []any{1.0}})
		p.take()
		if !slices.Equal(quiet.publishing, []bool{true, false}) {
			t.Errorf("the transport was told %v", quiet.publishing)
		}
	})
}

func TestSeveralStreamsOnOneConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.publisher("a")
		p.command(0, "createStream")
		p.command(0, "createStream")
		p.take()
		p.command(2, "play", "a")
		p.command(3, "play", "b")
		p.take()
		other := s.publisher("b")
		p.take()
		p.key(1)
		list := p.take()
		other.key(2)
		list = append(list, p.take()...)
		if got := media(list); got != "k1 k2" {
			t.Fatalf("the connection got %s", brief(list))
		}
		if list[0].streamID != 2 || list[1].streamID != 3 {
			t.Errorf("on streams %d and %d", list[0].streamID, list[1].streamID)
		}
		p.command(2, "closeStream")
		p.inter(3)
		p.expectMedia("")
		other.inter(4)
		p.expectMedia("p4")
		p.command(1, "closeStream")
		p.expect("onStatus:NetStream.Unpublish.Success")
		p.command(1, "publish", "c")
		p.expect(publishAnswers)
	})
}

func TestPauseAndReceive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p, player := s.publisher("a"), s.player("a")
		p.headers()
		p.key(1)
		player.take()
		player.command(1, "pause", true, 0.0)
		player.expect("StreamEOF(1) onStatus:NetStream.Pause.Notify")
		p.inter(2)
		p.key(3)
		p.sound(4)
		player.expect("")
		player.command(1, "pause", false, 0.0)
		player.expect("StreamBegin(1) onStatus:NetStream.Unpause.Notify H3 h3 k3 a4")
		player.command(1, "receiveAudio", false)
		player.expect("")
		p.sound(5)
		p.inter(6)
		player.expect("p6")
		player.command(1, "receiveAudio", true)
		player.expect("onStatus:NetStream.Seek.Notify onStatus:NetStream.Play.Start")
		player.command(1, "receiveVideo", false)
		player.expect("")
		p.sound(7)
		p.inter(8)
		player.expect("a7")
		player.command(1, "receiveVideo", true)
		player.take()
		p.inter(9)
		p.key(10)
		player.expect("k10")
		player.command(1, "seek", 1000.0)
		player.expect("onStatus:NetStream.Seek.Failed")
		player.command(1, "closeStream")
		player.expect("")
		p.key(11)
		player.expect("")
		player.command(1, "play", "a", -2000.0, -1.0, false)
		player.expect("StreamBegin(1) onStatus:NetStream.Play.Start |RtmpSampleAccess onStatus H11 h11 k11")
	})
}

func TestFCUnpublishEndsThePublication(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p, player := s.publisher("a"), s.player("a")
		p.take()
		player.take()
		p.command(0, "FCUnpublish", "a")
		p.expect("_result onFCUnpublish:NetStream.Unpublish.Success")
		player.expect("StreamEOF(1) onStatus:NetStream.Play.UnpublishNotify")
	})
}

func TestShutdownTellsEveryone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p, player := s.publisher("a"), s.player("a")
		p.key(1)
		p.take()
		player.take()
		for _, c := range []*peer{p, player} {
			c.nc.Shutdown()
		}
		list := player.take()
		if got := brief(list); !strings.Contains(got, "UnpublishNotify") || !player.isClosed() {
			t.Errorf("the player got %s, closed %v", got, player.isClosed())
		}
		if st := status(t, p.take()); st.Code != message.StatusConnectAppShutdown || !p.isClosed() {
			t.Errorf("the publisher got %+v, closed %v", st, p.isClosed())
		}
		<-player.done
		if player.err == nil || player.err.Error() != rtmpcore.ErrShutdown.Error() {
			t.Errorf("ended with %v", player.err)
		}
	})
}

func TestStreamsEndWithTheirUsers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p, player := s.publisher("a"), s.player("a")
		p.key(1)
		p.take()
		player.take()
		p.conn.Close()
		player.take()
		if got := len(s.hub.Streams()); got != 1 {
			t.Errorf("%d streams while a player waits", got)
		}
		player.conn.Close()
		synctest.Wait()
		if got := len(s.hub.Streams()); got != 0 {
			t.Errorf("%d streams without users", got)
		}
	})
}

// part is one message in an aggregate, with a back pointer.
func part(typeID uint8, at chunk.Timestamp, payload []byte, pointer uint32) []byte {
	n := len(payload)
	b := []byte{typeID, byte(n >> 16), byte(n >> 8), byte(n), byte(at >> 16), byte(at >> 8), byte(at), byte(at >> 24), 0, 0, 0}
	return binary.BigEndian.AppendUint32(append(b, payload...), pointer)
}

func TestCase39_Aggregate(t *testing.T) {
	key, sound := []byte{0x17, 1, 0, 0, 0, 'K'}, []byte{0xAF, 1, 'A'}
	const base = 0x01FFFFF0 // the upper byte is the fourth
	two := slices.Concat(part(message.TypeVideo, base, key, 11+6), part(message.TypeAudio, base+20, sound, 99))
	for name, tt := range map[string]struct {
		payload []byte
		want    string
	}{
		"wrong last back pointer": {two, "k1000 a1020"},
		"no last back pointer":    {two[:len(two)-4], "k1000 a1020"},
		"cut in the second":       {two[:len(two)-5], "k1000"},
		"cut in its header":       {two[:11+6+4+10], "k1000"},
		"an unknown type between": {slices.Concat(part(message.TypeVideo, base, key, 0), part(77, base+5, sound, 0), part(message.TypeAudio, base+9, sound, 0)), "k1000 a1009"},
		"empty":                   {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServer(t, public())
				p, player := s.publisher("a"), s.player("a")
				p.take()
				player.take()
				p.raw(message.TypeAggregate, 1, 1000, tt.payload)
				player.expectMedia(tt.want)
				p.key(2000)
				player.expectMedia("k2000")
			})
		})
	}
}

func TestMetadataInAMF3(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		p := s.publisher("a")
		p.send(1, message.Data{AMF3: true, Name: message.NameSetDataFrame, Values: []any{
			message.NameOnMetaData,
			amf.AMF3{Value: amf.Object{{Key: "width", Value: 640.0}, {Key: "blob", Value: amf.ByteArray("bytes")}}},
		}})
		p.take()
		player := s.player("a")
		list := player.take()
		last := list[len(list)-1]
		d, err := message.DecodeData(last.typeID, []byte(last.payload), amf.Limits{})
		if err != nil || last.typeID != message.TypeDataAMF0 || d.Name != message.NameOnMetaData {
			t.Fatalf("the player got %s, %v", brief(list), err)
		}
		if array, ok := d.Values[0].(amf.ECMAArray); !ok || len(array) != 1 {
			t.Errorf("metadata is %#v, want an ECMA array of what AMF0 can say", d.Values[0])
		}
		for name, tt := range map[string]struct {
			sent   message.Data
			typeID uint8
		}{
			"AMF0 in type 15": {message.Data{AMF3: true, Name: "onTextData", Values: []any{"text"}}, message.TypeDataAMF0},
			"AMF3 in type 15": {message.Data{AMF3: true, Name: "onTextData", Values: []any{amf.AMF3{Value: "text"}}}, message.TypeDataAMF3},
		} {
			p.send(1, tt.sent)
			if list := player.take(); len(list) != 1 || list[0].typeID != tt.typeID {
				t.Errorf("%s: the player got %s", name, brief(list))
			}
		}
	})
}
