package auth

import "fmt"

// PlayRules says who may play in an application. Its zero value refuses all.
type PlayRules struct {
	Public   bool // everyone
	Loopback bool // clients on this machine
}

// Decide returns nil or an error that wraps [ErrDenied].
func (r PlayRules) Decide(app string, loopback bool) error {
	if r.Public || r.Loopback && loopback {
		return nil
	}
	return fmt.Errorf("%w: app %q may not be played from here", ErrDenied, app)
}
