//go:build race

package tunnel

import "sync/atomic"

// lent is how many pooled buffers are in use: what was taken and not given back. It is
// counted under the race detector only, for tests.
var lent atomic.Int64

func lend(n int64) { lent.Add(n) }
