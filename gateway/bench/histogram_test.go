package bench_test

import (
	"testing"
	"time"

	"culvert/gateway/bench"
)

func TestHistogramQuantiles(t *testing.T) {
	var h bench.Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has quantiles")
	}
	for i := 1; i <= 100_000; i++ {
		h.Record(time.Duration(i) * 10 * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second, 0: 10 * time.Microsecond} {
		got := h.Quantile(q)
		if diff := (got - want).Abs(); diff > want/64 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Count() != 100_000 || h.Max() != time.Second {
		t.Errorf("count %d, max %v", h.Count(), h.Max())
	}
}

// Every value is at most 1/64 below the end of its bucket and never above it.
func TestHistogramError(t *testing.T) {
	for us := int64(1); us < 1<<36; us += us/37 + 1 {
		var h bench.Histogram
		value := time.Duration(us) * time.Microsecond
		h.Record(value)
		h.Record(time.Duration(1<<40) * time.Microsecond) // so that the maximum does not help
		if got := h.Quantile(0.25); got < value || got-value > value/64 {
			t.Fatalf("%v is counted as %v", value, got)
		}
	}
}

func TestHistogramExtremes(t *testing.T) {
	var h bench.Histogram
	h.Record(-time.Second)
	h.Record(1 << 62)
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("a negative duration is %v", got)
	}
	if h.Max() != 1<<62 || h.Count() != 2 {
		t.Errorf("max %v, count %d", h.Max(), h.Count())
	}
	last, shares := time.Duration(-1), 0
	h.Each(func(upTo time.Duration, share float64) {
		if upTo <= last {
			t.Errorf("%v after %v", upTo, last)
		}
		last = upTo
		if shares++; shares == 2 && share != 1 {
			t.Errorf("ends with a share of %v", share)
		}
	})
	if shares != 2 {
		t.Errorf("%d buckets, want 2", shares)
	}
}

func TestHistogramAllocatesNothing(t *testing.T) {
	var h bench.Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
