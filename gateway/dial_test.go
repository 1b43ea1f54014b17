package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
)

// Names: one that changes, one without an address, one with twenty, one that cannot be resolved.
func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := map[string][]netip.Addr{"changing.test": {netip.MustParseAddr("192.0.2.1")}, "empty.test": {}}
		for i := range 20 {
			answers["many.test"] = append(answers["many.test"], netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}))
		}
		asked := 0
		d := newDialer(nil, func(net.Addr) bool { return false })
		d.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			asked++
			addrs, ok := answers[host]
			if !ok {
				return nil, errors.New("no such host")
			}
			return addrs, nil
		}
		resolve := func(host string) []netip.Addr {
			t.Helper()
			addrs, err := d.resolve(t.Context(), host)
			if err != nil {
				t.Fatal(err)
			}
			return addrs
		}
		for range 3 {
			if got := resolve("changing.test"); len(got) != 1 || got[0].String() != "192.0.2.1" {
				t.Errorf("resolved to %v", got)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times within a moment", asked)
		}
		answers["changing.test"] = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
		time.Sleep(resolveTime + 1)
		if got := resolve("changing.test"); got[0].String() != "192.0.2.2" {
			t.Errorf("after the change it resolves to %v", got)
		}
		first := map[netip.Addr]bool{}
		for range 20 {
			got := resolve("many.test")
			if len(got) != maxAddresses {
				t.Fatalf("%d addresses are tried", len(got))
			}
			first[got[0]] = true
		}
		if len(first) != 20 {
			t.Errorf("%d of 20 addresses come first", len(first))
		}
		for _, host := range []string{"empty.test", "unknown.test"} {
			if _, err := d.tcp(t.Context(), proxy.BackendConfig{Host: host, Port: "1"}, proxy.Client{}); err == nil {
				t.Errorf("%s can be dialled", host)
			}
		}
	})
}

// Of several addresses the dead ones cost a part of the time each.
func TestDialTriesAddresses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	d := newDialer(nil, func(net.Addr) bool { return false })
	d.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := d.tcp(ctx, proxy.BackendConfig{Host: "several.test", Port: port}, proxy.Client{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// PROXY headers of both versions, for clients of both families and for none.
func TestHeaderFor(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	v4, v6 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 2}
	for name, test := range map[string]struct {
		version byte
		client  proxy.Client
		want    string
	}{
		"IPv4":     {1, proxy.Client{Remote: v4, Local: v4}, "PROXY TCP4 192.0.2.1 192.0.2.1 1 1\r\n"},
		"IPv6":     {1, proxy.Client{Remote: v6, Local: v6}, "PROXY TCP6 2001:db8::1 2001:db8::1 2 2\r\n"},
		"both":     {1, proxy.Client{Remote: v6, Local: v4}, "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 2 1\r\n"},
		"nobody":   {1, proxy.Client{}, "PROXY UNKNOWN\r\n"},
		"binary":   {2, proxy.Client{Remote: v4, Local: v4}, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x01\x00\x01\x00\x01"},
		"binary 0": {2, proxy.Client{}, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := headerFor(test.version, ours, test.client).Format()
			if err != nil || string(b) != test.want {
				t.Errorf("%q, %v, want %q", b, err, test.want)
			}
		})
	}
}
