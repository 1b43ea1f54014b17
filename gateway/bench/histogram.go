package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets whose width grows with the value: two
// values in one bucket differ by at most 1/64, and everything below 64 µs is
// kept to the microsecond. All methods may be called by any goroutine. The zero
// value is empty and ready for use.
type Histogram struct {
	buckets [buckets]atomic.Uint64
	count   atomic.Uint64
	longest atomic.Int64 // nanoseconds
}

const (
	subBits = 6 // logarithm of the buckets per doubling
	sub     = 1 << subBits
	// longestPower caps what is told apart: 2^36 µs are 19 hours.
	longestPower = 36
	buckets      = (longestPower - subBits + 1) * sub
)

// Record counts a duration; negative ones count as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d/time.Microsecond))].Add(1)
	h.count.Add(1)
	for {
		old := h.longest.Load()
		if int64(d) <= old || h.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// bucket returns the index of the bucket of a value in microseconds.
func bucket(us uint64) int {
	us = min(us, 1<<longestPower-1)
	if us < sub {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return shift<<subBits + int(us>>shift)
}

// upper returns the largest value of a bucket, in microseconds.
func upper(i int) uint64 {
	if i < sub {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return uint64(i-shift<<subBits+1)<<shift - 1
}

// Count returns the number of durations recorded.
func (h *Histogram) Count() uint64 { return h.count.Load() }

// Max returns the longest duration recorded, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.longest.Load()) }

// Quantile returns a duration that a share of q, 0 to 1, of those recorded does
// not exceed; 0 when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	count := h.Count()
	if count == 0 {
		return 0
	}
	rank, seen := max(uint64(q*float64(count)+0.5), 1), uint64(0)
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank {
			return min(time.Duration(upper(i))*time.Microsecond, h.Max())
		}
	}
	return h.Max()
}

// Each calls f for every bucket with something in it, in rising order, with the
// largest value of the bucket and the share of values up to it.
func (h *Histogram) Each(f func(upTo time.Duration, share float64)) {
	count, seen := h.Count(), uint64(0)
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			seen += n
			f(time.Duration(upper(i))*time.Microsecond, float64(seen)/float64(count))
		}
	}
}
