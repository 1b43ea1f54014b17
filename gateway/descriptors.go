package gateway

import "culvert/configs"

// beyond returns how many connections to other servers a configuration leads to when as many
// clients are there as may be: one for each that a route takes, those that are kept ready, as
// many pulls as there may be, and one for each target of a push, of which every stream has one
// that is published.
func beyond(cfg configs.Config) int {
	n, away := 0, false
	add := func(p configs.Proxy) {
		if len(p.To) > 0 {
			away = true
			n += p.Ready * len(p.To)
		}
	}
	for _, r := range cfg.Routes {
		add(r.Proxy)
	}
	for _, a := range cfg.Apps {
		add(a.Proxy)
		n += len(a.Push)
		if a.Pull.From.Reveal() != "" {
			n += a.Pull.Streams
		}
	}
	if away {
		n += cfg.Limits.Connections
	}
	return n
}
