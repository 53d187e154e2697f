package extsort

import (
	"testing"

	"promostore/format"
)

// More workers do not reduce the number of records that can be merged.
func TestPlanMergeForAnyNumberOfWorkers(t *testing.T) {
	const minMemory = 64 << 20
	for _, memory := range []int64{minMemory, 256 << 20, 2 << 30} {
		want := 300_000_000 * (memory / minMemory) // documented at ErrMemory
		for _, workers := range []int{1, 2, 16, 64} {
			workers = min(workers, int(memory>>24))
			reserved := int64(workers) * 400_000 // as package builder does
			records := SizesFor(memory, workers, reserved).Arena / format.RecordLen
			if workers > 1 && records < memory/format.RecordLen/2 {
				t.Errorf("%d workers leave %d of %d bytes for records", workers, records*format.RecordLen, memory)
			}
			n := records * 3 / 4 // in a run: spare pages and partly filled ones are not in it
			var runs []*run
			for rows := int64(0); rows < want; rows += n {
				runs = append(runs, &run{n: n, step: stepFor(n)})
			}
			if _, _, err := planMerge(int(records), writers(workers), runs); err != nil {
				t.Errorf("%d MiB, %d workers: %v", memory>>20, workers, err)
			}
		}
	}
}

// For runs of any size the ranges advance, and most of the data read for a range
// belongs to it.
func TestPlannerWithLargeRuns(t *testing.T) {
	for _, n := range []int64{1 << 20, 30_000_000, 215_000_000, 470_000_000, 4_000_000_000} {
		for _, numRuns := range []int{1, 2, 3, 20} {
			var runs []*run
			samples := 0
			for range numRuns {
				r := &run{n: n, step: stepFor(n)}
				for i := r.step; i < n; i += r.step {
					r.samples = append(r.samples, format.Key{Hi: uint64(i) << 20, Lo: uint64(len(runs))})
				}
				samples += len(r.samples)
				runs = append(runs, r)
			}
			workers, slot, err := planMerge(int(n), 2, runs)
			if err != nil {
				t.Fatal(err)
			}
			p := newPlanner(runs, slot)
			num := 0
			for _, ok := p.next(); ok && num <= samples+1; _, ok = p.next() {
				num++
			}
			if num > samples+1 {
				t.Errorf("%d runs of %d: endless ranges", numRuns, n)
			}
			if most := int64(numRuns)*n/(int64(slot)-2*slack(runs)) + 2; slot > int(4*slack(runs)) && int64(num) > most {
				t.Errorf("%d runs of %d: %d ranges of %d records by %d workers, want %d at most", numRuns, n, num, slot, workers, most)
			}
			if slot < int(2*slack(runs)) {
				t.Errorf("%d runs of %d: ranges of %d records, of which %d are slack", numRuns, n, slot, slack(runs))
			}
		}
	}
}
