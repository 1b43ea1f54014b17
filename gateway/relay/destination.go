package relay

import (
	"net/url"
	"strings"

	"culvert/gateway/client"
	"culvert/gateway/live"
)

// destination is the address of streams on another server, with placeholders.
type destination struct {
	label   string
	address client.Target
}

// newDestination reads an address. Placeholders stand in app and name only.
func newDestination(label, raw string) (destination, error) {
	t, err := client.ParseTarget(raw)
	if err != nil {
		return destination{}, err
	}
	if label == "" {
		label = strings.ToValidUTF8(t.String(), "\uFFFD") // metrics take nothing else
	}
	return destination{label, t}, nil
}

// of returns the address of one stream.
func (d destination) of(key live.Key) client.Target {
	t := d.address
	plain := strings.NewReplacer("{name}", key.Name, "{app}", key.App)
	inQuery := strings.NewReplacer("{name}", url.QueryEscape(key.Name), "{app}", url.QueryEscape(key.App))
	name, query, found := strings.Cut(t.Name, "?")
	t.App = plain.Replace(t.App)
	t.Name = plain.Replace(name)
	if found {
		t.Name += "?" + inQuery.Replace(query)
	}
	return t
}

// minSecret is the length from which on a text is taken for a secret: hiding shorter
// ones would only make a text unreadable.
const minSecret = 3

// redact hides in a text about a stream what its address has that may be secret: servers
// repeat what they were told.
func redact(text string, t client.Target, key live.Key) string {
	name, query, _ := strings.Cut(t.Name, "?")
	hide := []string{t.Name, query, t.Password, url.QueryEscape(t.Password)}
	if name != key.Name {
		hide = append(hide, name)
	}
	for pair := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(value)
		if err == nil {
			hide = append(hide, plain)
		}
		hide = append(hide, value)
	}
	for _, h := range hide {
		if len(h) >= minSecret && h != key.Name {
			text = strings.ReplaceAll(text, h, "***")
		}
	}
	return text
}
