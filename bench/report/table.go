package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"promostore/bench/contest"
)

// WriteTable prints results for a terminal.
func WriteTable(w io.Writer, results []contest.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tours\tfloor or peer\tratio\tbar\tholds")
	for i := range results {
		fmt.Fprintln(t, strings.Join(cells(&results[i]), "\t"))
	}
	return t.Flush()
}

// cells is one line of a table: what, ours, floor or peer, ratio, bar, holds.
func cells(r *contest.Result) []string {
	return []string{r.What, ours(r), theirs(r), ratio(r), bar(r), r.Verdict()}
}

func ours(r *contest.Result) string {
	if unmeasured(r) {
		return r.Note
	}
	return figure(r.Ours, r.Unit) + more(r.OursMore)
}

func theirs(r *contest.Result) string {
	if r.Peer == "" || unmeasured(r) {
		return r.Peer
	}
	return r.Peer + ": " + figure(r.Theirs, r.Unit) + more(r.PeerMore)
}

// ratio is the median and, where it is held against a bar, the lowest and the
// highest of the turns.
func ratio(r *contest.Result) string {
	if r.Ratio == 0 {
		return ""
	}
	text := fixed(r.Ratio)
	if r.Bar != nil && len(r.Ratios) > 1 {
		text += " (" + fixed(slices.Min(r.Ratios)) + "–" + fixed(slices.Max(r.Ratios)) + ")"
	}
	return text
}

func fixed(v float64) string { return strconv.FormatFloat(v, 'f', decimals(v), 64) }

// bar has the unit if it is for a figure, and none if it is for a ratio.
func bar(r *contest.Result) string {
	if r.Bar == nil {
		return ""
	}
	sign, value := "≥ ", strconv.FormatFloat(r.Bar.Value, 'f', -1, 64)
	if r.Bar.AtMost {
		sign = "≤ "
	}
	if r.Peer == "" {
		value = figure(r.Bar.Value, r.Unit)
	}
	return sign + value
}

// unmeasured reports whether r is of contest.Missing.
func unmeasured(r *contest.Result) bool { return r.Ours == 0 && r.Unit == "" }

func more(figures map[string]float64) string {
	if len(figures) == 0 {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		parts = append(parts, name+" "+number(figures[name]))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// figure is v with its unit. Bytes and nanoseconds get larger units.
func figure(v float64, unit string) string {
	switch unit {
	case "B":
		return humanize.IBytes(uint64(v))
	case "B/s":
		return humanize.IBytes(uint64(v)) + "/s"
	case "lookups/s":
		return number(v) + " " + unit + ", " + number(1e9/v) + " ns"
	}
	return strings.TrimSpace(number(v) + " " + unit)
}

// number is v with three digits at least, and commas in front of thousands.
func number(v float64) string {
	if math.Abs(v) >= 1000 {
		return humanize.Comma(int64(math.Round(v)))
	}
	return fixed(v)
}

// decimals is how many v needs for three digits.
func decimals(v float64) int {
	switch v = math.Abs(v); {
	case v == math.Trunc(v) || v >= 100:
		return 0
	case v >= 10:
		return 1
	case v >= 0.1:
		return 2
	}
	return 4
}
