//go:build !linux

package netio_test

const abilities = false
