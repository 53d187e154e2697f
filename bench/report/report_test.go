package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"promostore/bench/contest"
	"promostore/bench/machine"
	"promostore/bench/report"
)

var chapter = report.Chapter{
	Name: "build", Command: "make scorecard AREAS=build ROWS=1000", Rows: 1000,
	Started: time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC), Seconds: 65,
	Machine: machine.Machine{CPU: "Some CPU", Cores: 2},
	Results: []contest.Result{
		contest.Ratio("build", "1k/sort", "build against sort", "rows/s", 14_000_000, "sort", 1_400_000, contest.AtLeast(9), "a note | with a bar"),
		contest.Ratio("build", "1k/duckdb", "build against DuckDB", "rows/s", 14_000_000, "DuckDB", 3_000_000, contest.AtLeast(5), ""),
		contest.Missing("build", "1k/mariadb", "build against MariaDB", "MariaDB", "apt-get install mariadb-server"),
		contest.Figure("bytes", "1k/csv", "the CSV", "bytes/record", 77.9, nil, ""),
		contest.Figure("bytes", "1k/promostore", "our file", "bytes/record", 32.2, nil, ""),
		contest.Figure("bytes", "1k/parquet", "Parquet", "bytes/record", 40, nil, ""),
		contest.Figure("scale", "build/1000", "build", "rows/s", 1e6, nil, ""),
		contest.Figure("scale", "build/1000000", "build", "rows/s", 1.4e7, nil, ""),
	},
}

func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	second := chapter
	second.Name = "lookup"
	for _, c := range []*report.Chapter{&second, &chapter, &chapter} {
		if err := report.Write(dir, c); err != nil {
			t.Fatal(err)
		}
	}
	got, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []report.Chapter{chapter, second}; !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## Build", "## Lookup", chapter.Command, "Some CPU",
		"| build against sort | 14,000,000 rows/s | sort: 1,400,000 rows/s | 10 | ≥ 9 | yes |",
		"| 4.67 | ≥ 5 | no |",
		"not measured: apt-get install mariadb-server",
		"### Bars that do not hold\n\n**build against DuckDB** (4.67, bar ≥ 5).",
		"a note | with a bar",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for _, name := range []string{"build-bytes-1k.svg", "build-scale-build.svg"} {
		if !strings.Contains(string(page), "("+name+")") {
			t.Errorf("the page does not show %s", name)
		}
		wellFormed(t, filepath.Join(dir, name))
	}
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root := ""
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if e, ok := token.(xml.StartElement); ok && root == "" {
			root = e.Name.Local
		}
	}
	if root != "svg" {
		t.Errorf("%s: root element %q", path, root)
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
	less.Results = less.Results[:1]
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
