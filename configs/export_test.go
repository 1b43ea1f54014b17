package configs

import "reflect"

// Paths returns the key paths of cfg that can be set from a text.
func Paths(cfg Config) []string {
	var out []string
	for _, l := range leaves(&cfg) {
		out = append(out, l.path)
	}
	return out
}

// FieldNames returns the keys of a struct type.
func FieldNames(t reflect.Type) []string {
	var out []string
	for _, f := range fields(t) {
		out = append(out, f.name)
	}
	return out
}

// Decode is the part of Load that reads a file's bytes.
func Decode(data []byte, lookup func(string) (string, bool)) (Config, []*Problem) {
	cfg := Default()
	d := decoder{source: "test.yaml", lookup: lookup, places: map[string]place{}}
	d.decode(data, &cfg)
	return cfg, d.problems
}
