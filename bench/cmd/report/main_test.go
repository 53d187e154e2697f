package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `date: 2026-11-27
rows: 20000000
cpu: AMD EPYC
BenchmarkBuild/GNU_sort/rows=20M-2  1  12957630 rows/s  1110559 peer-rows/s  11.5 ratio  6.3 ratio-low  13.1 ratio-high  6 rounds  10 target-min
BenchmarkBuild/DuckDB/rows=20M-2    1  14673987 rows/s  2553417 peer-rows/s  5.82 ratio  5.43 ratio-low  7.02 ratio-high  3 rounds  5 target-min
BenchmarkScale/ready/rows=100k-2    1  0.00688 s  2.1 target-max
BenchmarkScale/ready/rows=1M-2      1  8 s  2 target-max
PASS
`

func TestReport(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	for path, text := range map[string]string{
		filepath.Join(dir, "build.txt"): output,
		page: "before\n<!-- config build -->\nold\n<!-- end -->\n" +
			"<!-- table Build/(GNU_sort|DuckDB) rows/s none -->\n<!-- end -->\n<!-- table Scale/ s -->\n\nold\n\n<!-- end -->\nafter\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var first string
	for range 2 { // the second run replaces the text of the first
		if err := run([]string{dir, page}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"before\n", "\nafter\n", "`make scorecard SUITES=build ROWS=20000000`, on 2026-11-27",
			"| GNU sort (20M) | 13.0 M / 1.11 M | **11.5** (6.30–13.1) |  | ≥ 10 | open |",
			"| DuckDB (20M) | 14.7 M / 2.55 M | **5.82** (5.43–7.02) of 3 rounds |  | ≥ 5 | yes |",
			"| ready (100k) | 0.00688 | ≤ 2.1 | yes |",
			"| ready (1M) | 8.00 | ≤ 2 | **no** |",
		} {
			if !strings.Contains(string(got), want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		if strings.Contains(string(got), "old") || first != "" && first != string(got) {
			t.Errorf("wrong page:\n%s", got)
		}
		first = string(got)
	}
	for _, plot := range []string{"build.svg"} {
		if info, err := os.Stat(filepath.Join(dir, plot)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", plot, err)
		}
	}
	if err := run([]string{dir}); err == nil {
		t.Error("no error without a page")
	}
}
