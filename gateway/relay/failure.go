package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"culvert/gateway/client"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// Why a relay failed.
var (
	errLoop    = errors.New("a relay loop: the address is this gateway's own")
	errStalled = errors.New("nothing came from the origin for too long")
)

// Reasons are the kinds of failures, for metrics.
var Reasons = []string{
	"loop", "dns", "refused", "unreachable", "timeout", "tls", "login", "rejected", "limit", "protocol", "stalled", "too_slow", "busy", "lost",
}

// reasonOf returns the kind of a failure.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errLoop):
		return "loop"
	case errors.As(err, new(*net.DNSError)):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(tls.AlertError)):
		return "tls"
	case errors.Is(err, client.ErrLogin):
		return "login"
	case errors.As(err, new(*rtmpcore.StatusError)):
		return "rejected"
	case errors.As(err, new(*chunk.LimitError)), errors.As(err, new(*amf.LimitError)):
		return "limit"
	case errors.As(err, new(*chunk.ProtocolError)), errors.As(err, new(*message.ProtocolError)), errors.As(err, new(*rtmpcore.ProtocolError)),
		errors.As(err, new(*amf.SyntaxError)), errors.Is(err, handshake.ErrVersion):
		return "protocol"
	case errors.Is(err, errStalled), errors.Is(err, send.ErrStalled):
		return "stalled"
	case errors.Is(err, send.ErrTooSlow):
		return "too_slow"
	case errors.Is(err, live.ErrBusy), errors.Is(err, live.ErrReplaced):
		return "busy"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "lost"
}

// reworded says in words what an error without any means.
func reworded(err error) string {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "the server closed the connection"
	}
	return err.Error()
}
