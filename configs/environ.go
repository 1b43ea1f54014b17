package configs

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// envPrefix starts the name of every environment variable that is read.
const envPrefix = "CULVERT_"

// serviceLink matches the variables that Kubernetes sets in every pod of a namespace for a service whose name starts with culvert.
var serviceLink = regexp.MustCompile(`^CULVERT_([A-Z0-9_]+_)?` +
	`(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// envName is the part of a variable's name that stands for one key or app name.
func envName(key string) string {
	if key == AnyApp {
		return "DEFAULT"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, key)
}

// Variable returns the name of the environment variable for a key path of cfg, such as CULVERT_LIMITS_TUNNEL_HOLD for limits.tunnel.hold. It
// returns "" when cfg has no such value.
func (c Config) Variable(path string) string {
	for _, l := range leaves(&c) {
		if l.path == path {
			return l.env
		}
	}
	return ""
}

// lookupIn returns a lookup function over an environment in the form of os.Environ. The last of several equal names counts.
func lookupIn(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, kv := range slices.Backward(environ) {
			if k, v, ok := strings.Cut(kv, "="); ok && k == name {
				return v, true
			}
		}
		return "", false
	}
}

// applyEnviron stores every CULVERT_* variable in cfg and returns what is wrong with them, and which keys came from which variable.
func applyEnviron(cfg *Config, environ []string) (problems []*Problem, origin map[string]string) {
	lookup := lookupIn(environ)
	known := map[string][]leaf{}
	var names []string
	for _, l := range leaves(cfg) {
		if known[l.env] == nil {
			names = append(names, l.env)
		}
		known[l.env] = append(known[l.env], l)
	}
	set := map[string]bool{}
	for _, kv := range environ {
		if name, _, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, envPrefix) {
			set[name] = true
		}
	}
	ours := make([]string, 0, len(set))
	for name := range set {
		ours = append(ours, name)
	}
	slices.Sort(ours)

	origin = map[string]string{}
	for _, name := range ours {
		value, _ := lookup(name)
		switch match := known[name]; {
		case len(match) == 1:
			if err := match[0].set(value, lookup); err != nil {
				problems = append(problems, &Problem{Source: name, Key: match[0].path, Err: err})
				continue
			}
			origin[match[0].path] = name
		case len(match) > 1:
			paths := make([]string, len(match))
			for i, l := range match {
				paths[i] = l.path
			}
			problems = append(problems, &Problem{Source: name, Err: fmt.Errorf("stands for %s: rename one, or set it in the file",
				strings.Join(paths, " and "))})
		case serviceLink.MatchString(name):
		default:
			problems = append(problems, &Problem{Source: name, Err: unknownVariable(name, names)})
		}
	}
	return problems, origin
}

func unknownVariable(name string, known []string) error {
	if len(name) > 4*maxNameLen {
		return errors.New("no such setting")
	}
	best, _ := nearest(name, known)
	return fmt.Errorf("no such setting, the nearest is %s", best)
}
