package builder

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"promostore/internal/synth"
)

// benchRows returns the number of rows of a benchmark: PROMO_BENCH_ROWS, or 20 M.
func benchRows(b *testing.B) int64 {
	text := os.Getenv("PROMO_BENCH_ROWS")
	if text == "" {
		return 20_000_000
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// writeCSV writes a data set to a file, which is in the page cache afterwards.
func writeCSV(b *testing.B, tab synth.DataSet) string {
	path := filepath.Join(b.TempDir(), "promotions.csv")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := tab.WriteTo(f); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func benchBuild(b *testing.B, memory int64, inputs ...Input) (time.Duration, Summary) {
	dir := b.TempDir()
	defer os.RemoveAll(dir)
	start := time.Now()
	sum, err := Build(b.Context(), Options{Inputs: inputs, Dir: dir, Memory: memory})
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start), sum
}

// BenchmarkBuild builds each kind of keys, in memory and spilled in turn.
func BenchmarkBuild(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			path := writeCSV(b, synth.DataSet{Keys: synth.Keys{Kind: kind, Seed: 1}, Rows: benchRows(b)})
			var inMemory, spilled []float64
			var rows int64
			for b.Loop() {
				d, sum := benchBuild(b, 2<<30, FileInput(path))
				inMemory = append(inMemory, d.Seconds())
				d, _ = benchBuild(b, 256<<20, FileInput(path))
				spilled = append(spilled, d.Seconds())
				rows = sum.Rows
			}
			b.ReportMetric(float64(rows)/median(inMemory), "rows/s")
			b.ReportMetric(float64(rows)/median(spilled), "spilled-rows/s")
			b.ReportMetric(median(inMemory)/median(spilled), "spilled/in-memory")
		})
	}
}

// BenchmarkBuildCompressed builds the same rows from one compressed file and from
// eight, in turn.
func BenchmarkBuildCompressed(b *testing.B) {
	const parts = 8
	data := csvOf(b, synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: benchRows(b)})
	for _, ext := range []string{".gz", ".zst"} {
		b.Run(ext[1:], func(b *testing.B) {
			whole := files(b, b.TempDir(), []string{ext}, data)
			divided := files(b, b.TempDir(), []string{ext}, cut(data, parts)...)
			var one, several []float64
			for b.Loop() {
				d, _ := benchBuild(b, 2<<30, whole...)
				one = append(one, d.Seconds())
				d, _ = benchBuild(b, 2<<30, divided...)
				several = append(several, d.Seconds())
			}
			b.ReportMetric(float64(benchRows(b))/median(one), "one-file-rows/s")
			b.ReportMetric(float64(benchRows(b))/median(several), "rows/s")
			b.ReportMetric(median(one)/median(several), "×one-file")
		})
	}
}

// BenchmarkBuildAgainstSort builds a file and sorts the same CSV with GNU sort, in
// turn. GNU sort checks nothing and does not sync.
func BenchmarkBuildAgainstSort(b *testing.B) {
	path := writeCSV(b, synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: benchRows(b)})
	var ratios, ours, theirs []float64
	for b.Loop() {
		d, _ := benchBuild(b, 6<<30, FileInput(path))
		out := filepath.Join(b.TempDir(), "sorted.csv")
		cmd := exec.Command("sort", "-S", "4G", "--parallel=2", "-T", b.TempDir(), "-o", out, path)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		start := time.Now()
		if msg, err := cmd.CombinedOutput(); err != nil {
			b.Fatal(fmt.Errorf("sort: %w: %s", err, msg))
		}
		sort := time.Since(start)
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
		ours, theirs = append(ours, d.Seconds()), append(theirs, sort.Seconds())
		ratios = append(ratios, sort.Seconds()/d.Seconds())
	}
	b.ReportMetric(median(ours), "s/build")
	b.ReportMetric(median(theirs), "s/sort")
	b.ReportMetric(median(ratios), "×sort")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// BenchmarkParse parses one chunk on one processor.
func BenchmarkParse(b *testing.B) {
	data := csvOf(b, synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: 3300})
	var styles styleDictionary
	p := newParser(',', &styles, len(data))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := p.parse(chunk{data: data}); err != nil || len(p.bad) > 0 {
			b.Fatal(err, p.bad)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3300, "ns/row")
}
