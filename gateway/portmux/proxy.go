package portmux

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/pires/go-proxyproto"
)

// PROXY protocol (haproxy.org, proxy-protocol.txt, versions 1 and 2). The header is
// recognised byte by byte, so that a request that merely begins like one ("POST",
// "PROPFIND") is not touched and nothing behind the header is lost.
const (
	proxyV1       = "PROXY "
	proxyV2       = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Max    = 107  // with CR LF, §2.1
	proxyV2Fixed  = 16   // signature, version and command, family, length, §2.2
	proxyV2MaxLen = 4096 // whole header; addresses need 232, the rest are TLVs
)

var (
	errProxyTooLong = errors.New("header is too long")

	proxyBuffers = sync.Pool{New: func() any { return new([proxyV2MaxLen]byte) }}
)

// mayBeProxy reports whether a PROXY header can begin with b.
func mayBeProxy(b byte) bool { return b == proxyV1[0] || b == proxyV2[0] }

// proxyLength returns the length of the PROXY header that b begins with. It is 0 when
// there is none, and -1 when more bytes are needed to know.
func proxyLength(b []byte) (int, error) {
	switch {
	case begins(b, proxyV1):
		if len(b) < len(proxyV1) {
			return -1, nil
		}
		if i := bytes.Index(b[:min(len(b), proxyV1Max)], []byte("\r\n")); i >= 0 {
			return i + 2, nil
		}
		if len(b) >= proxyV1Max {
			return 0, errProxyTooLong
		}
		return -1, nil
	case begins(b, proxyV2):
		if len(b) < proxyV2Fixed {
			return -1, nil
		}
		n := proxyV2Fixed + int(b[14])<<8 + int(b[15])
		if n > proxyV2MaxLen {
			return 0, errProxyTooLong
		}
		if len(b) < n {
			return -1, nil
		}
		return n, nil
	default:
		return 0, nil
	}
}

// begins reports whether b and signature agree as far as both go.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// proxyHeader is what a PROXY header told.
type proxyHeader struct {
	found       bool
	source      net.Addr // nil: the proxy speaks for itself or does not know
	destination net.Addr
}

// readProxy reads from r, whose first byte was read already, until the header is
// complete or there is none. rest are the bytes behind it.
func readProxy(r io.Reader, first byte) (h proxyHeader, rest []byte, err error) {
	buf := proxyBuffers.Get().(*[proxyV2MaxLen]byte)
	defer proxyBuffers.Put(buf)
	buf[0] = first
	n := 1
	for {
		length, err := proxyLength(buf[:n])
		if err != nil {
			return h, nil, fmt.Errorf("proxy protocol: %w", err)
		}
		if length >= 0 {
			if length > 0 {
				if h, err = parseProxy(buf[:length]); err != nil {
					return h, nil, fmt.Errorf("proxy protocol: %w", err)
				}
			}
			return h, bytes.Clone(buf[length:n]), nil
		}
		got, err := r.Read(buf[n:])
		n += got
		if err != nil && got == 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return h, nil, err
		}
	}
}

// parseProxy reads one complete header.
func parseProxy(b []byte) (proxyHeader, error) {
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return proxyHeader{}, err
	}
	h := proxyHeader{found: true}
	if header.Command.IsLocal() {
		return h, nil
	}
	if source, destination, ok := header.TCPAddrs(); ok {
		h.source, h.destination = source, destination
	}
	return h, nil
}

// trusted reports whether addr may send PROXY headers.
func (m *Mux) trusted(addr netip.Addr) bool {
	for _, p := range m.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf returns the IP address of a, invalid when it has none.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
