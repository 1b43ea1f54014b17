package configs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// field is a key of a configuration struct.
type field struct {
	name  string // as written in YAML
	index int
}

// fields returns the keys of a struct type in order; none for a type that is one value although it is a struct, such as Secret.
func fields(t reflect.Type) []field {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out []field
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			out = append(out, field{name, i})
		}
	}
	return out
}

// leaf is one value of a configuration that can be set from a text.
type leaf struct {
	path   string // limits.tunnel.hold
	env    string // CULVERT_LIMITS_TUNNEL_HOLD
	value  reflect.Value
	commit func() // stores a changed map entry
}

// leaves returns every value of cfg that can be set from a text, apps included.
func leaves(cfg *Config) []leaf {
	var out []leaf
	var walk func(v reflect.Value, path, env string, commit func())
	walk = func(v reflect.Value, path, env string, commit func()) {
		if v.Kind() == reflect.Map {
			names := make([]string, 0, v.Len())
			for _, k := range v.MapKeys() {
				names = append(names, k.String())
			}
			slices.Sort(names)
			for _, name := range names {
				key, entry := reflect.ValueOf(name), reflect.New(v.Type().Elem()).Elem()
				entry.Set(v.MapIndex(key))
				walk(entry, path+"."+name, env+"_"+envName(name), func() { v.SetMapIndex(key, entry) })
			}
			return
		}
		sub := fields(v.Type())
		if sub == nil {
			out = append(out, leaf{path, env, v, commit})
			return
		}
		for _, f := range sub {
			walk(v.Field(f.index), strings.TrimPrefix(path+"."+f.name, "."), env+"_"+envName(f.name), commit)
		}
	}
	walk(reflect.ValueOf(cfg).Elem(), "", strings.TrimSuffix(envPrefix, "_"), func() {})
	return out
}

// set stores text in the leaf; a list takes comma-separated items. Nothing changes when text cannot be read.
func (l leaf) set(text string, lookup func(string) (string, bool)) error {
	v := reflect.New(l.value.Type()).Elem()
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		var errs []error
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			e := reflect.New(v.Type().Elem()).Elem()
			errs = append(errs, setText(e, item, lookup))
			v = reflect.Append(v, e)
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	} else if err := setText(v, text, lookup); err != nil {
		return err
	}
	l.value.Set(v)
	l.commit()
	return nil
}

// resolver is a value with a secret in it, which may stand elsewhere.
type resolver interface {
	resolve(lookup func(string) (string, bool)) error
}

// setText reads one value from text and resolves it when it is a secret.
func setText(v reflect.Value, text string, lookup func(string) (string, bool)) error {
	if v.Addr().Type().Implements(textUnmarshaler) {
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return err
		}
		if s, ok := v.Addr().Interface().(resolver); ok {
			return s.resolve(lookup)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on":
			v.SetBool(true)
		case "false", "no", "off":
			v.SetBool(false)
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	default:
		return fmt.Errorf("a %s cannot be read from a text", v.Type())
	}
	return nil
}
