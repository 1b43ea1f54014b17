package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"culvert/gateway/client"
	"culvert/gateway/demo"
	"culvert/gateway/live"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
)

// demoStream is where the demonstration plays.
var demoStream = live.Key{App: "live", Name: "demo"}

// demoPublisher stands for the gateway itself among publishers.
type demoPublisher struct{}

// Replaced implements [live.Publisher]: the next write says so.
func (demoPublisher) Replaced() {}

// playDemo publishes the built-in clip again and again.
func (g *Gateway) playDemo(ctx context.Context) error {
	policy := g.apps.Policy(demoStream.App)
	if policy == nil {
		return errors.New("--demo needs the application live, which the configuration does not list")
	}
	pub, err := g.hub.Publish(demoStream, policy.Live, live.Offer{
		Publisher: demoPublisher{},
		Source:    live.Source{Transport: "demo", Remote: "built-in clip"},
	})
	if err != nil {
		return err
	}
	defer pub.Close()
	pace := client.NewPacer()
	defer pace.Stop()
	for round := time.Duration(0); ; round += demo.Length {
		if err := playClip(ctx, pub, pace, round); err != nil {
			if ctx.Err() != nil || errors.Is(err, live.ErrReplaced) {
				return nil
			}
			return err
		}
	}
}

// playClip publishes the clip once; round is its place on the stream's time
// line.
func playClip(ctx context.Context, pub *live.Publication, pace *client.Pacer, round time.Duration) error {
	file := flv.NewReader(bytes.NewReader(demo.Clip()), flv.ReaderConfig{})
	for {
		tag, err := file.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at := round + time.Duration(tag.Timestamp)*time.Millisecond
		if err := pace.Wait(ctx, at); err != nil {
			return err
		}
		m := chunk.NewMessage(uint8(tag.Type), 0, chunk.Timestamp(at.Milliseconds()), tag.Data)
		if err := pub.WriteMessage(m); err != nil {
			return err
		}
	}
}
