package rtmpcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
	"culvert/rtmpcore/send"
)

// Config is what all connections of a server share. Its zero value is ready for
// use.
type Config struct {
	Log              zerolog.Logger // debug and trace only
	Chunk            chunk.Limits
	Send             send.Limits
	AMF              amf.Limits
	HandshakeTimeout time.Duration // until connect was accepted; default 10 s
	Streams          int           // NetStreams that a connection may have; default 32
	// RTMPE makes the keys of clients that ask for encryption; nil: they are refused.
	RTMPE *handshake.Exchange
	// SWFTimeout is how long a player may take to answer SWF verification; default 5 s.
	SWFTimeout time.Duration
}

const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultSWFTimeout       = 5 * time.Second
	defaultStreams          = 32
	// lingerTime is how long a connection that was refused may take to read why.
	lingerTime = time.Second
	// maxAnswers is how many answers are gathered for one write, while more of
	// what the client sent is at hand.
	maxAnswers = 64
	// windowSize is the window acknowledgement size that both sides are told, in
	// bytes: the one that all servers use.
	windowSize = 2_500_000
)

// quieter is the ability of a transport to say that a publisher on it must be
// sent nothing unsolicited.
type quieter interface{ Quiet() bool }

// publishing is the ability of a transport to adapt to a publisher.
type publishing interface{ SetPublishing(on bool) }

// NetConn is the server's side of one RTMP connection, called NetConnection in
// Flash. Methods without a remark are for the goroutine that serves it, on which the
// application is called too.
type NetConn struct {
	// set at construction
	conn   net.Conn
	cfg    Config
	quiet  bool
	reader *chunk.Reader
	writer *send.Writer
	parker parker // nil: the connection always has a goroutine

	// set by Start
	ctx     context.Context // the connection's lifetime
	handler Handler
	ended   func(error)

	// owned by whoever serves
	opening     *handshake.Opening // nil: the handshake is complete
	parked      bool               // served by steps, which must not wait
	unparkable  bool               // the connection has the ability, but it failed
	held        *chunk.Message     // read by a step that must not obey it
	readErr     error              // what ended the last step
	connected   bool
	session     Session
	serverTail  [32]byte  // of S1
	check       *swfCheck // nil: none is under way
	commandType uint8     // message type ID of the client's connect, and of all commands to it
	out         []*chunk.Message
	outBuf      []byte
	acked       uint64 // bytes acknowledged
	window      uint64 // acknowledgement window that the client set; 0: none
	verdict     error  // end the connection once the answers are out
	explained   bool   // among the answers is why the connection ends

	mu sync.Mutex
	// guarded by mu
	streams []*NetStream
	kicked  error // another goroutine ended the connection
}

// NewConn prepares a server connection; Serve runs it. The connection's
// abilities are explained in the package comment.
func NewConn(conn net.Conn, cfg Config) *NetConn {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	if cfg.SWFTimeout <= 0 {
		cfg.SWFTimeout = defaultSWFTimeout
	}
	if cfg.Streams <= 0 {
		cfg.Streams = defaultStreams
	}
	q, ok := conn.(quieter)
	nc := &NetConn{
		conn:        conn,
		cfg:         cfg,
		quiet:       ok && q.Quiet(),
		writer:      send.NewWriter(conn, cfg.Send),
		commandType: message.TypeCommandAMF0,
	}
	nc.parker, _ = conn.(parker)
	nc.reader = chunk.NewReader(nc.source(conn), cfg.Chunk)
	nc.reader.ExpectMedia(false)
	nc.reader.OnWait(nc.flush)
	return nc
}

// Writer returns the connection's sending side.
func (nc *NetConn) Writer() *send.Writer { return nc.writer }

// Context ends with the server, or with what else ctx of Start was. Any goroutine may
// call it.
func (nc *NetConn) Context() context.Context { return nc.ctx }

// RemoteAddr returns the client's address. Any goroutine may call it.
func (nc *NetConn) RemoteAddr() net.Addr { return nc.conn.RemoteAddr() }

// BytesRead returns the number of RTMP bytes received after the handshake. Any
// goroutine may call it.
func (nc *NetConn) BytesRead() uint64 { return nc.reader.BytesRead() }

