package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/internal/synth"
)

// BenchmarkMerge builds a file in one build, and merges it from the runs of several
// builds, in turn. Both have the memory of a spilled build.
func BenchmarkMerge(b *testing.B) {
	const memory = 256 << 20
	path := writeCSV(b, synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: benchRows(b)})
	store, object := objectOf(b, path)
	for _, num := range []int{2, 16, 256} {
		b.Run(fmt.Sprint(num, " runs"), func(b *testing.B) {
			dir := b.TempDir()
			var runs []string
			for i := range int64(num) {
				in := RangeInput(store, object, object.Size*i/int64(num), object.Size*(i+1)/int64(num))
				sum, err := Build(b.Context(), Options{Inputs: []Input{in}, Dir: filepath.Join(dir, fmt.Sprint(i)), Generation: testGeneration, Memory: memory})
				if err != nil {
					b.Fatal(err)
				}
				runs = append(runs, sum.File)
			}
			var builds, merges []float64
			var records uint64
			for b.Loop() {
				d, _ := benchBuild(b, memory, FileInput(path))
				builds = append(builds, d.Seconds())
				out := filepath.Join(dir, "merged")
				start := time.Now()
				header, err := Merge(b.Context(), MergeOptions{Runs: runs, Out: out, Memory: memory})
				if err != nil {
					b.Fatal(err)
				}
				merges = append(merges, time.Since(start).Seconds())
				records = header.Records
				if err := os.Remove(out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(records)/median(merges), "records/s")
			b.ReportMetric(float64(benchRows(b))/median(builds), "build-rows/s")
			b.ReportMetric(median(builds)/median(merges), "×build")
		})
	}
}
