package app_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/app"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

const connectAnswers = "WindowAckSize SetPeerBandwidth StreamBegin(0) _result:NetConnection.Connect.Success"

func connectObject(pairs ...amf.Pair) amf.Object {
	return append(amf.Object{{Key: "app", Value: "live"}, {Key: "tcUrl", Value: "rtmp://host/live"}}, pairs...)
}

func TestCase42_Connect(t *testing.T) {
	body, err := message.Command{Name: "connect", TransactionID: 1, Object: connectObject()}.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		typeID  uint8
		payload []byte
	}{
		"AMF0":                            {message.TypeCommandAMF0, body},
		"type 17 with the format byte":    {message.TypeCommandAMF3, append([]byte{0}, body...)},
		"type 17 without the format byte": {message.TypeCommandAMF3, body},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newServer(t, public()).dial(false, nil)
				p.raw(tt.typeID, 0, 0, tt.payload)
				list := p.take()
				if got := brief(list); got != connectAnswers {
					t.Fatalf("answers: %s", got)
				}
				result := list[len(list)-1]
				if result.typeID != tt.typeID {
					t.Errorf("answered in type %d, asked in %d", result.typeID, tt.typeID)
				}
				if tt.typeID == message.TypeCommandAMF3 && result.payload[0] != 0 {
					t.Error("the answer in type 17 lacks its format byte")
				}
				cmd, err := message.DecodeCommand(result.typeID, []byte(result.payload), amf.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				properties, _ := amf.AsObject(cmd.Object)
				if v, _ := properties.String("fmsVer"); v == "" {
					t.Error("no fmsVer in the properties")
				}
				info, _ := amf.AsObject(cmd.Arg(0))
				if v, ok := info.Number("objectEncoding"); !ok || v != 0 {
					t.Errorf("objectEncoding %v %v", v, ok)
				}
				if v, _ := info.String("level"); v != "status" {
					t.Errorf("level %q", v)
				}
				if v, _ := info.String("description"); v == "" {
					t.Error("no description: ffmpeg needs one")
				}
				data, _ := info.Lookup("data")
				if object, _ := amf.AsObject(data); object == nil {
					t.Error("no data")
				} else if v, _ := object.String("version"); v == "" {
					t.Error("no data.version")
				}
			})
		})
	}
}

func TestCase43_OddConnects(t *testing.T) {
	for name, object := range map[string]amf.Object{
		"no tcUrl":       {{Key: "app", Value: "live"}},
		"no app":         {{Key: "tcUrl", Value: "rtmp://host"}},
		"empty app":      {{Key: "app", Value: ""}},
		"trailing slash": {{Key: "app", Value: "live/"}},
		"instance":       {{Key: "app", Value: "live/_definst_"}},
		"query":          {{Key: "app", Value: "live?token=x"}},
		"long tcUrl":     {{Key: "app", Value: "live"}, {Key: "tcUrl", Value: "rtmp://host/" + strings.Repeat("x", 64<<10)}},
		"quoted tcurl":   {{Key: "app", Value: "live"}, {Key: "tcurl", Value: `"rtmp://host/live"`}},
		"wrong types":    {{Key: "app", Value: 5.0}, {Key: "tcUrl", Value: true}, {Key: "capsEx", Value: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServer(t, public())
				p := s.dial(true, nil)
				p.send(0, message.Command{Name: "connect", TransactionID: 1, Object: object})
				p.expect(connectAnswers)
				p.command(0, "createStream")
				p.command(1, "publish", "a")
				p.take()
				want := "live"
				if name == "no app" || name == "empty app" || name == "wrong types" {
					want = ""
				}
				if streams := s.hub.Streams(); len(streams) != 1 || streams[0].App != want {
					t.Errorf("published to %+v, want app %q", streams, want)
				}
			})
		})
	}
	t.Run("no object", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			p := newServer(t, public()).dial(true, nil)
			p.send(0, message.Command{Name: "connect", TransactionID: 1})
			if !p.isClosed() {
				t.Error("still open")
			}
			<-p.done
			if !errors.As(p.err, new(*rtmpcore.ProtocolError)) {
				t.Errorf("ended with %v", p.err)
			}
		})
	})
}