// BytesWritten returns the number of RTMP bytes sent after the handshake. Any
// goroutine may call it.
func (nc *NetConn) BytesWritten() uint64 { return nc.writer.BytesWritten() }

// Serve runs the connection until it ends and closes it. The error says why it
// ended: io.EOF when the client left.
func (nc *NetConn) Serve(ctx context.Context, handler Handler) error {
	ended := make(chan error, 1)
	nc.Start(ctx, handler, func(err error) { ended <- err })
	return <-ended
}

// Start is a Serve that returns as soon as the connection can wait without a
// goroutine; what would be its result is given to ended, once. The caller counts
// on a connection until then.
func (nc *NetConn) Start(ctx context.Context, handler Handler, ended func(error)) {
	nc.ctx, nc.handler = ctx, handler
	stop := context.AfterFunc(ctx, func() { nc.conn.Close() })
	nc.ended = func(err error) { stop(); ended(err) }
	nc.opening = &handshake.Opening{Config: handshake.ServerConfig{Exchange: nc.cfg.RTMPE}}
	if err := nc.hurry(); err != nil {
		nc.end(err)
		return
	}
	if nc.parker == nil || !nc.park() {
		nc.serve()
	}
}

// hurry sets the deadlines of the handshake. That for reading stays until connect was
// accepted.
func (nc *NetConn) hurry() error {
	end := time.Now().Add(nc.cfg.HandshakeTimeout)
	if err := nc.setDeadline(end); err != nil {
		return err
	}
	return nc.conn.SetWriteDeadline(end)
}

// end cleans up after a connection that has ended.
func (nc *NetConn) end(err error) {
	nc.explain(err)
	for _, ns := range nc.streams {
		ns.end()
	}
	if c, ok := nc.session.(interface{ Close() }); ok {
		c.Close()
	}
	nc.finish(err)
	if nc.opening != nil {
		nc.opening.Close()
	}
	chunk.ReleaseAll(nc.out)
	if nc.held != nil {
		nc.held.Release()
	}
	nc.conn.Close()
	nc.writer.Close()
	nc.reader.Close()
	nc.ended(nc.reason(nc.ctx, err))
}

// reason finds the cause behind the error that ended the read loop.
func (nc *NetConn) reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if kicked := nc.kickedFor(); kicked != nil {
		return kicked
	}
	if werr := nc.writer.Err(); werr != nil && !errors.Is(werr, net.ErrClosed) {
		return werr
	}
	return err
}

// shake makes the handshake, or what is left of it.
func (nc *NetConn) shake() error {
	if nc.opening == nil {
		return nil
	}
	if err := nc.opening.Run(nc.conn); err != nil {
		return nc.notShaken(err)
	}
	return nc.shaken()
}

// notShaken says why the handshake has failed.
func (nc *NetConn) notShaken(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return nc.early(err)
}

// shaken goes over to messages.
func (nc *NetConn) shaken() error {
	res := nc.opening.Result()
	nc.opening = nil
	nc.serverTail = res.ServerTail
	if res.Keys != nil {
		if err := nc.encrypt(res.Keys); err != nil {
			return err
		}
	}
	return nc.conn.SetWriteDeadline(time.Time{})
}

// run obeys what the client sends until the connection ends or, if it is parked or
// may be, nothing more is at hand: then the error is syscall.EAGAIN.
func (nc *NetConn) run() error {
	for {
		m := nc.held
		if nc.held = nil; m == nil {
			var err error
			if m, err = nc.reader.ReadMessage(); err != nil {
				return nc.early(nc.swfLate(err))
			}
			if nc.parked && !nc.light(m) {
				nc.held = m
				return errHeavy
			}
		}
		if err := nc.handle(m); err != nil {
			return err
		}
		if nc.verdict != nil {
			return nc.verdict // finish sends the answers
		}
		if len(nc.out) >= maxAnswers {
			if err := nc.flush(); err != nil {
				return err
			}
		}
	}
}

// early names the deadline behind an error before the connection was accepted.
func (nc *NetConn) early(err error) error {
	if !nc.connected && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w (%v): %w", ErrNoConnect, nc.cfg.HandshakeTimeout, err)
	}
	return err
}

