package rtmpcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/rtmpe"
	"culvert/rtmpcore/send"
)

// ClientConfig says how a client presents itself. Its zero value connects to
// the app "".
type ClientConfig struct {
	App      string
	TCURL    string
	FlashVer string     // default: that of culvert
	Extra    []amf.Pair // further properties of the connect command's object
	Object   amf.Object // in place of the whole object: what another client said
	Args     []any      // of the connect command, behind the object
	Digest   bool       // sign the handshake
	Encrypt  bool       // RTMPE

	Chunk chunk.Limits
	Send  send.Limits
	AMF   amf.Limits
}

// defaultFlashVer is what publishers call themselves; servers look for FMLE.
const defaultFlashVer = "FMLE/3.0 (compatible; culvert)"

// ErrEnded says that the server reported the end of a stream that is played. The
// connection goes on, and so may the stream. It is an io.EOF too.
var ErrEnded = fmt.Errorf("rtmpcore: the stream has ended: %w", io.EOF)

// ErrClosing says that the server asked the client to go, in place of an answer.
var ErrClosing = errors.New("rtmpcore: the server asks to close")

// Client is the client's side of one RTMP connection. Connect, CreateStream,
// Publish, Play and ReadMessage are for one goroutine; Send may be called by
// another at the same time, Close by any.
type Client struct {
	conn   net.Conn
	cfg    ClientConfig
	reader *chunk.Reader
	writer *send.Writer

	// owned by whoever reads
	parker parker // nil: the connection cannot be parked
	parked bool   // reading does not wait

	transaction float64
	acked       uint64
	window      uint64 // acknowledgement window that the server set; 0: none
	behind      int
	shaken      bool
	parts       aggregate // being read
	other       func(m *chunk.Message) (taken bool)
	early       []*chunk.Message // media that came before the status that promises it
	earlyBytes  int
}

// Media that comes before the answer to publish or play is kept for ReadMessage up to
// these limits; beyond, the server is given up.
const (
	maxEarly      = 64
	maxEarlyBytes = 4 << 20
)

// NewClient prepares a client on conn, which Connect then uses.
func NewClient(conn net.Conn, cfg ClientConfig) *Client {
	if cfg.FlashVer == "" {
		cfg.FlashVer = defaultFlashVer
	}
	c := &Client{conn: conn, cfg: cfg, writer: send.NewWriter(conn, cfg.Send)}
	source := io.Reader(conn)
	if p, ok := conn.(parker); ok {
		c.parker = p
		source = clientSource{conn, p, c}
	}
	c.reader = chunk.NewReader(source, cfg.Chunk)
	return c
}

// Close ends the connection and frees what it held.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.writer.Close()
	return err
}

// Writer returns the connection's sending side.
func (c *Client) Writer() *send.Writer { return c.writer }

// BytesRead and BytesWritten count RTMP bytes after the handshake.
func (c *Client) BytesRead() uint64 { return c.reader.BytesRead() }

// BytesWritten counts RTMP bytes after the handshake.
func (c *Client) BytesWritten() uint64 { return c.writer.BytesWritten() }

// FellBehind returns how often the server said that it dropped frames.
func (c *Client) FellBehind() int { return c.behind }

// bound makes ctx end what waits on the connection.
func (c *Client) bound(ctx context.Context) (release func()) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.conn.SetReadDeadline(deadline) // a dead conn shows at the next read
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Now()) })
	return func() {
		stop()
		_ = c.conn.SetReadDeadline(time.Time{})
	}
}

// OnWait makes f be called before each wait for the server, on the goroutine that reads.
// Its error is that of reading.
func (c *Client) OnWait(f func() error) { c.reader.OnWait(f) }

// OnOther makes f be given each message that is neither media nor control before anything
// else is done with it, on the goroutine that reads. f reports whether it has taken over
// the message; one that it has not taken is read as ever.
func (c *Client) OnOther(f func(m *chunk.Message) (taken bool)) { c.other = f }

// Interrupt makes a ReadAny that waits return with an error; later calls read on where
// that one has stopped. Any goroutine may call it.
func (c *Client) Interrupt() { _ = c.conn.SetReadDeadline(time.Now()) } // a dead conn shows at the read