// TestCase43_44_45_InAMF3 has a client that speaks AMF3 do what the cases 43 to 45 do.
func TestCase43_44_45_InAMF3(t *testing.T) {
	for name, pairs := range map[string]amf.Object{
		"no tcUrl":       {{Key: "app", Value: "live"}},
		"empty app":      {{Key: "app", Value: ""}},
		"trailing slash": {{Key: "app", Value: "live/"}},
		"query":          {{Key: "app", Value: "live?token=x"}},
		"long tcUrl":     {{Key: "app", Value: "live"}, {Key: "tcUrl", Value: "rtmp://host/" + strings.Repeat("x", 64<<10)}},
		"wrong types":    {{Key: "app", Value: int32(5)}, {Key: "tcUrl", Value: amf.ByteArray("x")}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServer(t, public())
				speak := func() *peer {
					p := s.dial(true, nil)
					p.send(0, message.Command{AMF3: true, Name: "connect", TransactionID: 1, Object: amf.AMF3{Value: pairs}})
					p.expect(connectAnswers)
					return p
				}
				say := func(p *peer, streamID uint32, name string, args ...any) {
					for i := range args {
						args[i] = amf.AMF3{Value: args[i]}
					}
					p.send(streamID, message.Command{AMF3: true, Name: name, TransactionID: 5, Object: amf.AMF3{}, Args: args})
				}
				p, second := speak(), speak()
				for range 3 {
					say(p, 0, "createStream")
				}
				p.expect("_result:1 _result:2 _result:3")
				say(p, 0, "deleteStream", 2.0)
				say(p, 0, "createStream")
				p.expect("_result:2")
				say(p, 9, "publish", "a")
				if list := p.take(); brief(list) != "onStatus:NetStream.Failed" || list[0].typeID != message.TypeCommandAMF3 {
					t.Errorf("publish on an unknown message stream: %s", brief(list))
				}
				say(p, 1, "publish", "a")
				p.expect(publishAnswers)
				say(second, 0, "createStream")
				second.expect("_result:1")
				say(second, 1, "publish", "a")
				if list := second.take(); brief(list) != "onStatus:NetStream.Publish.BadName" || list[0].typeID != message.TypeCommandAMF3 {
					t.Errorf("the second publisher gets %s", brief(list))
				}
				if !second.isClosed() || p.isClosed() || len(s.hub.Streams()) != 1 {
					t.Errorf("second closed %v, first closed %v", second.isClosed(), p.isClosed())
				}
			})
		})
	}
}

func TestUnknownAppIsRefusedAndClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t, public())
		s.apps = app.NewServer(live.NewHub(), nil, map[string]*app.Policy{"live": public()})
		p := s.dial(true, nil).connect("secret")
		p.expect("_error:NetConnection.Connect.InvalidApp")
		if !p.isClosed() {
			t.Error("still open")
		}
		s.dial(true, nil).connect("live").expect(connectAnswers)
	})
}

func TestCase44_CreateStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil).connect("live")
		p.take()
		for range 3 {
			p.command(0, "createStream")
		}
		p.expect("_result:1 _result:2 _result:3")
		p.send(0, message.Command{Name: "deleteStream", Args: []any{2.0}})
		p.command(0, "createStream")
		p.command(0, "createStream")
		p.expect("_result:2 _result:4")
		p.command(9, "publish", "a")
		list := p.take()
		if st := status(t, list); st.Level != message.LevelError || st.Code != message.StatusStreamFailed {
			t.Errorf("publish on an unknown message stream: %+v", st)
		}
		if list[0].streamID != 9 {
			t.Errorf("answered on stream %d", list[0].streamID)
		}
		for range 40 {
			p.command(0, "createStream")
		}
		if got := brief(p.take()); !strings.HasSuffix(got, "_error:NetConnection.Call.Failed") {
			t.Errorf("no end of streams: %s", got)
		}
	})
}

func TestCase50_UnknownCommands(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil).connect("live")
		p.take()
		p.send(0, message.Command{Name: "frobnicate", TransactionID: 7})
		list := p.take()
		if got := brief(list); got != "_error:NetConnection.Call.Failed" {
			t.Fatalf("answer: %s", got)
		}
		cmd, err := message.DecodeCommand(list[0].typeID, []byte(list[0].payload), amf.Limits{})
		if err != nil || cmd.TransactionID != 7 {
			t.Errorf("transaction %v, %v", cmd.TransactionID, err)
		}
		if st := status(t, list); st.Description != "Method not found (frobnicate)." {
			t.Errorf("description %q", st.Description)
		}
		p.send(0, message.Command{Name: "frobnicate"})
		p.expect("")
		p.command(0, "getStreamLength", "a")
		p.expect("_result:0")
		p.command(0, "_checkbw")
		p.command(0, "releaseStream", "a")
		p.expect("_result _result")
		p.command(0, "FCPublish", "a")
		p.expect("_result onFCPublish:NetStream.Publish.Start")
	})
}

