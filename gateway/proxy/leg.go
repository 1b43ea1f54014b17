package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// Values of the protocol that a leg uses.
const (
	windowSize = 2_500_000 // acknowledgement window that backends are told
	playAny    = -2000.0   // start of play: live, or recorded when nothing is live
)

// leg is a connection to a backend, of which this is the client. One goroutine reads
// it; the writer may be used by any.
type leg struct {
	// set at construction
	cfg     *Config
	backend *Backend
	conn    net.Conn
	reader  *chunk.Reader
	writer  *send.Writer

	// owned by the reader
	transaction float64
	acked       uint64
	window      uint64
	streamID    uint32
	early       []*chunk.Message // media that came before its stream was known to have begun
	flush       func() error     // called before waiting for more; may be nil
}

// hello is what a leg says in its connect command.
type hello struct {
	object amf.Object
	args   []any
}

// newHello makes a connect command out of the client's: all it said, but for where
// it goes.
func newHello(cfg *Config, route *Route, client Client, req *rtmpcore.ConnectRequest, t told) hello {
	app, tcURL := t.app, t.tcURL
	if _, query, ok := strings.Cut(req.RawApp, "?"); ok {
		app += "?" + query
	}
	if _, query, ok := strings.Cut(req.TCURL, "?"); ok {
		tcURL += "?" + query
	}
	h := hello{args: req.Args}
	own := amf.Object{
		{Key: "app", Value: app},
		{Key: "tcUrl", Value: tcURL},
		{Key: "objectEncoding", Value: 0.0},
	}
	if route.Address != "" {
		own = append(own, amf.Pair{Key: route.Address, Value: client.address().String()})
	}
	for _, p := range req.Object {
		if p.Key == rtmpcore.ViaProperty || strings.EqualFold(p.Key, "tcUrl") {
			continue
		}
		if _, ok := own.Lookup(p.Key); !ok {
			h.object = append(h.object, p)
		}
	}
	h.object = append(own, h.object...)
	via := cfg.ID
	if before := req.Via(); before != "" {
		via = before + "," + via
	}
	h.object = append(h.object, amf.Pair{Key: rtmpcore.ViaProperty, Value: via})
	return h
}

// connect makes a leg: dial, handshake, connect command. A refusal of the backend is
// a *[rtmpcore.StatusError].
func connect(ctx context.Context, cfg *Config, b *Backend, client Client, h hello) (*leg, error) {
	l, err := shake(ctx, cfg, b, client)
	if err != nil {
		return nil, err
	}
	defer l.bound(ctx)()
	l.send(0, message.WindowAckSize{Size: windowSize})
	if _, err := l.call("connect", h.object, h.args...); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// shake dials a backend and makes the handshake.
func shake(ctx context.Context, cfg *Config, b *Backend, client Client) (*leg, error) {
	conn, err := cfg.Dial(ctx, b.cfg, client)
	if err != nil {
		return nil, err
	}
	l := &leg{cfg: cfg, backend: b, conn: conn}
	release := l.bound(ctx)
	_, err = handshake.Client(conn, handshake.ClientConfig{})
	release()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	l.reader = chunk.NewReader(conn, cfg.Chunk)
	l.reader.OnWait(func() error {
		if l.flush == nil {
			return nil
		}
		return l.flush()
	})
	l.writer = send.NewWriter(conn, cfg.Send)
	return l, nil
}

// bound makes ctx end what waits on the connection.
func (l *leg) bound(ctx context.Context) (release func()) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = l.conn.SetDeadline(deadline) // a dead connection shows at the next use
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Now()) })
	return func() {
		stop()
		_ = l.conn.SetDeadline(time.Time{})
	}
}

// close ends the connection and frees what it held. Nobody may read it meanwhile.
func (l *leg) close() {
	l.hangUp()
	l.early = chunk.ReleaseAll(l.early)
	l.reader.Close()
}

// hangUp ends the connection; its reader has yet to free what it held.
func (l *leg) hangUp() {
	_ = l.conn.Close()
	l.writer.Close()
}

// send writes a message of this side. A failed writer closes the connection, which
// the reader learns of.
func (l *leg) send(streamID uint32, msg message.Message) {
	payload, err := msg.AppendPayload(nil)
	if err != nil {
		return
	}
	m := chunk.NewMessage(msg.TypeID(), streamID, 0, payload)
	m.Class = chunk.ClassUrgent
	_ = l.writer.Send(m)
}

func (l *leg) tell(streamID uint32, name string, args ...any) {
	l.transaction++
	l.send(streamID, message.Command{Name: name, TransactionID: l.transaction, Args: args})
}

// next reads a message that is not control, and obeys those that are. User control
// events of a stream are returned.
func (l *leg) next() (*chunk.Message, error) {
	for {
		m, err := l.reader.ReadMessage()
		if err != nil {
			if werr := l.writer.Err(); werr != nil && !errors.Is(werr, net.ErrClosed) {
				return nil, werr
			}
			return nil, err
		}
		if n := l.reader.BytesRead(); l.window > 0 && n-l.acked >= l.window/2 {
			l.acked = n
			l.send(0, message.Acknowledgement{SequenceNumber: uint32(n)})
		}
		switch m.TypeID {
		case message.TypeUserControl, message.TypeWindowAckSize, message.TypeSetPeerBandwidth:
			pass, err := l.control(m)
			if pass {
				return m, nil
			}
			m.Release()
			if err != nil {
				return nil, err
			}
		case message.TypeAcknowledgement:
			m.Release()
		default:
			return m, nil
		}
	}
}

