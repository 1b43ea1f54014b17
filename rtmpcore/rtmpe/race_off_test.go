//go:build !race

package rtmpe_test

const raceEnabled = false
