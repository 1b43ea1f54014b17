package testdata

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed captures
var files embed.FS

// Capture is one TCP connection between a real client and a real server, both directions from the first byte to the last.
// captures/README.md says how each was made.
type Capture struct {
	Client   string // ffmpeg, gstreamer, rtmpdump
	Scenario string // transport-publish or transport-play
	// The bytes of each call are the caller's own.
	ClientToServer, ServerToClient []byte
}

// Name returns "client/scenario", for subtests.
func (c Capture) Name() string { return c.Client + "/" + c.Scenario }

// Captures returns all captures in the order of their names.
func Captures() ([]Capture, error) {
	names, err := fs.Glob(files, "captures/*/*.c2s.bin")
	if err != nil {
		return nil, err
	}
	all := make([]Capture, 0, len(names))
	for _, name := range names {
		base := strings.TrimSuffix(name, ".c2s.bin")
		c := Capture{Client: path.Base(path.Dir(name)), Scenario: path.Base(base)}
		if c.ClientToServer, err = files.ReadFile(name); err != nil {
			return nil, err
		}
		if c.ServerToClient, err = files.ReadFile(base + ".s2c.bin"); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