// Handshake does the handshake, which Connect does by itself otherwise.
func (c *Client) Handshake(ctx context.Context) error {
	defer c.bound(ctx)()
	if err := c.shake(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.shaken = true
	return nil
}

// Introduce sets what Connect will say, as ClientConfig.Object and Args do.
func (c *Client) Introduce(object amf.Object, args []any) { c.cfg.Object, c.cfg.Args = object, args }

// Connect does the handshake and the connect command. A refusal is a
// *[StatusError].
func (c *Client) Connect(ctx context.Context) error {
	if !c.shaken {
		if err := c.Handshake(ctx); err != nil {
			return err
		}
	}
	defer c.bound(ctx)()
	if err := c.send(0, message.SetChunkSize{Size: chunk.SegmentSize}); err != nil {
		return err
	}
	_, err := c.call(0, "connect", c.object(), c.cfg.Args...)
	return err
}

// object returns the command object of connect.
func (c *Client) object() amf.Object {
	if c.cfg.Object != nil {
		return c.cfg.Object
	}
	return append(amf.Object{
		{Key: "app", Value: c.cfg.App},
		{Key: "type", Value: "nonprivate"},
		{Key: "flashVer", Value: c.cfg.FlashVer},
		{Key: "tcUrl", Value: c.cfg.TCURL},
		{Key: "fpad", Value: false},
		{Key: "capabilities", Value: 239.0},
		{Key: "audioCodecs", Value: 4071.0},
		{Key: "videoCodecs", Value: 252.0},
		{Key: "videoFunction", Value: 1.0},
		{Key: "objectEncoding", Value: 0.0},
		{Key: "fourCcList", Value: amf.StrictArray{"*"}},
		{Key: "capsEx", Value: float64(capsOffered)},
	}, c.cfg.Extra...)
}

// shake makes the handshake. All later writes are the Writer's, which never waits.
func (c *Client) shake(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Now()) }) // a dead conn shows at the write
	defer stop()
	res, err := handshake.Client(c.conn, handshake.ClientConfig{Digest: c.cfg.Digest, Encrypt: c.cfg.Encrypt})
	if err != nil || res.Keys == nil {
		return err
	}
	conn, err := rtmpe.New(c.conn, res.Keys.In, res.Keys.Out)
	if err != nil {
		return err
	}
	c.parker = nil
	c.reader.SetSource(conn)
	c.writer.SetConn(conn)
	return nil
}

// CreateStream asks for a message stream.
func (c *Client) CreateStream(ctx context.Context) (uint32, error) {
	defer c.bound(ctx)()
	args, err := c.call(0, "createStream", nil)
	if err != nil {
		return 0, err
	}
	if len(args) > 0 {
		if id, ok := amf.Unwrap(args[0]).(float64); ok && id >= 1 && id < 1<<32 {
			return uint32(id), nil
		}
	}
	return 0, protocolErrorf("createStream was answered without a stream ID")
}

// Publish begins to publish live on a message stream. A refusal is a *[StatusError].
func (c *Client) Publish(ctx context.Context, streamID uint32, name string) error {
	return c.PublishAs(ctx, streamID, name, "live")
}

// PublishAs is Publish for another kind, as [PublishRequest].Type has it.
func (c *Client) PublishAs(ctx context.Context, streamID uint32, name, kind string) error {
	defer c.bound(ctx)()
	err := errors.Join(
		c.tell(0, "releaseStream", name),
		c.tell(0, "FCPublish", name),
		c.tell(streamID, "publish", name, kind),
	)
	if err != nil {
		return err
	}
	return c.awaitStatus(message.StatusPublishStart)
}

// Unpublish ends a publication, and waits for nothing.
func (c *Client) Unpublish(streamID uint32, name string) error {
	return errors.Join(c.tell(0, "FCUnpublish", name), c.DeleteStream(streamID))
}

// DeleteStream gives a message stream back, and waits for nothing.
func (c *Client) DeleteStream(streamID uint32) error {
	return c.tell(0, "deleteStream", float64(streamID))
}

// CloseStream ends what a message stream is used for, and waits for nothing.
func (c *Client) CloseStream(streamID uint32) error { return c.tell(streamID, "closeStream") }

