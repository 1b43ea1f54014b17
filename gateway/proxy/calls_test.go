package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/message"
)

// vendor is a backend with methods of its own.
type vendor struct {
	*origin
	nc       *rtmpcore.NetConn
	greeting *message.Command // sent before connect is answered
	heard    []message.Command
	heardOn  []uint32
	shared   []string
	// those of them that are whole
	sharedMessages []message.SharedObject
	onPublish      func()
	mute           bool // calls are not answered
}

func (w *world) vendor(host string) *vendor {
	v := &vendor{origin: &origin{w: w}}
	v.handler = v
	v.serve(host)
	return v
}

func (v *vendor) Connect(nc *rtmpcore.NetConn, req *rtmpcore.ConnectRequest) (rtmpcore.Session, error) {
	if _, err := v.origin.Connect(nc, req); err != nil {
		return nil, err
	}
	v.nc = nc
	if v.greeting != nil {
		v.call(0, *v.greeting)
	}
	return v, nil
}

func (v *vendor) Publish(ns *rtmpcore.NetStream, req rtmpcore.PublishRequest) (rtmpcore.Publication, error) {
	if v.onPublish != nil {
		v.onPublish()
	}
	return v.origin.Publish(ns, req)
}

func (v *vendor) Opened() {}

// Relay hears all that is not RTMP's own, and answers calls with what they said.
func (v *vendor) Relay(m *chunk.Message, _ message.Envelope) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.TypeID == message.TypeSharedObjectAMF0 || m.TypeID == message.TypeSharedObjectAMF3 {
		v.shared = append(v.shared, fmt.Sprintf("%d %d %s", m.TypeID, m.StreamID, m.Bytes()))
		if o, err := message.DecodeSharedObject(m.TypeID, m.Bytes(), amf.Limits{}); err == nil {
			v.sharedMessages = append(v.sharedMessages, o)
		}
		return true
	}
	cmd, err := message.DecodeCommand(m.TypeID, m.Bytes(), amf.Limits{})
	if err != nil {
		v.w.t.Error(err)
	}
	v.heard, v.heardOn = append(v.heard, cmd), append(v.heardOn, m.StreamID)
	if cmd.TransactionID != 0 && !strings.HasPrefix(cmd.Name, "_") && !v.mute {
		v.call(0, cmd.Result(nil, cmd.Args...))
	}
	return true
}

func (v *vendor) call(streamID uint32, cmd message.Command) {
	v.w.t.Helper()
	_ = v.nc.Writer().Send(encoded(v.w.t, streamID, cmd))
}

func encoded(t *testing.T, streamID uint32, msg message.Message) *chunk.Message {
	t.Helper()
	b, err := msg.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	return chunk.NewMessage(msg.TypeID(), streamID, 0, b)
}

func (v *vendor) commands() (names []string, last message.Command) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, cmd := range v.heard {
		names = append(names, fmt.Sprintf("%s on %d", cmd.Name, v.heardOn[i]))
		last = cmd
	}
	return names, last
}

// nextCommand returns the next command that a client gets, but for onStatus.
func nextCommand(t *testing.T, c *rtmpcore.Client) (cmd message.Command, streamID uint32) {
	t.Helper()
	for {
		m, err := c.ReadAny()
		if err != nil {
			t.Fatal(err)
		}
		id := m.StreamID
		if m.TypeID == message.TypeCommandAMF0 || m.TypeID == message.TypeCommandAMF3 {
			cmd, err = message.DecodeCommand(m.TypeID, m.Bytes(), amf.Limits{})
		}
		m.Release()
		if err != nil {
			t.Fatal(err)
		}
		if cmd.Name != "" && cmd.Name != message.NameOnStatus {
			return cmd, id
		}
	}
}

func ask(t *testing.T, c *rtmpcore.Client, streamID uint32, cmd message.Command) {
	t.Helper()
	if err := c.Command(streamID, cmd); err != nil {
		t.Fatal(err)
	}
}

