package bench_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"culvert/gateway/bench"
)

func results() []*bench.Result {
	server := &bench.Result{
		Server: "culvert", Scenario: bench.Fanout, Transport: "rtmp", Count: 500, Seconds: 10,
		Figures: map[string]float64{bench.CPUPerGbit: 0.35, bench.VideoP99: 12.345, bench.ServerCores: 0.25},
		Frames:  bench.FrameCounts{OK: 1000, Lost: 3},
		Invalid: []string{"3 frames lost"},
		Notes:   []string{"not available: the moon"},
		Memory:  []float64{100, 101.5, 99.94},
	}
	floor := &bench.Result{Server: "write", Figures: map[string]float64{bench.CPUPerGbit: 0.7, bench.ServerCores: 0.5}, Frames: bench.FrameCounts{OK: 999}}
	server.Compare(floor)
	return []*bench.Result{server, floor}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := bench.WriteTable(&b, results()); err != nil {
		t.Fatal(err)
	}
	want := `| fanout, rtmp x 500, 10 s | culvert | write | ÷ write |
|--------------------------|--------:|------:|--------:|
| server CPU s/Gbit        |   0.350 | 0.700 |    0.50 |
| server cores             |   0.250 | 0.500 |         |
| video latency p99, ms    |    12.3 |       |         |
| frames ok                |    1000 |   999 |         |
| frames lost              |       3 |     0 |         |
culvert: resident memory in the course of the window, MiB: 100 102 99.9
culvert: not available: the moon
culvert: INVALID: 3 frames lost
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func TestGoals(t *testing.T) {
	result := func(mbit float64) *bench.Result {
		return &bench.Result{Figures: map[string]float64{bench.Mbit: mbit}}
	}
	bad, lossy := result(100), result(100)
	bad.Invalid = []string{"because"}
	lossy.Frames.Dropped = 1
	for name, test := range map[string]struct {
		least        bool
		limit        float64
		result, base *bench.Result
		figure       float64
		verdict      string
	}{
		"at most, met":            {false, 2, result(2), nil, 2, bench.Met},
		"at most, missed":         {false, 2, result(2.1), nil, 2.1, bench.Missed},
		"at least, met":           {true, 0.6, result(60), result(100), 0.6, bench.Met},
		"at least, missed":        {true, 0.6, result(50), result(100), 0.5, bench.Missed},
		"goodput with drops":      {true, 0.6, lossy, result(100), 1, bench.Missed},
		"invalid":                 {true, 0.6, bad, result(100), 0, bench.Invalid},
		"base invalid":            {true, 0.6, result(100), bad, 0, bench.Invalid},
		"no server":               {true, 0.6, nil, nil, 0, bench.Absent},
		"figure was not measured": {true, 0.6, &bench.Result{}, nil, 0, bench.Absent},
		"base was not measured":   {true, 0.6, result(100), result(0), 0, bench.Absent},
	} {
		got := bench.Goal(bench.Mbit, test.least, test.limit, test.result, test.base)
		if got.Verdict != test.verdict || got.Figure != test.figure {
			t.Errorf("%s: %+v", name, got)
		}
	}
	all := &bench.SuiteResult{Lines: []bench.Line{{What: "a", Goal: "<= 2", Figure: 1.5, Verdict: bench.Met}, {What: "b", Verdict: bench.Absent}}}
	if !all.OK() {
		t.Error("met and absent are not good")
	}
	var b strings.Builder
	if err := all.Write(&b); err != nil || !strings.Contains(b.String(), "| a    | <= 2 |   1.50 |     met |") || !strings.Contains(b.String(), "| b    |      |      - |  absent |") {
		t.Errorf("%v\n%s", err, &b)
	}
	all.Lines = append(all.Lines, bench.Line{Verdict: bench.Missed})
	if all.OK() {
		t.Error("a missed goal is good")
	}
}

func TestPlot(t *testing.T) {
	list := results()
	list[0].Server = `<&">`
	var h bench.Histogram
	for i := range 1000 {
		h.Record(time.Duration(i) * 50 * time.Microsecond)
	}
	for name, test := range map[string]struct {
		latency *bench.Histogram
		want    string
	}{
		"nothing to draw":  {&bench.Histogram{}, "no latencies"},
		"one distribution": {&h, "<polyline"},
	} {
		list[0].SetLatency(test.latency)
		var b strings.Builder
		if err := bench.WritePlot(&b, list); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.Contains(b.String(), test.want) || strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s:\n%s", name, &b)
		}
		for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}
