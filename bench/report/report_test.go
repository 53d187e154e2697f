package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/bench/contest"
	"promostore/bench/machine"
	"promostore/bench/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// turns is r with the ratios of turns and what both did it with.
func turns(r contest.Result, rows int64, ours, theirs string, ratios ...float64) contest.Result {
	r.Rows, r.OursSetup, r.PeerSetup = rows, ours, theirs
	r.Turns(ratios)
	return r
}

var chapter = report.Chapter{
	Name: "build", Command: "make scorecard AREAS=build ROWS=1000", Rows: 1000,
	Started: time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC), Seconds: 65,
	Machine: machine.Machine{CPU: "Some CPU", Cores: 2, MemoryBytes: 4 << 30, Commit: "abc", Go: "go1", Kernel: "6.1", OS: "Some OS"},
	Ended:   "no room",
	Results: []contest.Result{
		turns(contest.Ratio("build", "sort", "build against sort", "rows/s", 14_000_000, "sort", 1_400_000, contest.AtLeast(9), "a note | with a bar"), 1000, "promobuild", "sort 9", 9.5, 10, 11),
		turns(contest.Ratio("build", "duckdb", "build against DuckDB", "rows/s", 14_000_000, "DuckDB", 3_000_000, contest.AtLeast(5), ""), 1000, "promobuild", "v1", 4.5, 4, 4.9),
		turns(contest.Ratio("build", "pebble", "build against Pebble", "rows/s", 14_000_000, "Pebble", 3_000_000, contest.AtLeast(5), ""), 2000, "promobuild", "v2", 4.5, 4, 6),
		turns(contest.Ratio("build", "spilled", "spilled against sort", "rows/s", 14_000_000, "sort", 3_000_000, contest.AtLeast(5), ""), 2000, "promobuild --memory 1MiB", "sort 9, -S 1M", 6),
		turns(contest.Ratio("build", "v7/memory", "v7 against v4", "rows/s", 1, "v4", 2, contest.AtLeast(0.7).For(20_000_000, 1000), "why"), 1000, "promobuild", "promobuild", 0.5, 0.6, 0.4),
		turns(contest.Ratio("build", "floor", "build against the floor", "rows/s", 14_000_000, "floor", 30_000_000, nil, ""), 1000, "promobuild", "reads", 0.4, 0.5, 0.6),
		contest.Missing("build", "mariadb", "build against MariaDB", "MariaDB", "apt-get install mariadb-server"),
		contest.Figure("bytes", "CSV", "the CSV", "bytes/row", 77.9, nil, ""),
		contest.Figure("bytes", "promostore", "our file", "bytes/row", 32.2, contest.AtMost(40), ""),
		contest.Figure("bytes", "entropy", "at least", "bytes/row", 12, nil, ""),
	},
}

var sizes = report.Chapter{
	Name: "scale", Command: "make scorecard AREAS=scale ROWS=1000", Rows: 1000,
	Results: []contest.Result{
		contest.Figure("scale", "build/1000000", "rows a second, 1000000 rows", "rows/s", 1.4e7, nil, ""),
		contest.Figure("scale", "build/1000", "rows a second, 1000 rows", "rows/s", 1e3, nil, ""),
		contest.Figure("scale", "ready/1000", "ready, 1000 rows", "s", 0, nil, ""),
	},
}

// TestWriteAndRead compares the page with testdata/page.md, which
// "go test ./report -update" writes anew.
func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	for _, c := range []*report.Chapter{&sizes, &chapter, &chapter} {
		if err := report.Write(dir, c); err != nil {
			t.Fatal(err)
		}
	}
	got, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []report.Chapter{chapter, sizes}; !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/page.md"
	if *update {
		if err := os.WriteFile(golden, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want) {
		t.Errorf("the page is not %s:\n%s", golden, page)
	}
	for name, texts := range map[string][]string{
		// Ours at each size, and the others where their ratio puts them.
		"build-build.svg": {"1000 rows", "2000 rows", "promostore", "sort", "1.40 M", "DuckDB", "3.11 M", "Pebble", "floor", "28 M", "rows/s, others by their ratio to promostore"},
		"build-bytes.svg": {"promostore", "CSV", "77.9", "entropy (floor)"},
		"scale-build.svg": {"Rows a second", "1 k", "1 M", "rows", "rows/s", "14 M"},
	} {
		drawn := textsOf(t, filepath.Join(dir, name))
		for _, text := range texts {
			if !slices.Contains(drawn, text) {
				t.Errorf("%s lacks %q: %q", name, text, drawn)
			}
		}
		for _, text := range []string{"v4", "MariaDB"} {
			if slices.Contains(drawn, text) {
				t.Errorf("%s has %q", name, text)
			}
		}
	}
	if list, err := filepath.Glob(filepath.Join(dir, "*.svg")); len(list) != 3 || err != nil {
		t.Error(list, err)
	}
}

// TestTable: what is printed has the spread and the verdict, as the page has.
func TestTable(t *testing.T) {
	var b strings.Builder
	if err := report.WriteTable(&b, chapter.Results); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"10 (9.50–11)  ≥ 9 yes", "4.50 (4–4.90)  ≥ 5 no", "4.50 (4–6)  ≥ 5 open", "6 ≥ 5 open", "0.50 (0.40–0.60)  ≥ 0.7 -"} {
		line := strings.Split(b.String(), "\n")[i+1]
		if !strings.HasSuffix(strings.Join(strings.Fields(line), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q, want %q", line, want)
		}
	}
}

// textsOf is the texts of an SVG, which has to be well formed.
func textsOf(t *testing.T, path string) (texts []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, strings.TrimSpace(string(text)))
		}
	}
}

// TestPlotsThatAreGone: a plot of a chapter that was measured anew, without
// what it showed, does not stay behind.
func TestPlotsThatAreGone(t *testing.T) {
	dir := t.TempDir()
	if err := report.Write(dir, &chapter); err != nil {
		t.Fatal(err)
	}
	less := chapter
	less.Results = less.Results[6:7]
	if err := report.Write(dir, &less); err != nil {
		t.Fatal(err)
	}
	plots, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(plots) != 0 {
		t.Error(plots, err)
	}
}

func TestReadDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "build.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Read(dir); err == nil || !strings.Contains(err.Error(), "build.json") {
		t.Error(err)
	}
}
