package demo

import (
	_ "embed"
	"time"
)

// Length is the duration of the clip: what to add to every timestamp of the next round.
// It is a whole number of video frames and of audio frames, so rounds join without a seam.
const Length = 8 * time.Second

//go:embed clip.flv
var clip []byte

// Clip returns the clip, a complete FLV file: one onMetaData tag, the H.264 and AAC sequence headers, then frames with timestamps
// from 0 to below [Length], a key frame every second. The bytes are shared by all callers and must not be changed.
func Clip() []byte { return clip }
