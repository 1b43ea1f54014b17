package gateway

import (
	"fmt"
	"io"
	"net"
	"strconv"
)

// WriteGuide writes for a person at the same machine how to watch and publish:
// lines to copy, with the ports that are open.
func (g *Gateway) WriteGuide(w io.Writer) error {
	var text []byte
	line := func(format string, args ...any) { text = fmt.Appendf(text, format+"\n", args...) }
	if g.opts.Demo {
		line("culvert plays a test picture as %s/%s. Watch it over any way in:", demoStream.App, demoStream.Name)
		for _, address := range g.addresses(demoStream.App + "/" + demoStream.Name) {
			line("  ffplay %s", address)
		}
		line("  culvert play %s", g.addresses(demoStream.App + "/" + demoStream.Name)[0])
		line("")
	}
	line("Publish from this machine:")
	line("  ffmpeg -re -i FILE -c copy -f flv %s", g.addresses("live/mystream")[0])
	line("  OBS: Settings, Stream, Custom. Server: %s   Stream Key: mystream", g.addresses("live")[0])
	if port := g.port(httpListener); port > 0 {
		line("Streams and their addresses: http://%s/", hostPort(port, 80))
	}
	line("Stop with Ctrl+C.")
	_, err := w.Write(text)
	return err
}

// addresses returns the ways in to a path, the plainest first.
func (g *Gateway) addresses(path string) []string {
	var out []string
	for _, way := range []struct {
		scheme, listener string
		port             int
	}{
		{"rtmp", rtmpListener, 1935},
		{"rtmps", httpsListener, 443},
		{"rtmpt", httpListener, 80},
		{"rtmpts", httpsListener, 443},
	} {
		if port := g.port(way.listener); port > 0 {
			out = append(out, fmt.Sprintf("%s://%s/%s", way.scheme, hostPort(port, way.port), path))
		}
	}
	if len(out) == 0 {
		out = append(out, "rtmp://localhost/"+path)
	}
	return out
}

// hostPort returns localhost with a port, unless it is the scheme's own.
func hostPort(port, standard int) string {
	if port == standard {
		return "localhost"
	}
	return net.JoinHostPort("localhost", strconv.Itoa(port))
}
