package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// Sizes of a plot in pixels.
const (
	plotWidth, plotHeight    = 720, 400
	plotLeft, plotRight      = 60, 20
	plotTop, plotBottom      = 40, 50
	plotInnerW, plotInnerH   = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	nines                    = 4 // the vertical axis ends at 99.99 %
	plotColours              = "#1b6ca8 #c8553d #3a7d44 #7a4988 #b8860b #555555"
	shortestPlot             = 100 * time.Microsecond
	plotNothing, plotHundred = "no latencies were measured", 100.0
)

// WritePlot draws the distribution of the results' latencies as SVG: time along
// the bottom, logarithmic, and the share of samples that took no longer upwards,
// each decade of nines as high as the other.
func WritePlot(w io.Writer, results []*Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	longest := time.Duration(0)
	for _, r := range results {
		if r.latency != nil {
			longest = max(longest, r.latency.Max())
		}
	}
	if longest == 0 {
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n</svg>\n", plotLeft, plotHeight/2, plotNothing)
		_, err := io.WriteString(w, b.String())
		return err
	}
	longest = max(longest, 10*shortestPlot)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">latency, %s over %s, %d</text>`+"\n",
		plotLeft, html.EscapeString(results[0].Scenario), html.EscapeString(results[0].Transport), results[0].Count)
	x := func(d time.Duration) float64 {
		span := math.Log(float64(longest) / float64(shortestPlot))
		return plotLeft + plotInnerW*math.Log(float64(max(d, shortestPlot))/float64(shortestPlot))/span
	}
	y := func(share float64) float64 {
		return plotTop + plotInnerH*(1-min(-math.Log10(max(1-share, 1e-9)), nines)/nines)
	}
	for d, step := shortestPlot, 0; d <= longest; step++ {
		line(&b, x(d), plotTop, x(d), plotTop+plotInnerH)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(d), plotTop+plotInnerH+18, d)
		d *= [...]time.Duration{2, 5, 10}[step%3]
		d /= [...]time.Duration{1, 2, 5}[step%3] // 1, 2, 5, 10, 20, ...
	}
	for _, share := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		line(&b, plotLeft, y(share), plotLeft+plotInnerW, y(share))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%.4g %%</text>`+"\n", plotLeft-6, y(share)+4, plotHundred*share)
	}
	colours := strings.Fields(plotColours)
	for i, r := range results {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotLeft+130*i, plotHeight-10, colour, html.EscapeString(r.Server))
		if r.latency == nil || r.latency.Count() == 0 {
			continue
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%.1f,%.1f`, colour, float64(plotLeft), y(0))
		r.latency.Each(func(upTo time.Duration, share float64) {
			if upTo < shortestPlot {
				return
			}
			fmt.Fprintf(&b, " %.1f,%.1f", x(min(upTo, longest)), y(share))
		})
		b.WriteString(`"/>` + "\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// line draws a line of the grid.
func line(b *strings.Builder, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#dddddd"/>`+"\n", x1, y1, x2, y2)
}
