package web

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// view is what the template shows.
type view struct {
	Host    string
	CSS, JS string // content hashes
	SVG     string
	Streams []streamView
	Publish *publishView
	Version string
}

type streamView struct {
	ID        string
	App, Name string
	Facts     string // codecs and picture size
	Viewers   string
	Uptime    string
	Ways      []wayView // none when the name cannot be part of an address
	Play      string    // a shell command
	Probe     string    // a shell command
}

// wayView is one address of a stream.
type wayView struct {
	Label, URL, Hint string
}

type publishView struct {
	Note    string
	Key     string
	Servers []wayView // what an encoder calls server
	Send    string    // a shell command
}

// way is a transport in the order of the page: the least overhead first.
type way struct {
	scheme      string
	port        int
	defaultPort int
	hint        string
}

func (h *handler) ways() []way {
	p := h.cfg.Ports
	all := []way{
		{"rtmp", p.RTMP, 1935, "plain"},
		{"rtmps", p.RTMPS, 443, "TLS"},
		{"rtmpt", p.RTMPT, 80, "through HTTP"},
		{"rtmpts", p.RTMPTS, 443, "through HTTPS"},
	}
	return slices.DeleteFunc(all, func(w way) bool { return w.port == 0 })
}

// base returns the address of the way without a path.
func (w way) base(host string) string {
	if w.port == w.defaultPort {
		return w.scheme + "://" + host
	}
	return w.scheme + "://" + host + ":" + strconv.Itoa(w.port)
}

func (h *handler) view(host string) view {
	v := view{
		Host: host, Version: h.cfg.Version,
		CSS: h.assets["/culvert.css"].hash, JS: h.assets["/culvert.js"].hash, SVG: h.assets["/culvert.svg"].hash,
	}
	now := h.now()
	ways := h.ways()
	for _, s := range h.sorted() {
		sv := streamView{
			ID: streamID(s), App: s.App, Name: s.Name,
			Facts: facts(s), Viewers: viewers(s.Viewers), Uptime: uptime(now.Sub(s.Since)),
		}
		if addressable(s.App) && addressable(s.Name) {
			for _, w := range ways {
				sv.Ways = append(sv.Ways, wayView{
					Label: strings.ToUpper(w.scheme), URL: w.base(host) + "/" + s.App + "/" + s.Name, Hint: w.hint,
				})
			}
		}
		if len(sv.Ways) > 0 {
			sv.Play = "ffplay -fflags nobuffer " + quote(sv.Ways[0].URL)
			sv.Probe = "ffprobe " + quote(sv.Ways[0].URL)
		}
		v.Streams = append(v.Streams, sv)
	}
	if p := h.cfg.Publish; p.App != "" && len(ways) > 0 {
		v.Publish = &publishView{
			Note: p.Note, Key: p.Key,
			Send: "ffmpeg -re -i input.mp4 -c copy -f flv " + quote(ways[0].base(host)+"/"+p.App+"/"+p.Key),
		}
		for _, w := range ways {
			v.Publish.Servers = append(v.Publish.Servers, wayView{
				Label: strings.ToUpper(w.scheme), URL: w.base(host) + "/" + p.App, Hint: w.hint,
			})
		}
	}
	return v
}

// sorted returns the streams in an order that stays the same while they live.
func (h *handler) sorted() []Stream {
	list := slices.Clone(h.cfg.Streams.Streams())
	slices.SortFunc(list, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// streamID names a stream in the document, where its own name may be anything.
func streamID(s Stream) string {
	sum := sha256.Sum256([]byte(strconv.Quote(s.App) + "/" + strconv.Quote(s.Name)))
	return "s" + hex.EncodeToString(sum[:8])
}

// addressable reports whether name can be shown as part of an address and be copied
// without changing what it means.
func addressable(name string) bool {
	if name == "" || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) || r == '\u00a0' {
			return false
		}
	}
	return true
}

// quote makes s one word of a POSIX shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// facts says what is in a stream.
func facts(s Stream) string {
	var parts []string
	if s.Video != "" {
		video := s.Video
		if s.Width > 0 && s.Height > 0 {
			video += fmt.Sprintf(" %d×%d", s.Width, s.Height)
		}
		parts = append(parts, video)
	}
	if s.Audio != "" {
		parts = append(parts, s.Audio)
	}
	if len(parts) == 0 {
		return "starting"
	}
	return strings.Join(parts, " · ")
}

func viewers(n int) string {
	if n == 1 {
		return "1 viewer"
	}
	return strconv.Itoa(n) + " viewers"
}

// uptime shows two units at most.
func uptime(d time.Duration) string {
	d = max(d, 0)
	s := int(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 24*3600:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
	}
}