// setDeadline sets the time until which the client must be heard of, unless Kick
// has set one.
func (nc *NetConn) setDeadline(t time.Time) error {
	nc.mu.Lock()
	defer nc.mu.Unlock()
	if nc.kicked != nil {
		return nc.kicked
	}
	return nc.conn.SetReadDeadline(t)
}

// handle obeys one message, whose reference it takes over.
func (nc *NetConn) handle(m *chunk.Message) error {
	aggregate := m.TypeID == message.TypeAggregate
	if !aggregate && !isMedia(m.TypeID) {
		err := nc.control(m)
		m.Release()
		return err
	}
	ns := nc.stream(m.StreamID)
	if ns == nil || ns.publication == nil {
		m.Release() // media that nobody asked for
		return nil
	}
	var err error
	if aggregate {
		err = ns.aggregate(m)
	} else {
		err = ns.publication.WriteMessage(m)
	}
	if err != nil {
		return err
	}
	return nc.acknowledge()
}

// acknowledge sends an Acknowledgement when half of the client's window has come
// in (RTMP 1.0 §5.4.3). A client that set no window gets none: ffmpeg does not
// read while it publishes, and closing a socket with bytes unread makes the
// kernel drop what the gateway has not received yet.
func (nc *NetConn) acknowledge() error {
	n := nc.reader.BytesRead()
	if nc.window == 0 || nc.quiet || n-nc.acked < nc.window/2 {
		return nil
	}
	nc.acked = n
	return nc.answer(0, message.Acknowledgement{SequenceNumber: uint32(n)})
}

// control obeys a message that is not media.
func (nc *NetConn) control(m *chunk.Message) error {
	switch m.TypeID {
	case message.TypeCommandAMF0, message.TypeCommandAMF3:
		return nc.readCommand(m)
	case message.TypeSharedObjectAMF0, message.TypeSharedObjectAMF3:
		nc.relay(m) // nobody here has any
		return nil
	case message.TypeUserControl, message.TypeWindowAckSize, message.TypeSetPeerBandwidth:
		return nc.protocolControl(m)
	}
	return nil // acknowledgements are not enforced; the rest is not for a server
}

func (nc *NetConn) protocolControl(m *chunk.Message) error {
	decoded, err := message.Decode(m.TypeID, m.Bytes(), nc.cfg.AMF)
	if err != nil {
		return err
	}
	switch d := decoded.(type) {
	case message.WindowAckSize:
		nc.window = uint64(d.Size)
	case message.SetPeerBandwidth:
		return nc.answer(0, message.WindowAckSize{Size: windowSize})
	case message.UserControl:
		if d.Event == message.EventPingRequest {
			return nc.answer(0, message.UserControl{Event: message.EventPingResponse, Value: d.Value})
		}
		if d.Event == message.EventSWFVerifyReply {
			return nc.swfAnswered(d.Data)
		}
	}
	return nil
}

// readCommand runs the command in a message.
func (nc *NetConn) readCommand(m *chunk.Message) error {
	if nc.relay(m) {
		return nil
	}
	cmd, err := message.DecodeCommand(m.TypeID, m.Bytes(), nc.cfg.AMF)
	switch {
	case err == nil:
		return nc.command(m.TypeID, m.StreamID, cmd)
	case cmd.Name != "" && nc.connected && errors.Is(err, amf.ErrExternalizable):
		return nc.unknown(cmd) // no command that is served has such arguments
	}
	return err
}

// answer queues a message that goes out with the other answers to what was read.
func (nc *NetConn) answer(streamID uint32, msg message.Message) error {
	return nc.enqueue(streamID, msg, chunk.ClassUrgent)
}

func (nc *NetConn) enqueue(streamID uint32, msg message.Message, class chunk.Class) error {
	m, err := encode(&nc.outBuf, streamID, msg, class)
	if err != nil {
		return err
	}
	nc.out = append(nc.out, m)
	return nil
}

// encode makes a chunk.Message of a typed message.
func encode(buf *[]byte, streamID uint32, msg message.Message, class chunk.Class) (*chunk.Message, error) {
	b, err := msg.AppendPayload((*buf)[:0])
	if err != nil {
		return nil, err
	}
	*buf = b
	m := chunk.NewMessage(msg.TypeID(), streamID, 0, b)
	m.Class = class
	return m, nil
}