func TestCommandBeforeConnect(t *testing.T) {
	for _, name := range []string{"createStream", "publish", "play"} {
		bubble(t, func(t *testing.T) {
			p := newServer(t, public()).dial(true, nil)
			p.command(0, name)
			if !p.isClosed() {
				t.Errorf("%s before connect: still open", name)
			}
		})
	}
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil)
		p.key(0)
		p.connect("live").expect(connectAnswers) // media before connect is dropped
	})
}

func TestConnectHasADeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil)
		begin := time.Now()
		<-p.done
		if took := time.Since(begin); took != 10*time.Second || !errors.Is(p.err, os.ErrDeadlineExceeded) {
			t.Errorf("ended after %v with %v", took, p.err)
		}
	})
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil).connect("live")
		p.take()
		time.Sleep(time.Hour)
		synctest.Wait()
		p.command(0, "createStream")
		p.expect("_result:1") // no deadline after connect
	})
}

func TestPing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newServer(t, public()).dial(true, nil).connect("live")
		p.take()
		p.send(0, message.UserControl{Event: message.EventPingRequest, Value: 77})
		list := p.take()
		if len(list) != 1 {
			t.Fatalf("answers: %s", brief(list))
		}
		u, err := message.DecodeUserControl([]byte(list[0].payload))
		if err != nil || u.Event != message.EventPingResponse || u.Value != 77 {
			t.Errorf("answer %+v, %v", u, err)
		}
	})
}

func TestCase41_Acknowledgements(t *testing.T) {
	const frames, window = 20, 2_500_000 // eight windows
	for name, tt := range map[string]struct {
		asked       bool
		least, most int
	}{
		"a publisher that set a window": {true, frames * (1 << 20) / window, frames},
		"a publisher that set none":     {false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServer(t, public())
				p, player := s.publisher("a"), s.player("a")
				if tt.asked {
					p.send(0, message.WindowAckSize{Size: window})
				}
				p.take()
				player.take()
				player.send(0, message.Acknowledgement{SequenceNumber: 0xFFFFFFFF})
				player.send(0, message.Acknowledgement{SequenceNumber: 0x100})
				frame := append([]byte{0x17, 1, 0, 0, 0, 'K'}, make([]byte, 1<<20)...)
				got, acks := 0, 0
				for range frames {
					p.raw(message.TypeVideo, 1, 0, frame)
					got += len(player.take())
					for _, m := range p.take() {
						if m.typeID == message.TypeAcknowledgement {
							acks++
						}
					}
				}
				if got != frames {
					t.Errorf("the player, which acknowledges nothing, got %d frames of %d", got, frames)
				}
				if acks < tt.least || acks > tt.most {
					t.Errorf("%d acknowledgements, want %d to %d", acks, tt.least, tt.most)
				}
			})
		})
	}
}

func TestCase42_ConnectInAMF3(t *testing.T) {
	for name, object := range map[string]any{
		"the object":     amf.AMF3{Value: connectObject(amf.Pair{Key: "capsEx", Value: 3.0})},
		"a property":     connectObject(amf.Pair{Key: "capsEx", Value: amf.AMF3{Value: 3.0}}),
		"a typed object": amf.AMF3{Value: amf.TypedObject{Class: "Connect", Object: connectObject(amf.Pair{Key: "capsEx", Value: 3.0})}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newServer(t, public()).dial(false, nil)
				p.send(0, message.Command{AMF3: true, Name: "connect", TransactionID: 1, Object: object, Args: []any{amf.AMF3{Value: "user"}}})
				list := p.take()
				if got := brief(list); got != connectAnswers {
					t.Fatalf("answers: %s", got)
				}
				result := list[len(list)-1]
				if result.typeID != message.TypeCommandAMF3 || !strings.Contains(result.payload, "capsEx") {
					t.Errorf("answered in type %d: %q", result.typeID, result.payload)
				}
				p.send(0, message.Command{AMF3: true, Name: "createStream", TransactionID: 2, Object: amf.AMF3{}})
				p.expect("_result:1")
				p.send(0, message.Command{AMF3: true, Name: "callMe", TransactionID: 3, Args: []any{amf.AMF3{Value: amf.ByteArray("bytes")}}})
				p.expect("_error:NetConnection.Call.Failed")
			})
		})
	}
}
