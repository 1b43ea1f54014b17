// Package message turns the payloads of RTMP messages into typed values and
// back: protocol control, user control, commands and data.
//
// It knows payloads only. Chunks, message stream IDs and timestamps belong to
// the layer below, the meaning of commands to the one above. Audio and video
// payloads are read by package flv, which leaves them as they are.
//
// The specification is RTMP 1.0; sections are named with each type. Payloads of
// AMF3 commands and data (types 17 and 15) begin with one byte of value 0, which
// some writers leave out, and hold AMF0 values that may switch to AMF3 (E-RTMP
// v2, "AMF3-encoded messages"). What is sent in these types is AMF0 behind the
// byte, which every client reads, unless a value is an amf.AMF3.
//
//	msg, err := message.Decode(typeID, payload, amf.Limits{})
//	switch msg := msg.(type) {
//	case message.Command:
//		answer := message.Status{
//			Level: message.LevelStatus, Code: message.StatusPublishStart,
//		}.OnStatus()
//		...
//	}
//
// Nothing a message holds refers to the payload it was decoded from.
package message
