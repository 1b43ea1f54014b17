package portmux_test

import (
	"testing"

	"culvert/gateway/portmux"
)

func TestLimiterAddresses(t *testing.T) {
	cases := []struct {
		name  string
		addrs []string
		want  int // distinct clients
	}{
		{"IPv4", []string{"192.0.2.1", "192.0.2.2"}, 2},
		{"IPv4 written as IPv6", []string{"192.0.2.1", "::ffff:192.0.2.1"}, 1},
		{"one IPv6 network", []string{"2001:db8::1", "2001:db8::ffff:2"}, 1},
		{"two IPv6 networks", []string{"2001:db8::1", "2001:db8:0:1::1"}, 2},
		{"zone", []string{"fe80::1%eth0", "fe80::1"}, 1},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			l := portmux.NewLimiter(0, 0)
			for _, a := range tt.addrs {
				if !l.AddAddress(a) {
					t.Errorf("%s refused without a limit", a)
				}
			}
			if n := l.Clients(); n != tt.want {
				t.Errorf("%d clients, want %d", n, tt.want)
			}
		})
	}
}

func TestLimiterPerAddress(t *testing.T) {
	l := portmux.NewLimiter(0, 2)
	for i, want := range []bool{true, true, false} {
		if got := l.AddAddress("192.0.2.1"); got != want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if !l.AddAddress("192.0.2.2") {
		t.Error("another client is refused")
	}
}
