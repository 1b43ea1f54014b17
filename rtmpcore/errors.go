package rtmpcore

import (
	"errors"
	"fmt"
)

// StatusError is a refusal that the client is told of: as onStatus on a stream,
// as _error when a connect is refused.
type StatusError struct {
	Code        string // such as "NetStream.Publish.BadName"
	Description string // one sentence for the person at the encoder
	Close       bool   // end the connection after telling; OBS hangs otherwise
}

func (e *StatusError) Error() string { return e.Code + ": " + e.Description }

// ProtocolError says that the client broke the rules of RTMP above the chunk
// stream.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "protocol: " + e.Reason }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// ErrName ends a connection whose client named a stream in more than 4 KiB.
var ErrName = errors.New("rtmpcore: stream name is too long")

// ErrNoConnect ends a connection whose client did not get as far as an accepted
// connect command in time.
var ErrNoConnect = errors.New("rtmpcore: no connect command in time")

// ErrIdle ends a connection whose client sent nothing for too long.
var ErrIdle = errors.New("rtmpcore: the client sends nothing")

// ErrShutdown ends a connection because the server stops.
var ErrShutdown = errors.New("rtmpcore: the server is shutting down")
