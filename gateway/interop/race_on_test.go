//go:build interop && race

package interop_test

const raceEnabled = true
