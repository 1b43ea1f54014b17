package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNameLen is the longest key that is compared with the known ones to suggest one, in bytes.
const maxNameLen = 64

// place is where in the file a value stands.
type place struct{ line, column int }

// decoder stores a YAML document in a Config. It collects problems instead of stopping at the first, and remembers where each key stands, so that
// what Validate finds later has a place too.
type decoder struct {
	source   string
	lookup   func(string) (string, bool) // environment, for ${NAME}
	places   map[string]place            // key path → place
	problems []*Problem
}

func (d *decoder) problem(n *yaml.Node, path string, err error) {
	d.problems = append(d.problems, &Problem{Source: d.source, Line: n.Line, Column: n.Column, Key: path, Err: err})
}

// decode stores the one document in data in cfg. Keys that data does not have, and those that are wrong, keep their value.
func (d *decoder) decode(data []byte, cfg *Config) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		d.syntax(err)
		return
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return // nothing but comments
	case err != nil:
		d.syntax(err)
		return
	}
	switch err := loader.Load(&second); {
	case err == nil:
		d.problem(&second, "", errors.New("a second document starts here: a configuration is one document, remove the line ---"))
	case !errors.Is(err, io.EOF):
		d.syntax(err)
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		d.value(doc.Content[0], reflect.ValueOf(cfg).Elem(), "")
	}
}

// syntax reports what the YAML parser says about data that is not YAML.
func (d *decoder) syntax(err error) {
	p := &Problem{Source: d.source, Err: fmt.Errorf("not YAML: %w", err)}
	var at *yaml.LoadError
	if errors.As(err, &at) {
		p.Line, p.Column = at.Mark.Line, at.Mark.Column
		p.Err = fmt.Errorf("not YAML: %s", at.Message)
	}
	d.problems = append(d.problems, p)
}

// value stores n in v, which the key path names.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	at := n
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	null := n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
	sub := fields(v.Type())
	switch {
	case sub != nil && n.Kind == yaml.MappingNode:
		d.mapping(n, v, sub, path)
	case v.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		d.apps(n, v, path)
	case v.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		d.list(n, v, path)
	case null && v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // "keys:" with every item commented out
	case null && (sub != nil || v.Kind() == reflect.Map) && !v.Addr().Type().Implements(textUnmarshaler):
		// "limits:" with every key commented out
	case null:
		d.problem(at, path, errors.New("has no value: write one, or remove the key"))
	case n.Kind == yaml.ScalarNode && v.Kind() != reflect.Slice && v.Kind() != reflect.Map &&
		(sub == nil || v.Addr().Type().Implements(textUnmarshaler)):
		fresh := reflect.New(v.Type()).Elem()
		if err := setText(fresh, n.Value, d.lookup); err != nil {
			d.problem(at, path, err)
			return
		}
		v.Set(fresh)
	default:
		d.problem(at, path, fmt.Errorf("is %s, want %s", describeNode(n), describeType(v)))
	}
}

// mapping stores the keys of n in the struct v.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, sub []field, path string) {
	names := keysOf(v.Type())
	d.pairs(n, path, func(name, path string, key, val *yaml.Node) {
		for _, f := range sub {
			if f.name == name {
				d.value(val, v.Field(f.index), path)
				return
			}
		}
		d.problem(key, path, unknownKey(name, names))
	})
}

// apps stores the entries of n in the map v, in place of what v had.
func (d *decoder) apps(n *yaml.Node, v reflect.Value, path string) {
	out := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(name, path string, _, val *yaml.Node) {
		app := fresh(v.Type().Elem())
		d.value(val, app, path)
		out.SetMapIndex(reflect.ValueOf(name), app)
	})
	v.Set(out)
}

// fresh returns what an entry of a section or a list has where it says nothing.
func fresh(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch p := v.Addr().Interface().(type) {
	case *App:
		*p = DefaultApp()
	case *Push:
		*p = DefaultPush()
	case *Route:
		*p = DefaultRoute()
	case *Backend:
		*p = DefaultBackend()
	}
	return v
}

// pairs calls f for every key of a mapping, with the key path that it makes. Keys that are no text or stand there twice are problems.
func (d *decoder) pairs(n *yaml.Node, path string, f func(name, path string, key, val *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.problem(key, path, errors.New("a key must be a plain text"))
			continue
		}
		sub := strings.TrimPrefix(path+"."+key.Value, ".")
		if key.ShortTag() == "!!merge" {
			d.problem(key, sub, errors.New("merge keys are not read: repeat the keys, or use an alias for the whole section (live: *other)"))
			continue
		}
		if before, ok := first[key.Value]; ok {
			d.problem(key, sub, fmt.Errorf("is there twice, first in line %d: remove one", before.Line))
			continue
		}
		first[key.Value] = key
		start := val
		if val.Kind == yaml.MappingNode || val.Kind == yaml.SequenceNode {
			start = key // a block starts on the line below its key
		}
		d.places[sub] = place{start.Line, start.Column}
		f(key.Value, sub, key, val)
	}
}

// list stores the items of n in the slice v, in place of what v had.
func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		out.Index(i).Set(fresh(v.Type().Elem()))
		sub := fmt.Sprintf("%s[%d]", path, i)
		d.places[sub] = place{item.Line, item.Column}
		d.value(item, out.Index(i), sub)
	}
	v.Set(out)
}

// unknownKey names the known key that is meant, or all of them.
func unknownKey(name string, known []string) error {
	if len(name) <= maxNameLen {
		if best, edits := nearest(strings.ToLower(name), known); edits <= 1+len(name)/4 {
			return fmt.Errorf("unknown key, did you mean %q?", best)
		}
	}
	return fmt.Errorf("unknown key, known here: %s", strings.Join(known, ", "))
}

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

func describeType(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Slice:
		return "a list, such as [a, b]"
	case v.Kind() == reflect.Map:
		return "a section with a name per entry"
	case v.Type() == reflect.TypeFor[Key]():
		return "a text, or a section of name and key"
	case v.Type() == reflect.TypeFor[Push](), v.Type() == reflect.TypeFor[Pull]():
		return "an address, or a section with " + strings.Join(keysOf(v.Type()), ", ")
	case v.Type() == reflect.TypeFor[Backend]():
		return "an address, or a section of url, weight and drain"
	case fields(v.Type()) != nil:
		return "a section with " + strings.Join(keysOf(v.Type()), ", ")
	default:
		return "a single value"
	}
}

// keysOf returns the keys of a section.
func keysOf(t reflect.Type) []string {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	return names
}
