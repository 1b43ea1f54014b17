package chunk

// Timestamp is a message's time in milliseconds, modulo 2^32: it wraps after
// 49.7 days (RTMP 1.0 §5.3.1). Compare timestamps with [Timestamp.Sub] only.
type Timestamp uint32

// Sub returns t-u in milliseconds, taking the shorter way round the wrap.
func (t Timestamp) Sub(u Timestamp) int32 { return int32(t - u) }

// Add returns t moved by ms milliseconds, wrapping.
func (t Timestamp) Add(ms int32) Timestamp { return t + Timestamp(ms) }

// extendedTimestamp is the value of the 24-bit field that says that four more
// bytes carry the full value (RTMP 1.0 §5.3.1.3).
const extendedTimestamp = 0xFFFFFF
