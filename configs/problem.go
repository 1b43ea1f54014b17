package configs

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration. [Load] and [Config.Validate] return several joined with errors.Join; [Problems] takes
// them apart.
type Problem struct {
	Source string // path of the file, name of the variable or flag; empty when unknown
	Line   int    // in the file, from 1; 0 when there is none
	Column int    // in the file, from 1; 0 when there is none
	Key    string // key path, such as apps.live.publish.keys[0]; empty when the whole source is concerned
	Err    error  // what is wrong, and what to write instead
}

// Error returns source:line:column: key: cause, without the parts that are unknown.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Problems returns every Problem in err, in the order in which they are printed.
func Problems(err error) []*Problem {
	var out []*Problem
	switch e := err.(type) { //nolint:errorlint // walks the tree of joined and wrapped errors itself
	case *Problem:
		return []*Problem{e}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			out = append(out, Problems(err)...)
		}
	case interface{ Unwrap() error }:
		out = Problems(e.Unwrap())
	}
	return out
}

// join makes one error of problems, nil of none.
func join(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
