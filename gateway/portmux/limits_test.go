package portmux_test

import (
	"strings"
	"testing"

	"culvert/gateway/portmux"
)

// TestProxyHeaderLimits reads the largest headers, and such as are a byte longer.
func TestProxyHeaderLimits(t *testing.T) {
	one := func(size int) string {
		return "PROXY UNKNOWN " + strings.Repeat("f", size-len("PROXY UNKNOWN \r\n")) + "\r\n"
	}
	two := func(size int) string {
		const fixed, addresses = "\r\n\r\n\x00\r\nQUIT\n\x21\x11", "\xC0\x00\x02\x01\xC0\x00\x02\x02\x04\xD2\x07\x8F"
		rest := size - len(fixed) - 2
		more := rest - len(addresses) - 3 // one TLV of no meaning
		return fixed + string([]byte{byte(rest >> 8), byte(rest)}) + addresses + string([]byte{0xE0, byte(more >> 8), byte(more)}) + strings.Repeat("x", more)
	}
	for _, tt := range []struct {
		name, header string
		ok           bool
	}{
		{"version 1, 107 bytes", one(107), true},
		{"version 1, 108 bytes", one(108), false},
		{"version 2, 4096 bytes", two(4096), true},
		{"version 2, 4097 bytes", two(4097), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, _, rest, err := portmux.ReadProxy(strings.NewReader(tt.header[1:]+"\x03"), tt.header[0])
			if found != tt.ok || (err == nil) != tt.ok || len(rest) > 1 {
				t.Errorf("found %v, %d bytes behind it, %v", found, len(rest), err)
			}
			cfg, _ := recorder(1)
			cfg.TrustedProxies = loopback()
			m := start(t, cfg)
			c := dial(t, m, tt.header+"\x03")
			if !tt.ok {
				closed(t, c)
				rejected(t, m, portmux.ReasonProxyHeader)
			}
		})
	}
}
