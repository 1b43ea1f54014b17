package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// WriteTable writes results of one scenario side by side, with the first one's
// ratios to each floor it was compared with.
func WriteTable(w io.Writer, results []*Result) error {
	if len(results) == 0 {
		return nil
	}
	first := results[0]
	var floors []string
	for name := range first.Ratios {
		floors = append(floors, name)
	}
	slices.Sort(floors)
	head := []string{fmt.Sprintf("%s, %s x %d, %.3g s", first.Scenario, first.Transport, first.Count, first.Seconds)}
	for _, r := range results {
		head = append(head, r.Server)
	}
	for _, f := range floors {
		head = append(head, "÷ "+f)
	}
	rows := [][]string{head}
	for _, f := range FigureList {
		row, any := []string{f.Label}, false
		for _, r := range results {
			cell := ""
			if v, ok := r.Figures[f.Key]; ok {
				cell, any = short(v), true
			}
			row = append(row, cell)
		}
		for _, name := range floors {
			cell := ""
			if v, ok := first.Ratios[name][f.Key]; ok {
				cell = fmt.Sprintf("%.2f", v)
			}
			row = append(row, cell)
		}
		if any {
			rows = append(rows, row)
		}
	}
	for _, c := range []struct {
		label string
		n     func(FrameCounts) uint64
	}{
		{"frames ok", func(c FrameCounts) uint64 { return c.OK }},
		{"frames dropped, reported", func(c FrameCounts) uint64 { return c.Dropped }},
		{"frames lost", func(c FrameCounts) uint64 { return c.Lost }},
		{"frames repeated", func(c FrameCounts) uint64 { return c.Repeated }},
		{"frames out of order", func(c FrameCounts) uint64 { return c.Reordered }},
		{"frames corrupt", func(c FrameCounts) uint64 { return c.Corrupt }},
	} {
		row, any := []string{c.label}, false
		for _, r := range results {
			row = append(row, strconv.FormatUint(c.n(r.Frames), 10))
			any = any || c.n(r.Frames) > 0
		}
		if any {
			rows = append(rows, row)
		}
	}
	if err := WriteRows(w, rows); err != nil {
		return err
	}
	for _, r := range results {
		if len(r.Memory) > 2 {
			cells := make([]string, len(r.Memory))
			for i, m := range r.Memory {
				cells[i] = short(m)
			}
			if _, err := fmt.Fprintf(w, "%s: resident memory in the course of the window, MiB: %s\n", r.Server, strings.Join(cells, " ")); err != nil {
				return err
			}
		}
		for _, note := range r.Notes {
			if _, err := fmt.Fprintf(w, "%s: %s\n", r.Server, note); err != nil {
				return err
			}
		}
		for _, reason := range r.Invalid {
			if _, err := fmt.Fprintf(w, "%s: INVALID: %s\n", r.Server, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteRows writes a Markdown table, padded for people: the first column to the
// left, the others to the right.
func WriteRows(w io.Writer, rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 3)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, width := range widths {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			pad := strings.Repeat(" ", width-len([]rune(cell)))
			if i == 0 {
				b.WriteString("| " + cell + pad + " |")
			} else {
				b.WriteString(" " + pad + cell + " |")
			}
		}
		b.WriteByte('\n')
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i == 0 {
				b.WriteString("|-" + strings.Repeat("-", width) + "-|")
			} else {
				b.WriteString("-" + strings.Repeat("-", width) + ":|")
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// short formats a figure with three digits that count.
func short(v float64) string {
	switch a := math.Abs(v); {
	case v == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		digits := 2 - int(math.Floor(math.Log10(a)))
		return strconv.FormatFloat(v, 'f', min(max(digits, 0), 6), 64)
	}
}
