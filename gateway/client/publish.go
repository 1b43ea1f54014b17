package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
)

// Progress is told now and then how a transfer goes.
type Progress struct {
	Elapsed  time.Duration // since the first message
	Media    time.Duration // of the stream
	Messages int
	Bytes    uint64
	Video    string // codec, "" before the first video message
	Audio    string // codec, "" before the first audio message
	Dropped  int    // how often the server said that it dropped frames
}

// progressInterval is how often progress is told.
const progressInterval = time.Second

// PublishFLV sends the FLV file in r to the target in real time, by the file's
// timestamps. progress may be nil.
func PublishFLV(ctx context.Context, r io.Reader, t Target, opts Options, progress func(Progress)) error {
	file := flv.NewReader(r, flv.ReaderConfig{})
	if _, err := file.Header(); err != nil {
		return err
	}
	c, err := Connect(ctx, t, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	id, err := c.CreateStream(ctx)
	if err == nil {
		err = c.Publish(ctx, id, t.Name)
	}
	if err != nil {
		return explain(t, false, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { // stopped by c.Close; waited below
		defer close(watched)
		cancel(watch(c))
	}()
	err = sendFile(ctx, file, c, id, progress)
	if err == nil {
		err = c.Unpublish(id, t.Name)
	}
	if err == nil {
		err = c.Flush(ctx)
	}
	cause := context.Cause(ctx)
	c.Close()
	<-watched
	if err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return explain(t, false, cause)
	}
	return err
}

// watch reads what the server says to a publisher, until it ends the stream.
func watch(c *rtmpcore.Client) error {
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		m.Release()
	}
}

func sendFile(ctx context.Context, file *flv.Reader, c *rtmpcore.Client, id uint32, progress func(Progress)) error {
	var (
		p     Progress
		pace  *Pacer
		first uint32
		told  time.Duration
	)
	for {
		tag, err := file.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if pace == nil {
			pace, first = NewPacer(), tag.Timestamp
			defer pace.Stop()
		}
		p.Media = time.Duration(tag.Timestamp-first) * time.Millisecond
		if err := pace.Wait(ctx, p.Media); err != nil {
			return err
		}
		m := chunk.NewMessage(uint8(tag.Type), id, chunk.Timestamp(tag.Timestamp), payload(tag))
		p.note(m)
		if err := c.Send(m); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if p.Elapsed = pace.Elapsed(); progress != nil && p.Elapsed-told >= progressInterval {
			told = p.Elapsed
			progress(p)
		}
	}
}

// payload returns a tag's data as an encoder sends it: metadata asks the server
// to keep it.
func payload(tag flv.Tag) []byte {
	if tag.Type != flv.TagScript {
		return tag.Data
	}
	set, err := message.Data{Name: message.NameSetDataFrame}.AppendPayload(nil)
	if err != nil {
		return tag.Data
	}
	return append(set, tag.Data...)
}

// note counts a message.
func (p *Progress) note(m *chunk.Message) {
	p.Messages++
	p.Bytes += uint64(m.Len())
	switch m.TypeID {
	case message.TypeAudio:
		if h := flv.ParseAudio(m.Head()); h.Codec != 0 {
			p.Audio = h.Codec.String()
		}
	case message.TypeVideo:
		if h := flv.ParseVideo(m.Head()); h.Codec != 0 {
			p.Video = h.Codec.String()
		}
	}
}
