package extsort

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
)

// MergeMemory is enough for files of any number and size.
func TestMergeMemoryIsEnough(t *testing.T) {
	const minMemory = 64 << 20
	for _, records := range []int64{0, 1000, 1 << 20, 10_000_000, 100_000_000, 1 << 30, 10 << 30} {
		for _, files := range []int64{1, 2, 16, 100, 256, 1024, 4096} {
			memory := max(minMemory, MergeMemory(int(files), records))
			for _, workers := range []int{1, 2, 16, 64} {
				var even, uneven []*run
				for i := range files {
					even = append(even, &run{n: records / files})
					uneven = append(uneven, &run{n: records / 2 / files})
					if i == 0 {
						uneven[0].n = records / 2
					}
				}
				for name, runs := range map[string][]*run{"even": even, "uneven": uneven} {
					s := MergeSizes(memory, files<<10)
					room, err := chooseSteps(runs, s, writers(workers))
					if err != nil {
						t.Errorf("%d records in %d %s files, %d MiB, %d workers: %v", records, files, name, memory>>20, workers, err)
						continue
					}
					if used := room + indexMemory(runs); used > s.Arena {
						t.Errorf("%d records in %d %s files use %d of %d bytes", records, files, name, used, s.Arena)
					}
					if _, _, err := planMerge(int(room/format.RecordLen), writers(workers), runs); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

// The ranges of any runs, steps and memory cover all records once, and each of them
// fits into its buffer.
func TestRangesCoverRuns(t *testing.T) {
	path := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		f, err := os.CreateTemp(path, "runs")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		defer f.Close()
		space := rapid.SampledFrom([]uint64{3000, 30_000, 1 << 62}).Draw(t, "key space") // small: keys that several runs have
		shift := rapid.IntRange(-7, 7).Draw(t, "shift")
		var runs []*run
		var want []format.Record
		for i := range rapid.IntRange(1, 12).Draw(t, "runs") {
			keys := map[uint64]bool{}
			step := max(1, space/5000)
			from := rapid.SampledFrom([]uint64{0, 0, 1, step, rapid.Uint64Range(0, space).Draw(t, "first key")}).Draw(t, "first") // often that of other runs: their samples are equal
			for k := range uint64(rapid.SampledFrom([]int{0, 1, 127, 128, 129, 700, 2500}).Draw(t, "records")) {
				keys[(from+k*step)%space] = true
			}
			r := &run{file: &directFile{f}, n: int64(len(keys))}
			setSteps([]*run{r}, shift)
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			r.off = info.Size()
			var records []format.Record
			for k := range keys {
				records = append(records, format.MakeRecord(format.Key{Lo: k}, false, format.Price{Digits: uint64(i)}, 0, 0))
			}
			slices.SortFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
			for j := int64(0); j < r.n; j += r.step {
				r.samples = append(r.samples, records[j].Key())
			}
			padded := append(slices.Clone(records), make([]format.Record, -len(records)&(directRecords-1))...)
			if _, err := f.WriteAt(format.Bytes(padded), r.off); err != nil {
				t.Fatal(err)
			}
			runs, want = append(runs, r), append(want, records...)
		}
		slices.SortStableFunc(want, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })

		least := leastRange(runs)
		room := 2 * (least + rapid.IntRange(0, 3000).Draw(t, "more room"))
		_, slot, err := planMerge(room, 1, runs)
		if err != nil {
			t.Fatal(err)
		}
		p := newPlanner(runs, slot)
		buf := make([]format.Record, 2*slot)
		var got []format.Record
		num := 0
		for r, ok := p.next(); ok; r, ok = p.next() {
			n, err := load(buf, runs, r)
			if err != nil {
				t.Fatal(err)
			}
			if n > slot {
				t.Fatalf("range %d has %d records, more than %d", num, n, slot)
			}
			sortRecords(buf[:n], make([]format.Record, n))
			got = append(got, buf[:n]...)
			num++
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d ranges have %d records, want %d", num, len(got), len(want))
		}
	})
}

func TestMergeOfTooManyFilesForMemory(t *testing.T) {
	var runs []*run
	for range 4096 {
		runs = append(runs, &run{n: 1 << 20})
	}
	s := MergeSizes(64<<20, 0)
	if _, err := chooseSteps(runs, s, 2); err == nil || fmt.Sprint(err) != "memory budget too small for the merge of 4096 files of 4294967296 records; 1429 MiB are enough" {
		t.Errorf("error %v", err)
	}
}
