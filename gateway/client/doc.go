// Package client publishes to and plays from any RTMP server by its URL, over
// any transport: rtmp, rtmps, rtmpt, rtmpts, rtmpe, rtmpte. It is behind `culvert publish` and
// `culvert play`.
package client