// Pause stops a stream, or lets it go on at the live edge. position is where the
// player is, in milliseconds.
func (c *Client) Pause(streamID uint32, paused bool, position chunk.Timestamp) error {
	return c.tell(streamID, "pause", paused, float64(position))
}

// ReceiveAudio turns a stream's audio on or off.
func (c *Client) ReceiveAudio(streamID uint32, on bool) error {
	return c.tell(streamID, "receiveAudio", on)
}

// ReceiveVideo turns a stream's video on, from the next keyframe, or off.
func (c *Client) ReceiveVideo(streamID uint32, on bool) error {
	return c.tell(streamID, "receiveVideo", on)
}

// tell sends a command and waits for no answer.
func (c *Client) tell(streamID uint32, name string, args ...any) error {
	c.transaction++
	return c.send(streamID, message.Command{Name: name, TransactionID: c.transaction, Args: args})
}

// Play begins to play on a message stream. A refusal is a *[StatusError].
func (c *Client) Play(ctx context.Context, streamID uint32, name string) error {
	return c.PlayFrom(ctx, streamID, name, PlayAny, -1)
}

// PlayFrom is Play with a start and a duration, as [PlayRequest] has them.
func (c *Client) PlayFrom(ctx context.Context, streamID uint32, name string, start, duration float64) error {
	defer c.bound(ctx)()
	args := []any{name, start}
	if duration >= 0 {
		args = append(args, duration)
	}
	err := errors.Join(
		c.tell(streamID, "play", args...),
		c.send(0, message.UserControl{Event: message.EventSetBufferLength, StreamID: streamID, Value: 3000}),
	)
	if err != nil {
		return err
	}
	return c.awaitStatus(message.StatusPlayStart, message.StatusPlayPublishNotify)
}

// Command sends a command as it is, and waits for no answer. Any goroutine may call it.
func (c *Client) Command(streamID uint32, cmd message.Command) error { return c.send(streamID, cmd) }

// Send writes media or data, taking over the caller's references; see
// [send.Writer.Send].
func (c *Client) Send(msgs ...*chunk.Message) error { return c.writer.Send(msgs...) }

// Flush waits until the connection has taken all that was sent.
func (c *Client) Flush(ctx context.Context) error { return c.writer.Flush(ctx) }

// ReadMessage returns the next audio, video or data message with one reference,
// which is the caller's. It obeys control messages. The error is [ErrEnded] when
// the server says that the stream has ended, io.EOF at the end of the connection, and a
// *[StatusError] when the server reports one.
func (c *Client) ReadMessage() (*chunk.Message, error) {
	for {
		m, err := c.ReadAny()
		if err != nil {
			return nil, err
		}
		if isMedia(m.TypeID) {
			return m, nil
		}
		cmd, err := c.decode(m)
		if err != nil {
			return nil, err
		}
		if cmd.Name != message.NameOnStatus {
			continue
		}
		switch code, err := statusOf(cmd); {
		case err != nil:
			return nil, err
		case code == message.StatusPlayUnpublishNotify, code == message.StatusPlayStop, code == message.StatusPlayComplete:
			return nil, ErrEnded
		case code == message.StatusPlayInsufficientBW:
			c.behind++
		}
	}
}

// ReadAny is a ReadMessage that judges nothing: it also returns commands, and the user
// control events about a stream. Aggregates come in their parts.
func (c *Client) ReadAny() (*chunk.Message, error) {
	if len(c.early) > 0 {
		m := c.early[0]
		c.early[0], c.early = nil, c.early[1:]
		c.earlyBytes -= m.Len()
		return m, nil
	}
	return c.next()
}

// next reads a message that is not control.
func (c *Client) next() (*chunk.Message, error) {
	for {
		if m := c.parts.next(); m != nil {
			return m, nil
		}
		m, err := c.reader.ReadMessage()
		if err != nil {
			if werr := c.writer.Err(); werr != nil && !errors.Is(werr, net.ErrClosed) {
				return nil, werr
			}
			return nil, err
		}
		if n := c.reader.BytesRead(); c.window > 0 && n-c.acked >= c.window/2 {
			c.acked = n
			if err := c.send(0, message.Acknowledgement{SequenceNumber: uint32(n)}); err != nil {
				m.Release()
				return nil, err
			}
		}
		switch m.TypeID {
		case message.TypeUserControl, message.TypeWindowAckSize, message.TypeSetPeerBandwidth:
			ofStream, err := c.control(m)
			if ofStream && err == nil {
				return m, nil
			}
			m.Release()
			if err != nil {
				return nil, err
			}
		case message.TypeAggregate:
			c.parts = newAggregate(m)
		case message.TypeAcknowledgement:
			m.Release()
		default:
			if isMedia(m.TypeID) || c.other == nil || !c.other(m) {
				return m, nil
			}
		}
	}
}

