package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"culvert/gateway/client"
	"culvert/gateway/live"
	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
)

// Transport is what [live.Source.Transport] says of a stream that is pulled.
const Transport = "pull"

// Config says what a Relay does, for the streams of one application.
type Config struct {
	Hub  *live.Hub
	Live live.Options // of the streams; Watch is the Relay itself
	Push []Push
	Pull *Pull // nil: nothing is pulled

	ID   string              // of this gateway; see rtmpcore.ConnectRequest.Via
	Self func(net.Addr) bool // says that an address is a listener of this gateway; may be nil
	// Client says how to connect. Timeout bounds everything up to the answer to publish
	// or play, and TLS is what Push.TLS and Pull.TLS override.
	Client client.Options
	Log    zerolog.Logger

	// Connect replaces client.Connect, for tests.
	Connect func(ctx context.Context, t client.Target, opts client.Options) (*rtmpcore.Client, error)
}

// Push is a server that streams are sent on to.
type Push struct {
	Name   string // in logs and metrics; "": scheme, host, port and app
	To     string // address; {name} and {app} stand for those of the stream
	Linger time.Duration
	TLS    *tls.Config // may be nil
}

// Pull is a server that streams are fetched from.
type Pull struct {
	From    string        // address; {name} and {app} stand for those of the stream
	Idle    time.Duration // how long a stream is fetched after its last player has left
	Lost    time.Duration // how long players are kept when the origin was lost
	Streams int           // most that are fetched at a time
	TLS     *tls.Config   // may be nil
}

// Relay pushes and pulls the streams of one application. Its methods may be called by
// any goroutine.
type Relay struct {
	// set at construction
	cfg     Config
	ctx     context.Context // ended by Close
	stop    context.CancelFunc
	targets []*target
	origin  *origin // nil: none
	running sync.WaitGroup

	mu sync.Mutex // taken with streams of the hub locked: the hub is not called with it held
	// guarded by mu
	closed bool
}

const (
	defaultTimeout = 15 * time.Second
	// goodbye is the longest that a target may take to read the end of a stream.
	goodbye = 2 * time.Second
)

// New returns a Relay that waits for its streams. Errors name no address: it may hold a
// key.
func New(cfg Config) (*Relay, error) {
	if cfg.Connect == nil {
		cfg.Connect = client.Connect
	}
	if cfg.Client.Timeout <= 0 {
		cfg.Client.Timeout = defaultTimeout
	}
	r := &Relay{cfg: cfg}
	r.cfg.Live.Watch = r
	labels := make(map[string]bool)
	for i, p := range cfg.Push {
		d, err := newDestination(p.Name, p.To)
		if err != nil {
			return nil, fmt.Errorf("push[%d]: %w", i, err)
		}
		for n, plain := 2, d.label; labels[d.label]; n++ {
			d.label = plain + "#" + strconv.Itoa(n)
		}
		labels[d.label] = true
		r.targets = append(r.targets, newTarget(r, d, p))
	}
	if cfg.Pull != nil {
		d, err := newDestination("", cfg.Pull.From)
		if err != nil {
			return nil, fmt.Errorf("pull: %w", err)
		}
		r.origin = newOrigin(r, d, *cfg.Pull)
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// Options returns what the application's streams have to be published and played with.
func (r *Relay) Options() live.Options { return r.cfg.Live }

// Pulls reports whether streams that nobody publishes are fetched.
func (r *Relay) Pulls() bool { return r.origin != nil }

// Close ends all pushes and pulls, in good order where the other side takes it soon,
// and waits for them.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
}

// Published implements [live.Watcher].
func (r *Relay) Published(key live.Key, source live.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.origin != nil && source.Transport != Transport {
		r.origin.displaced(key)
	}
	for _, t := range r.targets {
		t.published(key, source)
	}
}

// Unpublished implements [live.Watcher].
func (r *Relay) Unpublished(key live.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		t.unpublished(key)
	}
}

// Wanted implements [live.Watcher].
func (r *Relay) Wanted(key live.Key, source live.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.origin != nil && !r.closed {
		r.origin.wanted(key, source)
	}
}

// Unwanted implements [live.Watcher].
func (r *Relay) Unwanted(key live.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.origin != nil {
		r.origin.unwanted(key)
	}
}

