//go:build interop && !linux

package interop_test

import (
	"os/exec"
	"testing"
)

type launching struct{ *testing.M }

// spawn starts a program. It outlives tests that end without their cleanups.
func spawn(cmd *exec.Cmd) error { return cmd.Start() }

func as(*testing.T, string) option { return func(*process) {} }
