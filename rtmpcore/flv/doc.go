// Package flv reads what RTMP carries in its audio and video messages, and FLV
// files, which are the same payloads with another frame around them.
//
// ParseVideo and ParseAudio look at the first bytes of a payload and tell what a
// relay has to know: sequence header or frame, where decoding can start, which
// codec, which tracks. They decode no media, allocate nothing, accept everything
// (the unknown is reported as such, never as an error) and are content with the
// first part of a payload.
//
//	h := flv.ParseVideo(payload)
//	if h.IsSequenceHeader() { cache(payload, h.TrackSet(payload)) }
//
// Reader and Writer stream the tags of a file in both directions:
//
//	r := flv.NewReader(file, flv.ReaderConfig{})
//	for {
//		tag, err := r.Next()
//		...
//	}
//
// The formats are those of "Adobe Flash Video File Format Specification 10.1"
// (FLV 10.1 §n here), annex E, and of Enhanced RTMP v1 and v2 (E-RTMP here).
package flv