func requireAnswer(t *testing.T, c *rtmpcore.Client, name string, id float64, arg any) {
	t.Helper()
	cmd, _ := nextCommand(t, c)
	if cmd.Name != name || cmd.TransactionID != id || arg != nil && cmd.Arg(0) != arg {
		t.Errorf("the answer is %s to %v with %v, want %s to %v with %v", cmd.Name, cmd.TransactionID, cmd.Args, name, id, arg)
	}
}

// A client's calls reach the backend in each state, and the results find the call although both sides and the gateway count alike.
func TestRemoteCalls(t *testing.T) {
	for name, amf3 := range map[string]bool{"AMF0": false, "AMF3": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "a")
				v := w.vendor("a")
				c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
				if err != nil {
					t.Fatal(err)
				}
				ask(t, c, 0, message.Command{Name: "getUsers", TransactionID: 2, Args: []any{"early"}, AMF3: amf3})
				requireAnswer(t, c, message.NameResult, 2, "early")
				first, err := c.CreateStream(t.Context())
				if err == nil {
					_, err = c.CreateStream(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := c.DeleteStream(first); err != nil { // so that the backend's stream has another number
					t.Fatal(err)
				}
				second := first + 1
				if err := c.Publish(t.Context(), second, "show"); err != nil {
					t.Fatal(err)
				}
				ask(t, c, 0, message.Command{Name: "getUsers", TransactionID: 3, Args: []any{"late"}, AMF3: amf3})
				requireAnswer(t, c, message.NameResult, 3, "late")
				ask(t, c, second, message.Command{Name: "vendorCue", Args: []any{"x"}, AMF3: amf3})
				ask(t, c, 0, message.Command{Name: "FCUnpublish", TransactionID: 4, Args: []any{"other"}})
				requireAnswer(t, c, message.NameResult, 4, nil)
				synctest.Wait()
				names, last := v.commands()
				if want := []string{"getUsers on 0", "getUsers on 0", "vendorCue on 1"}; !slices.Equal(names, want) {
					t.Errorf("the backend heard %q, want %q", names, want)
				}
				if last.TransactionID != 0 || last.Arg(0) != "x" || last.AMF3 != amf3 {
					t.Errorf("the last was %+v", last)
				}
			})
		})
	}
}

// A backend's calls reach the client, never before it knows that it is connected, and its answers the backend.
func TestRemoteCallsOfBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		v := w.vendor("a")
		v.greeting = &message.Command{Name: "onBWDone", TransactionID: 0}
		c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
		if err != nil {
			t.Fatal(err)
		}
		if cmd, _ := nextCommand(t, c); cmd.Name != "onBWDone" {
			t.Errorf("the client is told %q after connect", cmd.Name)
		}
		v.call(0, message.Command{Name: "onBWCheck", TransactionID: 9, Args: []any{"payload"}})
		for _, play := range []bool{false, true} {
			if play {
				id, err := c.CreateStream(t.Context())
				if err == nil {
					err = c.Play(t.Context(), id, "show")
				}
				if err != nil {
					t.Fatal(err)
				}
				v.call(1, message.Command{Name: "onBWCheck", TransactionID: 9, Args: []any{"payload"}})
			}
			cmd, on := nextCommand(t, c)
			if cmd.Name != "onBWCheck" || cmd.Arg(0) != "payload" || cmd.TransactionID == 0 || play != (on == 1) {
				t.Errorf("the client is told %+v on %d", cmd, on)
			}
			ask(t, c, 0, cmd.Result(nil, "measured"))
			ask(t, c, 0, cmd.Result(nil, "measured twice")) // nobody waits any more
			synctest.Wait()
			if names, last := v.commands(); len(names) != 1 || last.Name != message.NameResult || last.TransactionID != 9 || last.Arg(0) != "measured" {
				t.Errorf("the backend is answered %q, the last %+v", names, last)
			}
			v.heard, v.heardOn = nil, nil
		}
	})
}