// call connects to the stream's address and creates a message stream there.
func (j *job) call(ctx context.Context, t client.Target, config *tls.Config) (*rtmpcore.Client, uint32, error) {
	r := j.relay
	r.mu.Lock()
	via := j.source.Via
	r.mu.Unlock()
	opts := r.cfg.Client
	if config != nil {
		opts.TLS = config
	}
	opts.Extra = append(opts.Extra[:len(opts.Extra):len(opts.Extra)], amf.Pair{Key: rtmpcore.ViaProperty, Value: r.chain(via)})
	opts.Refuse = func(addr net.Addr) error {
		if r.cfg.Self != nil && r.cfg.Self(addr) {
			return errLoop
		}
		return nil
	}
	c, err := r.cfg.Connect(ctx, t, opts)
	if err != nil {
		return nil, 0, err
	}
	id, err := c.CreateStream(ctx)
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, id, nil
}

// hopsKept is how many gateways a relay names, itself included: loops of more are not
// found. Fewer than a gateway takes from its clients, so that what one client claims
// cannot get a stream that others share refused.
const hopsKept = 8

// chain adds this gateway to those that a stream came through.
func (r *Relay) chain(via string) string {
	if via == "" {
		return r.cfg.ID
	}
	hops := strings.Split(via, ",")
	return strings.Join(append(hops[max(0, len(hops)-hopsKept+1):], r.cfg.ID), ",")
}

// within bounds the setup of a connection, and keeps the cause when time is over.
func (r *Relay) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.Client.Timeout)
}

// job is one stream of a relay: what pushes and pulls have in common.
type job struct {
	// set at construction
	relay *Relay
	key   live.Key
	stats *stats
	dest  destination
	log   zerolog.Logger
	ctx   context.Context // ended by leave, or with the Relay
	leave context.CancelFunc

	// owned by run
	pause backoff

	// guarded by relay.mu
	source live.Source // of the publisher, or of a player
	state  State
	since  time.Time
	client *rtmpcore.Client // nil: not connected
	err    error            // of the last attempt; nil: it went well, or none has ended
	change chan struct{}    // closed when something of these changes
}

func (r *Relay) newJob(key live.Key, source live.Source, d destination, s *stats, kind string) job {
	ctx, leave := context.WithCancel(r.ctx)
	return job{
		relay: r, key: key, source: source, stats: s, dest: d,
		log: r.cfg.Log.With().Str("app", key.App).Str("stream", key.Name).Str("relay", kind).Str("target", d.label).Logger(),
		ctx: ctx, leave: leave, change: make(chan struct{}), state: Connecting, since: time.Now(),
	}
}

// set changes the state.
func (j *job) set(state State) {
	j.relay.mu.Lock()
	defer j.relay.mu.Unlock()
	j.setLocked(state)
}

func (j *job) setLocked(state State) {
	if state != j.state {
		j.state, j.since = state, time.Now()
	}
	j.changed()
}

// changed wakes who waits for a change. The caller holds relay.mu.
func (j *job) changed() {
	close(j.change)
	j.change = make(chan struct{})
}

// connected notes the connection of an attempt, whose bytes count from now on.
func (j *job) connected(c *rtmpcore.Client) {
	j.relay.mu.Lock()
	defer j.relay.mu.Unlock()
	j.client = c
}

// disconnected closes the connection of an attempt and counts its bytes.
func (j *job) disconnected() {
	j.relay.mu.Lock()
	c := j.client
	j.relay.mu.Unlock()
	if c == nil {
		return
	}
	c.Close()
	j.relay.mu.Lock()
	defer j.relay.mu.Unlock()
	j.client = nil
	j.stats.received.Add(c.BytesRead())
	j.stats.sent.Add(c.BytesWritten())
}

// repeat makes attempts until the job is over or has failed for good.
func (j *job) repeat(attempt func() error, ready func()) {
	for j.ctx.Err() == nil {
		began := time.Now()
		err := attempt()
		j.disconnected()
		if j.ctx.Err() != nil || err == nil {
			continue
		}
		pause := j.pause.after(time.Since(began))
		if errors.Is(err, errLoop) {
			pause = loopPause
		}
		j.failed(err, pause)
		sleep(j.ctx, pause)
		ready()
		if j.ctx.Err() == nil {
			j.stats.retries.Add(1)
		}
	}
}

// loopPause is the pause after a loop was found: only a changed address will end it.
const loopPause = 5 * time.Minute

func (j *job) failed(err error, pause time.Duration) {
	reason, text := reasonOf(err), redact(reworded(err), j.dest.of(j.key), j.key)
	level := zerolog.WarnLevel
	if errors.Is(err, errLoop) {
		level = zerolog.ErrorLevel
	}
	j.log.WithLevel(level).Str("reason", reason).Str("error", text).Float64("retry", pause.Seconds()).Msg("relay failed")
	j.stats.failed(reason, text)
	j.relay.mu.Lock()
	defer j.relay.mu.Unlock()
	j.err = err
	j.setLocked(Retrying)
}
