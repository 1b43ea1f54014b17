package proxy_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

// object makes a shared object's message of event types.
func object(name string, amf3 bool, version, flags uint32, events ...uint8) message.SharedObject {
	m := message.SharedObject{AMF3: amf3, Name: name, Version: version, Flags: flags}
	for _, e := range events {
		m.Events = append(m.Events, message.SharedObjectEvent{Type: e})
	}
	return m
}

func describe(m message.SharedObject) string {
	text := fmt.Sprintf("%s %v version %d flags %d", m.Name, m.AMF3, m.Version, m.Flags)
	for _, e := range m.Events {
		text += fmt.Sprintf(" %d", e.Type)
	}
	return text
}

// objects are what a backend has heard about shared objects.
func (v *vendor) objects() (list []string) {
	v.w.t.Helper()
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.sharedMessages {
		list = append(list, describe(m))
	}
	return list
}

func requireObjects(t *testing.T, v *vendor, want ...string) {
	t.Helper()
	got := v.objects()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the backend heard %q, want %q", got, want)
	}
}

func tellObject(t *testing.T, c *rtmpcore.Client, m message.SharedObject) {
	t.Helper()
	if err := c.Send(encoded(t, 0, m)); err != nil {
		t.Fatal(err)
	}
}

// nextObject returns the next shared object's message that a client gets.
func nextObject(t *testing.T, c *rtmpcore.Client) string {
	t.Helper()
	for {
		m, err := c.ReadAny()
		if err != nil {
			t.Fatal(err)
		}
		if m.TypeID != message.TypeSharedObjectAMF0 && m.TypeID != message.TypeSharedObjectAMF3 {
			m.Release()
			continue
		}
		o, err := message.DecodeSharedObject(m.TypeID, m.Bytes(), amf.Limits{})
		m.Release()
		if err != nil {
			t.Fatal(err)
		}
		return describe(o)
	}
}

const (
	use, release, change, clearAll, success = 1, 2, 4, 8, 11
)

// A client's shared objects are subscribed to again at the backend that replaces a lost one, those that it has released are not; it is told that what it knew no
// longer holds, once.
func TestSharedObjectsAgain(t *testing.T) {
	for name, streams := range map[string]bool{"playing": true, "no stream": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 10 * time.Second }, "a", "b")
				a := w.vendor("a")
				c, err := w.connect(rtmpcore.ClientConfig{App: "chat"})
				if err != nil {
					t.Fatal(err)
				}
				if streams {
					id, err := c.CreateStream(t.Context())
					if err == nil {
						err = c.Play(t.Context(), id, "show")
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				tellObject(t, c, object("users", false, 7, message.SharedObjectPersistent, use))
				tellObject(t, c, object("board", true, 0, 0, use))
				tellObject(t, c, object("left", false, 0, 0, use))
				tellObject(t, c, object("left", false, 0, 0, release))
				requireObjects(t, a, "users false version 7 flags 2 1", "board true version 0 flags 0 1",
					"left false version 0 flags 0 1", "left false version 0 flags 0 2")
				a.die("a")
				synctest.Wait()
				tellObject(t, c, object("users", false, 7, message.SharedObjectPersistent, 3)) // while nobody is there
				time.Sleep(3 * time.Second)
				b := w.vendor("b")
				time.Sleep(3 * time.Second)
				requireObjects(t, b, "users false version 0 flags 2 1", "board true version 0 flags 0 1", "users false version 7 flags 2 3")
				if list := b.objects(); list[len(list)-1] != "users false version 7 flags 2 3" {
					t.Errorf("the backend heard %q", list)
				}
				// One backend clears, the other only sends what there is.
				for _, m := range []message.SharedObject{
					object("board", true, 1, 0, success, clearAll), object("board", true, 2, 0, change),
					object("users", false, 3, 2, success, change), object("users", false, 4, 2, change),
				} {
					_ = b.nc.Writer().Send(encoded(t, 0, m))
				}
				for _, want := range []string{
					"board true version 1 flags 0 11 8", "board true version 2 flags 0 4",
					"users false version 0 flags 2 8", "users false version 3 flags 2 11 4", "users false version 4 flags 2 4",
				} {
					if got := nextObject(t, c); got != want {
						t.Errorf("the client is told %q, want %q", got, want)
					}
				}
				tellObject(t, c, object("board", true, 2, 0, 3))
				if list := b.objects(); list[len(list)-1] != "board true version 2 flags 0 3" {
					t.Errorf("afterwards the backend heard %q", list)
				}
			})
		})
	}
}

// A stream that ends takes the connection to its backend with it, but not the client's shared objects.
func TestSharedObjectsOutliveStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		a := w.vendor("a")
		c, id, err := w.publisher("chat", "show")
		if err != nil {
			t.Fatal(err)
		}
		tellObject(t, c, object("users", false, 0, 0, use))
		second, err := c.CreateStream(t.Context())
		if err == nil {
			err = c.Publish(t.Context(), second, "other")
		}
		if err == nil {
			err = c.DeleteStream(id) // the other stream's connection has the objects now
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.dialed() != "a a" {
			t.Errorf("dialled %s", w.dialed())
		}
		if err := c.DeleteStream(second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if w.dialed() != "a a a" {
			t.Errorf("dialled %s", w.dialed())
		}
		requireObjects(t, a, slices.Repeat([]string{"users false version 0 flags 0 1"}, 3)...)
		time.Sleep(time.Minute)
		tellObject(t, c, object("users", false, 0, 0, 3))
		if list := a.objects(); list[len(list)-1] != "users false version 0 flags 0 3" {
			t.Errorf("afterwards the backend heard %q", list)
		}
	})
}

// A client that loses its shared objects for good is told and let go, unless it has a stream.
func TestSharedObjectsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 5 * time.Second }, "a")
		a := w.vendor("a")
		c, err := w.connect(rtmpcore.ClientConfig{App: "chat"})
		if err != nil {
			t.Fatal(err)
		}
		tellObject(t, c, object("users", false, 0, 0, use))
		synctest.Wait()
		a.die("a")
		began := time.Now()
		if _, err := c.ReadMessage(); code(err) != message.StatusConnectClosed {
			t.Errorf("the client is told %v", err)
		}
		if took := time.Since(began); took > 6*time.Second || took < 2*time.Second {
			t.Errorf("after %v", took)
		}
		if n := w.router.Stats().Lost; n != 1 {
			t.Errorf("%d are counted", n)
		}
	})
}

// What is remembered of shared objects is bounded: 64 of them, with names up to 1 KiB.
func TestSharedObjectsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(r *proxy.RouteConfig) { r.Reconnect = 10 * time.Second }, "a", "b")
		a := w.vendor("a")
		b := w.vendor("b")
		c, err := w.connect(rtmpcore.ClientConfig{App: "chat"})
		if err != nil {
			t.Fatal(err)
		}
		tellObject(t, c, object(string(make([]byte, 1025)), false, 0, 0, use))
		for i := range 65 {
			tellObject(t, c, object(fmt.Sprintf("object-%d", i), false, 0, 0, use))
		}
		if n := len(a.objects()); n != 66 {
			t.Errorf("the backend heard %d", n)
		}
		a.die("a")
		time.Sleep(time.Second)
		if n := len(b.objects()); n != 64 || !slices.Contains(b.objects(), "object-63 false version 0 flags 0 1") || slices.Contains(b.objects(), "object-64 false version 0 flags 0 1") {
			t.Errorf("the other backend heard %d", n)
		}
	})
}
