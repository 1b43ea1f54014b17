package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is the largest configuration file that is read, in bytes.
const maxFile = 1 << 20

// LoadOptions says where [Load] reads from. The zero value reads the first file of [SearchPath] that exists, and no environment.
type LoadOptions struct {
	Path    string   // file to read; it must exist. Empty: the first of Search that exists, else built-in values
	Search  []string // files to try when Path is empty; nil means SearchPath()
	Environ []string // NAME=value, as os.Environ returns; also for ${NAME} in secrets

	Defaults  []Setting // change built-in values, before the file
	Overrides []Setting // change the result, after the environment: command line flags
}

// Setting is one value given outside file and environment.
type Setting struct {
	Key    string // key path, such as listen.http
	Value  string // as in the environment: lists are comma-separated
	Source string // named in errors, such as --http
}

// SearchPath returns the files that are looked for, in this order, when no path is given.
func SearchPath() []string { return []string{"culvert.yaml", "/etc/culvert/culvert.yaml"} }

// Load reads, merges and validates a configuration. Config.Source says which file was used. The error joins every [Problem] there is; the
// configuration is then the zero Config.
func Load(opts LoadOptions) (Config, error) {
	cfg := Default()
	lookup := lookupIn(opts.Environ)
	problems, _ := applySettings(&cfg, opts.Defaults, lookup)

	dec := decoder{lookup: lookup, places: map[string]place{}}
	source, data, err := readConfig(opts)
	switch {
	case err != nil:
		problems = append(problems, &Problem{Err: err})
	case source != "":
		cfg.Source, dec.source = source, source
		dec.decode(data, &cfg)
		problems = append(problems, dec.problems...)
	}

	envProblems, fromEnv := applyEnviron(&cfg, opts.Environ)
	flagProblems, fromFlag := applySettings(&cfg, opts.Overrides, lookup)
	problems = append(append(problems, envProblems...), flagProblems...)

	for _, p := range cfg.validate() {
		locate(p, &dec, fromEnv, fromFlag)
		if !reported(problems, p) {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return Config{}, join(problems)
	}
	return cfg, nil
}

// applySettings stores settings in cfg and returns what is wrong with them, and which keys they set.
func applySettings(cfg *Config, settings []Setting, lookup func(string) (string, bool)) (problems []*Problem, origin map[string]string) {
	origin = map[string]string{}
	all := leaves(cfg)
	for _, s := range settings {
		err := errors.New("no such setting")
		for _, l := range all {
			if l.path == s.Key {
				err = l.set(s.Value, lookup)
				break
			}
		}
		if err != nil {
			problems = append(problems, &Problem{Source: s.Source, Key: s.Key, Err: err})
			continue
		}
		origin[s.Key] = s.Source
	}
	return problems, origin
}

// readConfig returns the content of the file to use and its path, or no path when there is no file.
func readConfig(opts LoadOptions) (source string, data []byte, err error) {
	if opts.Path != "" {
		path := filepath.Clean(opts.Path)
		data, err = readFile(path)
		return path, data, err
	}
	search := opts.Search
	if search == nil {
		search = SearchPath()
	}
	for _, path := range search {
		data, err = readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return path, data, err
	}
	return "", nil, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration: %s is larger than %s", path, Size(maxFile))
	}
	return data, nil
}

// locate adds to a problem of Validate where its key was set: by a flag, else a variable, else in the file (there, or in the section around it).
func locate(p *Problem, dec *decoder, fromEnv, fromFlag map[string]string) {
	for _, origin := range []map[string]string{fromFlag, fromEnv} {
		for key := p.Key; key != ""; key = parent(key) {
			if source, ok := origin[key]; ok {
				p.Source = source
				return
			}
		}
	}
	for key := p.Key; key != ""; key = parent(key) {
		if at, ok := dec.places[key]; ok {
			p.Source, p.Line, p.Column = dec.source, at.line, at.column
			return
		}
	}
}

// parent returns the key path of what holds key: the list of an item, the section of a key.
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// reported tells whether problems names the same key, or one inside it, already: then p only follows from that.
func reported(problems []*Problem, p *Problem) bool {
	for _, q := range problems {
		for key := q.Key; key != ""; key = parent(key) {
			if key == p.Key {
				return true
			}
		}
	}
	return false
}
