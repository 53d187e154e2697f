// Report writes the tables of docs/benchmarks.md and the plots beside
// the results, from the output of the benchmarks in a directory.
//
//	report RESULTS PAGE
//
// On the page, a table stands between two comments, of which the first selects
// benchmarks by a regular expression, and metrics for the columns:
//
//	<!-- table Build/(GNU_sort|DuckDB)/ rows/s B/record -->
//	<!-- end -->
//
// A comment "config build" stands for the configuration of results/build.txt.
package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: report RESULTS PAGE")
	}
	paths, err := filepath.Glob(filepath.Join(args[0], "*.txt"))
	if err != nil {
		return err
	}
	var r results
	for _, path := range paths {
		if err := r.read(path); err != nil {
			return err
		}
	}
	if err := r.plots(args[0]); err != nil {
		return err
	}
	page, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	page, err = r.fill(page)
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], page, 0o644)
}

// results holds the results of all suites.
type results struct {
	benchmarks []benchmark
	config     map[string]map[string]string // by suite and key
}

type benchmark struct {
	name    string // without "Benchmark" and the number of processors
	metrics map[string]float64
}

// label returns the name without the suite, for a table.
func (b *benchmark) label() string {
	_, label, _ := strings.Cut(b.name, "/")
	label, rows, ok := strings.Cut(strings.ReplaceAll(label, "_", " "), "/rows=")
	if ok {
		label += " (" + rows + ")"
	}
	return label
}

// read adds a file in the format of Go benchmarks.
func (r *results) read(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	config := map[string]string{}
	if r.config == nil {
		r.config = map[string]map[string]string{}
	}
	r.config[strings.TrimSuffix(filepath.Base(path), ".txt")] = config
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && key == strings.ToLower(key) {
			config[key] = value
		}
		if len(fields) < 4 || !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		b := benchmark{name[:max(0, strings.LastIndexByte(name, '-'))], map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if b.metrics[fields[i+1]], err = strconv.ParseFloat(fields[i], 64); err != nil {
				return fmt.Errorf("%s: %s: %w", path, name, err)
			}
		}
		r.benchmarks = append(r.benchmarks, b)
	}
	return nil
}

// find returns the benchmarks whose names match a regular expression.
func (r *results) find(expr string) (list []benchmark, err error) {
	re, err := regexp.Compile("^" + expr)
	if err != nil {
		return nil, err
	}
	for _, b := range r.benchmarks {
		if re.MatchString(b.name) {
			list = append(list, b)
		}
	}
	return list, nil
}

var block = regexp.MustCompile(`(?s)<!-- (table|config) ([^\n]*?) -->\n.*?<!-- end -->`)

// fill replaces the blocks of the page.
func (r *results) fill(page []byte) ([]byte, error) {
	var failure error
	page = block.ReplaceAllFunc(page, func(old []byte) []byte {
		comment, _, _ := bytes.Cut(old, []byte("\n"))
		m := block.FindSubmatch(old)
		args := strings.Fields(string(m[2]))
		text := r.configLine(args[0])
		if string(m[1]) == "table" {
			list, err := r.find(args[0])
			if err != nil {
				failure = err
			}
			text = table(list, args[1:])
		}
		return fmt.Appendf(nil, "%s\n\n%s\n<!-- end -->", comment, text)
	})
	return page, failure
}

// configLine returns a sentence about how a suite was run.
func (r *results) configLine(suite string) string {
	c := r.config[suite]
	if c == nil {
		return "Not measured yet.\n"
	}
	command := "make scorecard SUITES=" + suite
	if c["rows"] != "" {
		command += " ROWS=" + c["rows"]
	}
	text := fmt.Sprintf("`%s`, on %s, commit %s, %s, Linux %s, %s cores (%s), %s of memory", command, c["date"], c["commit"], c["go"], c["kernel"], c["cores"], c["cpu"], c["memory"])
	if c["disk-read"] != "" {
		text += fmt.Sprintf("; the disk reads %s and writes %s in sequence, and does %s at random", c["disk-read"], c["disk-write"], c["disk-random-read"])
	}
	return text + ".\n"
}

// table returns a table with a row for each benchmark, and columns for the
// units, the ratio and the target if there are any. A cell has our value, and
// after a slash the value of the peer.
func table(list []benchmark, units []string) string {
	has := func(unit string) bool {
		return slices.ContainsFunc(list, func(b benchmark) bool { _, ok := b.metrics[unit]; return ok })
	}
	ratio, target := has("ratio"), has("target-min") || has("target-max")
	head := []string{""}
	for i, unit := range units {
		if i == 1 && ratio {
			head = append(head, "ratio (95 %)")
		}
		head = append(head, unit)
	}
	if len(units) == 1 && ratio {
		head = append(head, "ratio (95 %)")
	}
	if target {
		head = append(head, "target", "met")
	}
	text := "| " + strings.Join(head, " | ") + " |\n|" + strings.Repeat("---|", len(head)) + "\n"
	for _, b := range list {
		cells := []string{b.label()}
		for i, unit := range units {
			cells = append(cells, b.cell(unit))
			if i == 0 && ratio {
				cells = append(cells, b.ratio())
			}
		}
		if target {
			cells = append(cells, b.target(units[0])...)
		}
		text += "| " + strings.Join(cells, " | ") + " |\n"
	}
	return text
}

func (b *benchmark) cell(unit string) string {
	v, ok := b.metrics[unit]
	if !ok {
		return ""
	}
	text := number(v)
	if peer, ok := b.metrics["peer-"+unit]; ok {
		text += " / " + number(peer)
	}
	return text
}

func (b *benchmark) ratio() string {
	if b.metrics["rounds"] == 0 {
		return ""
	}
	text := fmt.Sprintf("**%s** (%s–%s)", number(b.metrics["ratio"]), number(b.metrics["ratio-low"]), number(b.metrics["ratio-high"]))
	if n := b.metrics["rounds"]; n < 6 {
		text += fmt.Sprintf(" of %.0f rounds", n)
	}
	return text
}

// target returns the target, and whether it is met: "open" if it lies within
// the interval. The target is one of the ratio, or of the value without a peer.
func (b *benchmark) target(unit string) []string {
	low, high := b.metrics["ratio-low"], b.metrics["ratio-high"]
	if b.metrics["rounds"] == 0 {
		low, high = b.metrics[unit], b.metrics[unit]
	}
	var text string
	var met [2]bool
	if t, ok := b.metrics["target-min"]; ok {
		text, met = "≥ "+humanize.Commaf(t), [2]bool{low >= t, high >= t}
	} else if t, ok := b.metrics["target-max"]; ok {
		text, met = "≤ "+humanize.Commaf(t), [2]bool{low <= t, high <= t}
	} else {
		return []string{"", ""}
	}
	verdict := "open"
	if met[0] == met[1] {
		verdict = map[bool]string{true: "yes", false: "**no**"}[met[0]]
	}
	return []string{text, verdict}
}

// number formats v with three digits, or without a fraction.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', max(0, 2-int(math.Log10(v/1e6))), 64) + " M"
	case v >= 100:
		return humanize.Comma(int64(math.Round(v)))
	case v == 0:
		return "0"
	}
	return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(v)))), 64)
}