// Messages of shared objects pass both ways with no byte changed.
func TestSharedObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		v := w.vendor("a")
		c, err := w.player("live", "show")
		if err != nil {
			t.Fatal(err)
		}
		for _, typeID := range []uint8{message.TypeSharedObjectAMF0, message.TypeSharedObjectAMF3} {
			if err := c.Send(chunk.NewMessage(typeID, 0, 0, []byte("up"))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if want := fmt.Sprintf("%d 0 up", typeID); len(v.shared) == 0 || v.shared[len(v.shared)-1] != want {
				t.Errorf("the backend got %q, want %q", v.shared, want)
			}
			_ = v.nc.Writer().Send(chunk.NewMessage(typeID, 0, 0, []byte("down")))
			for {
				m, err := c.ReadAny()
				if err != nil {
					t.Fatal(err)
				}
				found, text := m.TypeID == typeID, string(m.Bytes())
				m.Release()
				if found {
					if text != "down" {
						t.Errorf("the client got %q", text)
					}
					break
				}
			}
		}
	})
}

// Calls that nobody answers are bounded: the oldest are given up, and their callers told. So are all when the backend is lost, and those that find none.
func TestRemoteCallsInVain(t *testing.T) {
	t.Run("too many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, "a")
			v := w.vendor("a")
			v.mute = true
			c, err := w.connect(rtmpcore.ClientConfig{App: "live"})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 66 {
				ask(t, c, 0, message.Command{Name: "unanswered", TransactionID: float64(100 + i)})
			}
			requireAnswer(t, c, message.NameError, 100, nil)
			requireAnswer(t, c, message.NameError, 101, nil)
			synctest.Wait()
			v.call(0, v.heard[0].Result(nil, "too late"))
			v.call(0, v.heard[65].Result(nil, "in time"))
			requireAnswer(t, c, message.NameResult, 165, "in time")
		})
	})
	t.Run("backend lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, "a", "b")
			v := w.vendor("a")
			v.mute = true
			b := w.vendor("b")
			c, id, err := w.publisher("live", "show")
			if err != nil {
				t.Fatal(err)
			}
			ask(t, c, 0, message.Command{Name: "unanswered", TransactionID: 50})
			synctest.Wait()
			v.die("a")
			requireAnswer(t, c, message.NameError, 50, nil)
			synctest.Wait()
			_ = c.Send(video(id, 0, keyframe))
			ask(t, c, 0, message.Command{Name: "getUsers", TransactionID: 51, Args: []any{"again"}})
			requireAnswer(t, c, message.NameResult, 51, "again")
			if names, _ := b.commands(); len(names) != 1 {
				t.Errorf("the other backend heard %q", names)
			}
		})
	})
}

// What one backend says is no answer to what another one was asked.
func TestRemoteCallsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := func(use proxy.Use, host string) proxy.RouteConfig {
			return proxy.RouteConfig{
				Name: host, Match: proxy.Match{Use: use},
				Pool: proxy.PoolConfig{Timeout: time.Second, Backends: []proxy.BackendConfig{{Scheme: "rtmp", Host: host, Port: "1935"}}},
			}
		}
		w := newRoutes(t, to(proxy.UsePublish, "in"), to(proxy.UsePlay, "out"))
		in, out := w.vendor("in"), w.vendor("out")
		in.mute = true
		c, id, err := w.publisher("live", "mine")
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.CreateStream(t.Context())
		if err == nil {
			err = c.Play(t.Context(), second, "theirs")
		}
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, id, message.Command{Name: "toPublish", TransactionID: 70})
		ask(t, c, second, message.Command{Name: "toPlay", TransactionID: 71, Args: []any{"played"}})
		requireAnswer(t, c, message.NameResult, 71, "played")
		synctest.Wait()
		out.call(0, in.heard[0].Result(nil, "forged"))
		synctest.Wait()
		in.call(0, in.heard[0].Result(nil, "true"))
		requireAnswer(t, c, message.NameResult, 70, "true")
	})
}