// control obeys a control message; pass says that it is about a stream.
func (l *leg) control(m *chunk.Message) (pass bool, err error) {
	decoded, err := message.Decode(m.TypeID, m.Bytes(), l.cfg.AMF)
	if err != nil {
		return false, err
	}
	switch d := decoded.(type) {
	case message.WindowAckSize:
		l.window = uint64(d.Size)
	case message.SetPeerBandwidth:
		l.send(0, message.WindowAckSize{Size: windowSize})
	case message.UserControl:
		if d.Event == message.EventPingRequest {
			l.send(0, message.UserControl{Event: message.EventPingResponse, Value: d.Value})
		}
		return ofStream(d.Event) && l.streamID != 0 && d.StreamID == l.streamID, nil
	}
	return false, nil
}

// ofStream reports whether an event tells a player about its stream.
func ofStream(e message.Event) bool {
	return e == message.EventStreamBegin || e == message.EventStreamEOF || e == message.EventStreamDry || e == message.EventStreamIsRecorded
}

// command decodes a command. What is none has no name.
func (l *leg) command(m *chunk.Message) (message.Command, error) {
	if m.TypeID != message.TypeCommandAMF0 && m.TypeID != message.TypeCommandAMF3 {
		return message.Command{}, nil
	}
	return message.DecodeCommand(m.TypeID, m.Bytes(), l.cfg.AMF)
}

// call sends a command of the connection and waits for its answer.
func (l *leg) call(name string, object any, args ...any) ([]any, error) {
	l.transaction++
	transaction := l.transaction
	l.send(0, message.Command{Name: name, TransactionID: transaction, Object: object, Args: args})
	for {
		m, err := l.next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		cmd, err := l.command(m)
		m.Release()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case cmd.Name == message.NameResult && cmd.TransactionID == transaction:
			return cmd.Args, nil
		case cmd.Name == message.NameError && cmd.TransactionID == transaction:
			return nil, refusal(cmd, message.StatusCallFailed, name+" failed")
		case cmd.Name == "close" && cmd.TransactionID == 0:
			return nil, fmt.Errorf("%s: the backend asks to close", name)
		}
	}
}

// refusal is what a backend says in an _error or an onStatus of level error.
func refusal(cmd message.Command, code, description string) *rtmpcore.StatusError {
	for _, arg := range cmd.Args {
		if s, ok := message.ParseStatus(arg); ok {
			return &rtmpcore.StatusError{Code: s.Code, Description: s.Description}
		}
	}
	return &rtmpcore.StatusError{Code: code, Description: description}
}

// createStream asks for a message stream.
func (l *leg) createStream() error {
	args, err := l.call("createStream", nil)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		if id, ok := amf.Unwrap(args[0]).(float64); ok && id >= 1 && id < 1<<32 {
			l.streamID = uint32(id)
			return nil
		}
	}
	return errors.New("createStream was answered without a stream ID")
}

// publish begins to publish. A refusal is a *[rtmpcore.StatusError].
func (l *leg) publish(ctx context.Context, name, kind string) error {
	defer l.bound(ctx)()
	l.tell(0, "releaseStream", name)
	l.tell(0, "FCPublish", name)
	if err := l.createStream(); err != nil {
		return err
	}
	l.tell(l.streamID, "publish", name, kind)
	return l.awaitStatus("publish", message.StatusPublishStart)
}

// play begins to play. A refusal is a *[rtmpcore.StatusError].
func (l *leg) play(ctx context.Context, name string, req rtmpcore.PlayRequest) error {
	defer l.bound(ctx)()
	if err := l.createStream(); err != nil {
		return err
	}
	args := []any{name, req.Start}
	if req.Duration >= 0 {
		args = append(args, req.Duration)
	}
	l.tell(l.streamID, "play", args...)
	l.send(0, message.UserControl{Event: message.EventSetBufferLength, StreamID: l.streamID, Value: 3000})
	return l.awaitStatus("play", message.StatusPlayStart, message.StatusPlayPublishNotify)
}

// maxEarly bounds what is kept of media that comes before the status that promises it.
const maxEarly = 64

// awaitStatus waits for an onStatus with one of the codes.
func (l *leg) awaitStatus(what string, codes ...string) error {
	for {
		m, err := l.next()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if isMedia(m.TypeID) {
			if len(l.early) == maxEarly {
				m.Release()
				return fmt.Errorf("%s: the backend sends media and no status", what)
			}
			l.early = append(l.early, m)
			continue
		}
		cmd, err := l.command(m)
		m.Release()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if cmd.Name != message.NameOnStatus {
			continue
		}
		for _, arg := range cmd.Args {
			status, ok := message.ParseStatus(arg)
			if !ok {
				continue
			}
			if status.Level == message.LevelError {
				return &rtmpcore.StatusError{Code: status.Code, Description: status.Description}
			}
			for _, code := range codes {
				if status.Code == code {
					return nil
				}
			}
		}
	}
}

// goodbye tells the backend that a stream ends, for a limited time.
func (l *leg) goodbye(ctx context.Context, name string) {
	// The transaction counts are the reader's: answers to these are not waited for.
	l.send(0, message.Command{Name: "FCUnpublish", TransactionID: 0, Args: []any{name}})
	l.send(0, message.Command{Name: "deleteStream", TransactionID: 0, Args: []any{float64(l.streamID)}})
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	_ = l.writer.Flush(ctx) // it has its own end
}

// statusOf returns what a backend has refused with, or nil.
func statusOf(err error) *rtmpcore.StatusError {
	var status *rtmpcore.StatusError
	if errors.As(err, &status) {
		return &rtmpcore.StatusError{Code: status.Code, Description: status.Description}
	}
	return nil
}

func isMedia(typeID uint8) bool {
	switch typeID {
	case message.TypeAudio, message.TypeVideo, message.TypeDataAMF0, message.TypeDataAMF3, message.TypeAggregate:
		return true
	}
	return false
}
