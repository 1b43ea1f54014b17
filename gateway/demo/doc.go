// Package demo holds the clip that `culvert serve --demo` plays round after round as live/demo.
//
// It is the clip and nothing else: reading FLV is the task of package flv, sending it that of the gateway.
// clip.md says what is in the clip, make.sh makes it.
//
//	r := bytes.NewReader(demo.Clip())
//	// send every tag of r; then begin anew with all timestamps demo.Length later
package demo
