package live

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/send"
)

// Errors of Publish and Subscribe.
var (
	ErrBusy     = errors.New("live: the stream has a publisher already")
	ErrNotFound = errors.New("live: nobody publishes the stream")
	ErrReplaced = errors.New("live: another publisher took the stream over")
)

// Key names a stream.
type Key struct{ App, Name string }

// Options say how the streams of an application behave. A stream has the
// options it was created with until it ends.
type Options struct {
	GOPCache int            // bytes kept since the last keyframe; 0: none
	Gather   send.Gather    // see package send
	Dropped  *atomic.Uint64 // counts frames dropped for slow players; may be nil
	Watch    Watcher        // is told of the streams; may be nil
}

// Watcher is told what becomes of the streams of an application, in the order in which
// it happens. Its methods are called with the stream locked: they must not wait and
// not call the hub.
type Watcher interface {
	// Published says that a publisher began, or took over.
	Published(key Key, source Source)
	// Unpublished says that nobody publishes the stream any more.
	Unpublished(key Key)
	// Wanted says that there are players and no publisher; source is one of them.
	Wanted(key Key, source Source)
	// Unwanted says that the last player has left.
	Unwanted(key Key)
}

// Hub holds all live streams. Its methods may be called by any goroutine.
type Hub struct {
	mu sync.Mutex
	// guarded by mu
	streams map[Key]*Stream
}

// NewHub returns a Hub without streams.
func NewHub() *Hub { return &Hub{streams: make(map[Key]*Stream)} }

// acquire returns a stream for one more user.
func (h *Hub) acquire(key Key, opts Options) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.streams[key]
	if s == nil {
		s = newStream(h, key, opts)
		h.streams[key] = s
	}
	s.users++
	return s
}

// release ends a use of the stream.
func (h *Hub) release(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(h.streams, s.key)
		s.close()
	}
}

// Publisher is who publishes a stream, for the hub to speak to.
type Publisher interface {
	// Replaced is called when another publisher took the stream over. It must not
	// wait.
	Replaced()
}

// Player is who plays a stream, for the hub to speak to. The methods are called
// in order with the media and must not wait.
type Player interface {
	Published()
	Unpublished()
}

// Source says where a publisher or player is, for lists.
type Source struct {
	Transport string // rtmp, rtmps, rtmpt, rtmpts
	Remote    string // address
	Via       string // gateways that the stream is relayed through; see rtmpcore.ConnectRequest
}

// Offer is a wish to publish.
type Offer struct {
	Publisher Publisher
	Source    Source
	Takeover  bool // replace the publisher that is there
}

// Publish makes a publisher the stream's. When there is one already, the error
// is [ErrBusy], unless the offer takes over: then the old one is replaced.
func (h *Hub) Publish(key Key, opts Options, offer Offer) (*Publication, error) {
	s := h.acquire(key, opts)
	pub := &Publication{stream: s, publisher: offer.Publisher, source: offer.Source, since: time.Now()}
	old, ok := s.publish(pub, offer.Takeover)
	if !ok {
		h.release(s)
		return nil, ErrBusy
	}
	if old != nil {
		old.publisher.Replaced()
	}
	return pub, nil
}

// Request is a wish to play.
type Request struct {
	Player   Player
	Source   Source
	Writer   *send.Writer          // where media goes after Subscription.Start
	StreamID uint32                // message stream ID at the player
	Behind   func() *chunk.Message // makes the message that tells the player that frames were dropped, or nil; may be nil
	Wait     bool                  // the player may come before the publisher

	// Relay says that the player is a server that the stream is published to. It counts
	// as no player, and gets metadata in the form in which publishers send it.
	Relay   bool
	Dropped *atomic.Uint64 // counts its dropped frames; nil: Options.Dropped
}

// Subscribe makes a player of the stream. The error is [ErrNotFound] when there
// is no publisher and the request does not wait.
func (h *Hub) Subscribe(key Key, opts Options, req Request) (*Subscription, error) {
	s := h.acquire(key, opts)
	if !s.admit(req) {
		h.release(s)
		return nil, ErrNotFound
	}
	cfg := send.SubscriberConfig{StreamID: req.StreamID, Behind: req.Behind, Dropped: s.opts.Dropped}
	if req.Dropped != nil {
		cfg.Dropped = req.Dropped
	}
	if req.Relay {
		cfg.Server, cfg.Data = true, setDataFrame
	}
	return &Subscription{
		stream: s,
		player: req.Player,
		source: req.Source,
		relay:  req.Relay,
		sub:    send.NewSubscriber(req.Writer, cfg),
	}, nil
}

// Published reports whether a stream has a publisher.
func (h *Hub) Published(key Key) bool {
	h.mu.Lock()
	s := h.streams[key]
	h.mu.Unlock()
	return s != nil && s.published()
}

// Info describes a stream to people.
type Info struct {
	Key
	Players map[string]int // by transport

	// of the present publisher
	Live       bool // there is one
	Source     Source
	Since      time.Time
	VideoCodec string // "" without video
	AudioCodec string // "" without audio
	Width      int    // pixels, 0 when its metadata does not say
	Height     int
	Bytes      uint64 // payload received
}

// Streams describes all streams, in the order of their names.
func (h *Hub) Streams() []Info {
	h.mu.Lock()
	streams := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		streams = append(streams, s)
	}
	h.mu.Unlock()
	infos := make([]Info, 0, len(streams))
	for _, s := range streams {
		infos = append(infos, s.info())
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Name, b.Name))
	})
	return infos
}