// flush sends the queued answers in one write.
func (nc *NetConn) flush() error {
	if len(nc.out) == 0 {
		return nil
	}
	err := nc.writer.Send(nc.out...)
	clear(nc.out)
	nc.out, nc.outBuf = nc.out[:0], nil
	return err
}

// explain tells a client that publishes or plays why its connection ends, if that is for
// what it has sent: the person at the encoder should not have to ask the operator.
func (nc *NetConn) explain(err error) {
	if !offends(err) || nc.kickedFor() != nil {
		return
	}
	for _, ns := range nc.streams {
		if ns.active() && ns.answer(message.LevelError, message.StatusStreamFailed, err.Error()) == nil {
			nc.explained = true
		}
	}
}

// offends reports whether an error is the client's: it broke the protocol, or went beyond
// a limit.
func offends(err error) bool {
	return errors.As(err, new(*chunk.LimitError)) || errors.As(err, new(*amf.LimitError)) || errors.Is(err, ErrName) ||
		errors.As(err, new(*chunk.ProtocolError)) || errors.As(err, new(*message.ProtocolError)) || errors.As(err, new(*ProtocolError))
}

// finish lets the client read the last answers when the server ended the
// connection: closing with unread input would make the kernel discard them.
func (nc *NetConn) finish(err error) {
	if nc.verdict == nil && !nc.explained && nc.kickedFor() == nil {
		return
	}
	if nc.flush() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lingerTime)
	defer cancel()
	if nc.writer.Flush(ctx) != nil {
		return
	}
	half, ok := nc.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if nc.conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, nc.conn) // until the client has hung up or the deadline passed
	}
}

// kickedFor returns why another goroutine ended the connection, or nil.
func (nc *NetConn) kickedFor() error {
	nc.mu.Lock()
	defer nc.mu.Unlock()
	return nc.kicked
}

// Kick ends the connection from outside: the client is told with the status on
// each of its streams, and Serve returns reason. Any goroutine may call it.
func (nc *NetConn) Kick(status *StatusError, reason error) {
	nc.mu.Lock()
	first := nc.kicked == nil
	if first {
		nc.kicked = reason
	}
	streams := append([]*NetStream(nil), nc.streams...)
	nc.mu.Unlock()
	if !first {
		return
	}
	for _, ns := range streams {
		if status != nil && ns.active() {
			ns.Notify(message.Status{Level: message.LevelError, Code: status.Code, Description: status.Description})
		}
	}
	nc.mu.Lock()
	defer nc.mu.Unlock()
	_ = nc.conn.SetReadDeadline(time.Now()) // wakes whoever reads, who finds kicked
	if nc.parker != nil {
		nc.parker.Wake()
	}
}

// Shutdown ends the connection because the server stops: players and publishers
// are told, and Serve returns [ErrShutdown]. Any goroutine may call it.
func (nc *NetConn) Shutdown() {
	nc.mu.Lock()
	streams := append([]*NetStream(nil), nc.streams...)
	nc.mu.Unlock()
	for _, ns := range streams {
		ns.goodbye()
	}
	nc.Kick(nil, ErrShutdown)
}

// Plays reports whether the client plays a stream, so that it need not send
// anything. Any goroutine may call it.
func (nc *NetConn) Plays() bool { return nc.has(plays) }

// has reports whether a stream of the connection is used in a way. Any goroutine may
// call it.
func (nc *NetConn) has(use uint32) bool {
	nc.mu.Lock()
	defer nc.mu.Unlock()
	return slices.ContainsFunc(nc.streams, func(ns *NetStream) bool { return ns.use.Load() == use })
}

// stream returns the NetStream with an ID, or nil.
func (nc *NetConn) stream(id uint32) *NetStream {
	for _, ns := range nc.streams {
		if ns.id == id {
			return ns
		}
	}
	return nil
}

// Connected reports whether the client's connect command was accepted. It may
// be called once Serve has returned.
func (nc *NetConn) Connected() bool { return nc.connected }
