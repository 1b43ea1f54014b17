package client

import (
	"context"
	"errors"
	"io"
	"time"

	"culvert/rtmpcore"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/chunk"
	"culvert/rtmpcore/flv"
	"culvert/rtmpcore/message"
)

// PlayFLV plays the target and writes what arrives to w as an FLV file; w may be
// nil. It returns nil when the stream ends or ctx does. progress may be nil.
func PlayFLV(ctx context.Context, t Target, w io.Writer, opts Options, progress func(Progress)) error {
	c, err := Connect(ctx, t, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	id, err := c.CreateStream(ctx)
	if err == nil {
		err = c.Play(ctx, id, t.Name)
	}
	if err != nil {
		return explain(t, false, err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var out *flv.Writer
	if w != nil {
		out = flv.NewWriter(w)
		if err := out.WriteHeader(flv.Header{Audio: true, Video: true}); err != nil {
			return err
		}
	}
	err = receive(c, out, progress)
	switch {
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF), ctx.Err() != nil:
		return nil
	case errors.As(err, new(*rtmpcore.StatusError)):
		return explain(t, false, err)
	}
	return err
}

func receive(c *rtmpcore.Client, out *flv.Writer, progress func(Progress)) error {
	var (
		p     Progress
		begin time.Time
		first chunk.Timestamp
		told  time.Time
	)
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		now := time.Now()
		if m.TypeID == message.TypeAudio || m.TypeID == message.TypeVideo {
			if begin.IsZero() {
				begin, first, told = now, m.Timestamp, now
			}
			p.Media = time.Duration(m.Timestamp.Sub(first)) * time.Millisecond
		}
		p.note(m)
		if out != nil && forFile(m) {
			err = out.WriteTag(flv.Tag{Type: flv.TagType(m.TypeID), Timestamp: uint32(m.Timestamp), Data: m.Bytes()})
		}
		m.Release()
		if err != nil {
			return err
		}
		if progress != nil && !begin.IsZero() && now.Sub(told) >= progressInterval {
			told, p.Elapsed, p.Dropped = now, now.Sub(begin), c.FellBehind()
			progress(p)
		}
	}
}

// forFile reports whether a message belongs in a file: what servers tell the
// player about the session does not.
func forFile(m *chunk.Message) bool {
	if m.TypeID != message.TypeDataAMF0 {
		return true
	}
	d, err := message.DecodeData(m.TypeID, m.Bytes(), amf.Limits{})
	return err == nil && d.Name != message.NameOnStatus && d.Name != message.NameSampleAccess
}