// control obeys a control message, or says that it is about a stream.
func (c *Client) control(m *chunk.Message) (ofStream bool, err error) {
	decoded, err := message.Decode(m.TypeID, m.Bytes(), c.cfg.AMF)
	if err != nil {
		return false, err
	}
	switch d := decoded.(type) {
	case message.WindowAckSize:
		c.window = uint64(d.Size)
	case message.SetPeerBandwidth:
		return false, c.send(0, message.WindowAckSize{Size: windowSize})
	case message.UserControl:
		if d.Event == message.EventPingRequest {
			return false, c.send(0, message.UserControl{Event: message.EventPingResponse, Value: d.Value})
		}
		return d.StreamID != 0 && isStreamEvent(d.Event), nil
	}
	return false, nil
}

// isStreamEvent reports whether an event tells a player about its stream.
func isStreamEvent(e message.Event) bool {
	return e == message.EventStreamBegin || e == message.EventStreamEOF || e == message.EventStreamDry || e == message.EventStreamIsRecorded
}

// decode reads a command and releases the message. What is none has no name.
func (c *Client) decode(m *chunk.Message) (message.Command, error) {
	defer m.Release()
	if m.TypeID != message.TypeCommandAMF0 && m.TypeID != message.TypeCommandAMF3 {
		return message.Command{}, nil
	}
	return message.DecodeCommand(m.TypeID, m.Bytes(), c.cfg.AMF)
}

func (c *Client) send(streamID uint32, msg message.Message) error {
	var buf []byte
	m, err := encode(&buf, streamID, msg, chunk.ClassUrgent)
	if err != nil {
		return err
	}
	return c.writer.Send(m)
}

// call sends a command and waits for its answer, whose arguments it returns.
func (c *Client) call(streamID uint32, name string, object any, args ...any) ([]any, error) {
	c.transaction++
	transaction := c.transaction
	if err := c.send(streamID, message.Command{Name: name, TransactionID: transaction, Object: object, Args: args}); err != nil {
		return nil, err
	}
	for {
		m, err := c.next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		cmd, err := c.decode(m)
		if err != nil {
			return nil, err
		}
		if cmd.Name == "close" && cmd.TransactionID == 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrClosing)
		}
		if cmd.Name == "" || cmd.TransactionID != transaction {
			continue
		}
		switch cmd.Name {
		case message.NameResult:
			return cmd.Args, nil
		case message.NameError:
			if _, err := statusOf(cmd); err != nil {
				return nil, err
			}
			return nil, &StatusError{Code: message.StatusCallFailed, Description: name + " failed"}
		}
	}
}

// awaitStatus waits for an onStatus with one of the codes.
func (c *Client) awaitStatus(want ...string) error {
	for {
		m, err := c.next()
		if err != nil {
			return err
		}
		if isMedia(m.TypeID) {
			if len(c.early) == maxEarly || c.earlyBytes+m.Len() > maxEarlyBytes {
				m.Release()
				return protocolErrorf("media and no status that promises it")
			}
			c.early = append(c.early, m)
			c.earlyBytes += m.Len()
			continue
		}
		cmd, err := c.decode(m)
		if err != nil {
			return err
		}
		if cmd.Name != message.NameOnStatus {
			continue
		}
		code, err := statusOf(cmd)
		if err != nil || slices.Contains(want, code) {
			return err
		}
	}
}

// statusOf returns the code of an onStatus or _error, with an error for level
// "error".
func statusOf(cmd message.Command) (code string, err error) {
	for _, arg := range cmd.Args {
		status, ok := message.ParseStatus(arg)
		if !ok {
			continue
		}
		if status.Level == message.LevelError {
			err = &StatusError{Code: status.Code, Description: status.Description}
		}
		return status.Code, err
	}
	return "", nil
}
