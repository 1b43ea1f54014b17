package bench

import (
	"errors"
	"fmt"
	"time"

	"culvert/gateway/client"
)

// Scenarios.
const (
	Fanout     = "fanout"     // one publisher, Count players
	Publishers = "publishers" // Count publishers, nobody watching
	Storm      = "storm"      // Count connections at a time: handshake, connect, close
	Polls      = "polls"      // Count tunnel sessions that poll
	Goodput    = "goodput"    // one publisher as fast as one player gets it
)

// Scenarios lists all scenarios, with what they are for people.
var Scenarios = []struct{ Name, About string }{
	{Fanout, "one publisher, many players"},
	{Publishers, "many publishers, nobody watching"},
	{Storm, "connections that come and go: handshake, connect, close"},
	{Polls, "tunnel sessions that ask for news (rtmpt and rtmpts)"},
	{Goodput, "one publisher as fast as one player gets it"},
}

// Config says what load to make. Zero fields take the values that are named.
type Config struct {
	Scenario string
	Target   client.Target  // publishers get their index behind the stream name in Publishers
	Options  client.Options // how to connect
	Label    string         // the server's name in tables; default the target's scheme and address

	Count   int           // players, publishers, sessions or connections at a time; default 100, Storm 32
	Rate    int           // bits per second of each stream, audio included; default 1,000,000
	FPS     int           // video frames per second; default 30
	Silent  bool          // streams have no audio
	Time    time.Duration // length of the measured window; default 10 s
	Joining int           // connections being set up at a time; default 32
	Poll    time.Duration // RTMPT: pause between an answer and the next idle request
	// JoinPoll is that pause until a player has joined. 0: Poll.
	JoinPoll time.Duration
	Pace     int // Storm: connections per second, 0: as fast as they go
	Size     int // Goodput: bytes of a frame; default 32 KiB
	Flight   int // Goodput: bytes on their way to the player at a time; default 1 MiB

	PID      int                // the server's process, 0: not to be watched
	MinIdle  float64            // percent of the machine that must be idle; default 5, and 0 at full speed; negative: no matter
	Progress func(state string) // called about once a second; may be nil
	Proc     Proc               // where processes are read from
}

// settle is the time between the last player's first frame and the window.
const settle = 500 * time.Millisecond

// patience bounds every wait for the server beyond the window.
const patience = 20 * time.Second

func (c Config) withDefaults() Config {
	or := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Scenario == Storm {
		or(&c.Count, 32)
	}
	or(&c.Count, 100)
	or(&c.Rate, 1_000_000)
	or(&c.FPS, 30)
	or(&c.Joining, 32)
	or(&c.Size, 32<<10)
	or(&c.Flight, 1<<20)
	if c.Time == 0 {
		c.Time = 10 * time.Second
	}
	if c.MinIdle == 0 && !c.fullSpeed() {
		c.MinIdle = 5
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Label == "" {
		c.Label = c.Target.Scheme + "://" + c.Target.Address()
	}
	return c
}

// fullSpeed reports whether the load is as much as load generator and server can
// do together: then nothing of the machine is left, and only what both did per
// connection, request or bit can be compared, within one invocation.
func (c *Config) fullSpeed() bool {
	return c.Scenario == Goodput || c.Scenario == Storm && c.Pace == 0 || c.Scenario == Polls && c.Poll == 0
}

// tunnelled reports whether the target is reached over RTMPT or RTMPTS.
func (c *Config) tunnelled() bool {
	return c.Target.Scheme == "rtmpt" || c.Target.Scheme == "rtmpts"
}

func (c *Config) validate() error {
	switch {
	case c.Count < 1 || c.Joining < 1 || c.Time < 0 || c.Poll < 0 || c.JoinPoll < 0 || c.Pace < 0:
		return errors.New("bench: counts and times must be above zero")
	case c.FPS < 1 || c.FPS > 1000:
		return errors.New("bench: frames per second must be between 1 and 1000")
	case c.videoSize() < minVideo || !c.Silent && c.audioSize() < minAudio:
		return fmt.Errorf("bench: %d bit/s are too few for %d frames per second and their stamps", c.Rate, c.FPS)
	case c.videoSize() > maxFrame || c.Size < minVideo || c.Size > maxFrame:
		return fmt.Errorf("bench: frames must be %d to %d bytes", minVideo, maxFrame)
	case c.Scenario == Polls && !c.tunnelled():
		return errors.New("bench: polls need rtmpt:// or rtmpts://")
	}
	return nil
}

// maxFrame is what servers commonly take as one message.
const maxFrame = 4 << 20

// audioSamples are those of one AAC frame, at audioFrequency Hz: 43 frames a
// second.
const (
	audioSamples   = 1024
	audioFrequency = 44100
	audioRate      = 64_000 // bits per second, an eighth of the stream at most
)

func (c *Config) audioBits() int {
	if c.Silent {
		return 0
	}
	return min(audioRate, c.Rate/8)
}

func (c *Config) audioSize() int { return c.audioBits() * audioSamples / audioFrequency / 8 }

func (c *Config) videoSize() int { return (c.Rate - c.audioBits()) / 8 / c.FPS }
