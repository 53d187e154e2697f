package builder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/internal/synth"
)

// Ids that are uneven on every level: each bit of the prefix halves the rest,
// so a split always leaves one child with half of the records.
func TestUnevenKeys(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, deep := range []int{20, 64, 127} {
		var b strings.Builder
		for i := range 30_000 {
			k := format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}
			shift := uint(rng.IntN(deep))
			if shift >= 64 {
				k = format.Key{Lo: k.Hi >> (shift - 64)}
			} else {
				k = format.Key{Hi: k.Hi >> shift, Lo: k.Lo>>shift | k.Hi<<(64-shift)}
			}
			fmt.Fprintf(&b, "%s,%d.50,2018-06-04 06:01:20\n", k, i)
		}
		data := []byte(b.String())
		want := expect(data, KeepLast)
		for _, s := range []sizes{tiny, sizesFor(MinMemory, 2)} {
			_, file := mustBuild(t, s, Options{Inputs: []Input{stream("a", data)}, Workers: 2})
			if got := dump(t, file, ','); !slices.Equal(got, want) {
				t.Errorf("prefixes of up to %d bits: %d rows, want %d, or other ones", deep, len(got), len(want))
			}
		}
	}
}

// Every bucket of even ids is too long for a leaf, and the arena has little
// more room than the records take: the workers' pages that are not full must
// not use it up, however many they are.
func TestSplitWithManyWorkers(t *testing.T) {
	const rows = 200_000
	data := table(t, synth.Table{Keys: synth.Keys{Seed: 5}, Rows: rows})
	_, want := mustBuild(t, sizes{}, Options{Inputs: []Input{stream("a", data)}})
	s := sizes{arena: rows * 8 / 7 * 102 / 100 * format.RecordLen, page: 1, chunk: 16 << 10, leaf: 128, direct: 4 << 10}
	for _, workers := range []int{1, 2, 16, 64} {
		sum, got := mustBuild(t, s, Options{Inputs: []Input{stream("a", data)}, Workers: workers, Memory: 1 << 30})
		if sum.SpilledBytes != 0 {
			t.Errorf("%d workers: %d bytes spilled", workers, sum.SpilledBytes)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d workers: other bytes", workers)
		}
	}
}

// The runs that can be merged do not become fewer with more workers.
func TestMergeWithManyWorkers(t *testing.T) {
	for _, memory := range []int64{MinMemory, 256 << 20, 2 << 30} {
		want := 300_000_000 * (memory / MinMemory) // as ErrMemory says
		for _, workers := range []int{1, 2, 16, 64} {
			workers = min(workers, int(memory>>24))
			records := sizesFor(memory, workers).arena / format.RecordLen
			if workers > 1 && records < memory/format.RecordLen/2 {
				t.Errorf("%d workers leave %d of %d bytes for records", workers, records*format.RecordLen, memory)
			}
			n := records * 3 / 4 // in a run: what is reserved, and pages that are not full, are not in it
			var runs []*run
			for rows := int64(0); rows < want; rows += n {
				runs = append(runs, &run{n: n, step: stepFor(n)})
			}
			if _, _, err := plan(int(records), workers, runs); err != nil {
				t.Errorf("%d MiB, %d workers: %v", memory>>20, workers, err)
			}
		}
	}
}

// However large the runs, ranges move on, and most of what is read for one is
// of it.
func TestPlanOfLargeRuns(t *testing.T) {
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
			workers, slot, err := plan(int(n), 2, runs)
			if err != nil {
				t.Fatal(err)
			}
			p := newPlanner(runs, slot)
			num := 0
			for _, ok := p.next(); ok && num <= samples+1; _, ok = p.next() {
				num++
			}
			if num > samples+1 {
				t.Errorf("%d runs of %d: ranges without end", numRuns, n)
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
