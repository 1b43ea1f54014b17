package configs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of texts that clients send as part of an address, in bytes.
const (
	maxAppName = 255
	maxKeyName = 64
	maxKey     = 1024
)

// minGOPCache is the smallest GOP cache that is not off; below it not one key frame fits.
const minGOPCache = 64 * KiB

func (v *checker) apps(apps map[string]App) {
	if len(apps) == 0 {
		v.add("apps", "names no application, so nobody could publish or play: add one, or \"*\" for all, or remove the section")
	}
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		app, key := apps[name], "apps."+name
		if err := appName(name); err != nil {
			v.add(key, "%w", err)
		}
		v.keys(key+".publish.keys", app.Publish.Keys)
		oneOf(v, key+".publish.on_conflict", app.Publish.OnConflict, ConflictRefuse, ConflictTakeover)
		oneOf(v, key+".play", app.Play, PlayPublic, PlayLoopback, PlayOff)
		if app.GOPCache != 0 {
			between(v, key+".gop_cache", app.GOPCache, minGOPCache, maxMemory)
		}
		v.gather(key+".gather", app.Gather)
		v.relay(key, app)
		v.proxy(key+".proxy", app.Proxy, false)
	}
}

func (v *checker) gather(key string, g Gather) {
	switch g.Mode {
	case GatherVideo, GatherMessage:
	case GatherWindow:
		between(v, key, Duration(g.Window), Duration(minWindow), Duration(maxWindow))
	default:
		v.add(key, "%q is neither video nor message nor a duration such as 350ms", string(g.Mode))
	}
}

// keys checks publish keys. What it says names places, never content.
func (v *checker) keys(path string, keys []Key) {
	secrets := map[string]int{}
	for i, k := range keys {
		at := fmt.Sprintf("%s[%d]", path, i)
		if k.Name != "" && !validKeyName(k.Name) {
			v.add(at+".name", "is not a name: use 1 to %d letters, digits, dots, hyphens and underscores", maxKeyName)
		}
		secret := k.Key.Reveal()
		switch j, twice := secrets[secret]; {
		case secret == "":
			v.add(at, "is empty: write a key, or remove it")
		case len(secret) > maxKey:
			v.add(at, "has more than %d bytes", maxKey)
		case strings.ContainsFunc(secret, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
			v.add(at, "has spaces or control characters, which no stream address can carry")
		case twice:
			v.add(at, "is the same key as keys[%d]: remove one", j)
		}
		secrets[secret] = i
	}
}

// validKeyName tells whether name can name a publish key.
func validKeyName(name string) bool {
	return name != "" && len(name) <= maxKeyName &&
		!strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && r != '.' && r != '-' && r != '_' })
}

// appName says what is wrong with the name of an application. It is one or several segments of a stream's address.
func appName(name string) error {
	if name == AnyApp {
		return nil
	}
	switch {
	case name == "":
		return errors.New("an application needs a name")
	case len(name) > maxAppName:
		return fmt.Errorf("the name has more than %d bytes", maxAppName)
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("the name has an empty segment, . or ..: write live or live/eu, without a slash at either end")
		}
	}
	if i := strings.IndexFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`?#%*\"<>`, r)
	}); i >= 0 {
		r, _ := utf8.DecodeRuneInString(name[i:])
		return fmt.Errorf("the name has a %q, which no stream address can carry", r)
	}
	return nil
}
