package proxy

import (
	"fmt"
	"regexp"
	"strings"
)

// Pattern matches one part of a request. The zero Pattern matches everything. As
// text it is a name in which every * stands for any characters, or a regular
// expression (RE2, which never takes longer than its input is long) behind a ~. What
// a * or a group matched is a capture.
type Pattern struct {
	text string
	re   *regexp.Regexp // nil: everything
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	if text == "" || text == "*" {
		return Pattern{text: text}, nil
	}
	expr, ok := strings.CutPrefix(text, "~")
	if !ok {
		parts := strings.Split(text, "*")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		expr = strings.Join(parts, "(.*)")
	}
	re, err := regexp.Compile("^(?:" + expr + ")$")
	if err != nil {
		return Pattern{}, fmt.Errorf("%q is no pattern: %w", text, err)
	}
	return Pattern{text: text, re: re}, nil
}

// any reports whether the pattern matches everything.
func (p Pattern) any() bool { return p.re == nil }

// match returns what was captured.
func (p Pattern) match(s string) (captures []string, ok bool) {
	if p.re == nil {
		if p.text == "*" {
			return []string{s}, true
		}
		return nil, true
	}
	m := p.re.FindStringSubmatch(s)
	if m == nil {
		return nil, false
	}
	return m[1:], true
}

// Template is a text with places: {app}, {instance}, {stream}, {query}, {host}, and
// {app.1} for the first capture of the pattern for app, and so on. The zero Template
// is empty.
type Template struct {
	text  string
	parts []part
}

// part is a literal text, or a place when field is not "".
type part struct {
	literal string
	field   string
	capture int // 0: the whole
}

// fields of a request that patterns match and templates may name.
const (
	fieldHost     = "host"
	fieldApp      = "app"
	fieldInstance = "instance"
	fieldStream   = "stream"
	fieldQuery    = "query"
)

// ParseTemplate reads a template.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text}
	for rest := text; rest != ""; {
		before, inside, found := strings.Cut(rest, "{")
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !found {
			break
		}
		place, after, closed := strings.Cut(inside, "}")
		if !closed {
			return Template{}, fmt.Errorf("%q: a { has no }", text)
		}
		p, err := parsePlace(place)
		if err != nil {
			return Template{}, fmt.Errorf("%q: %w", text, err)
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	return t, nil
}

func parsePlace(place string) (part, error) {
	field, number, _ := strings.Cut(place, ".")
	switch field {
	case fieldHost, fieldApp, fieldInstance, fieldStream, fieldQuery:
	default:
		return part{}, fmt.Errorf("{%s} is none of {host}, {app}, {instance}, {stream}, {query}", place)
	}
	p := part{field: field}
	if number != "" {
		if len(number) != 1 || number[0] < '1' || number[0] > '9' {
			return part{}, fmt.Errorf("{%s}: captures are numbered from 1 to 9", place)
		}
		p.capture = int(number[0] - '0')
	}
	return p, nil
}

// empty reports whether the template was not given.
func (t Template) empty() bool { return t.text == "" }

// expand fills in the places.
func (t Template) expand(r *Request, c captures) string {
	var b strings.Builder
	for _, p := range t.parts {
		switch list := c[p.field]; {
		case p.field == "":
			b.WriteString(p.literal)
		case p.capture == 0:
			b.WriteString(r.field(p.field))
		case p.capture <= len(list):
			b.WriteString(list[p.capture-1])
		}
	}
	return b.String()
}

// captures are those of the patterns of a route, by field.
type captures map[string][]string
