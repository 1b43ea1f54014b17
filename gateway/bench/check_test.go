package bench_test

import (
	"testing"

	"culvert/gateway/bench"
)

func TestCheck(t *testing.T) {
	const corrupt, report = -1, -2 // instead of a number
	for name, test := range map[string]struct {
		came []int
		end  uint64
		want bench.FrameCounts
	}{
		"in order":                     {[]int{0, 1, 2}, 3, bench.FrameCounts{OK: 3}},
		"joined late":                  {[]int{700, 701}, 702, bench.FrameCounts{OK: 2}},
		"one lost":                     {[]int{0, 1, 3}, 4, bench.FrameCounts{OK: 3, Lost: 1}},
		"many lost":                    {[]int{0, 1000}, 1001, bench.FrameCounts{OK: 2, Lost: 999}},
		"the last ones lost":           {[]int{0, 1}, 4, bench.FrameCounts{OK: 2, Lost: 2}},
		"all lost":                     {nil, 4, bench.FrameCounts{Lost: 4}},
		"repeated":                     {[]int{0, 1, 1, 2}, 3, bench.FrameCounts{OK: 3, Repeated: 1}},
		"repeated later":               {[]int{0, 1, 2, 3, 1}, 4, bench.FrameCounts{OK: 4, Repeated: 1}},
		"repeated before the window":   {[]int{0, 100, 1}, 101, bench.FrameCounts{OK: 2, Lost: 99, Repeated: 1}},
		"reordered":                    {[]int{0, 2, 1, 3}, 4, bench.FrameCounts{OK: 3, Reordered: 1}},
		"reordered and repeated":       {[]int{0, 2, 1, 1, 3}, 4, bench.FrameCounts{OK: 3, Reordered: 1, Repeated: 1}},
		"corrupt":                      {[]int{0, corrupt, 2}, 3, bench.FrameCounts{OK: 2, Corrupt: 1, Lost: 1}},
		"dropped, reported before":     {[]int{0, report, 30}, 31, bench.FrameCounts{OK: 2, Dropped: 29}},
		"dropped, reported after":      {[]int{0, 30, report, 31}, 32, bench.FrameCounts{OK: 3, Dropped: 29}},
		"two drops, two reports":       {[]int{0, report, 30, 31, report, 60}, 61, bench.FrameCounts{OK: 4, Dropped: 57}},
		"two reports, then two drops":  {[]int{0, report, report, 30, 31, 60}, 61, bench.FrameCounts{OK: 4, Dropped: 57}},
		"two gaps, one report":         {[]int{0, report, 30, 31, 60}, 61, bench.FrameCounts{OK: 4, Dropped: 29, Lost: 28}},
		"two gaps, report for the 2nd": {[]int{0, 30, 31, 60, report}, 61, bench.FrameCounts{OK: 4, Dropped: 28, Lost: 29}},
		"end dropped":                  {[]int{0, report}, 31, bench.FrameCounts{OK: 1, Dropped: 30}},
		"report without a gap":         {[]int{0, report, 1}, 2, bench.FrameCounts{OK: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var (
				c       bench.Check
				reports int
			)
			for _, n := range test.came {
				switch n {
				case report:
					reports++
					c.Reported(reports)
				case corrupt:
					c.Frame(0, false)
				default:
					c.Frame(uint64(n), true)
				}
			}
			c.End(test.end)
			if c.FrameCounts != test.want {
				t.Errorf("%+v, want %+v", c.FrameCounts, test.want)
			}
			faulty := test.want.Lost+test.want.Repeated+test.want.Reordered+test.want.Corrupt > 0
			if fault := c.Fault(); (fault != "") != faulty {
				t.Errorf("fault %q", fault)
			}
		})
	}
}
