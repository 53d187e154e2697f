package extsort

import (
	"math/rand/v2"
	"slices"
	"testing"

	"promostore/format"
)

func TestSortRecordsIsStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, insertionMax, insertionMax + 1, 1000, 50_000} {
		for _, mask := range []format.Key{{Hi: ^uint64(0), Lo: ^uint64(0)}, {Lo: 0xFFFF}, {Hi: 3, Lo: 1 << 63}, {Hi: 0xFF << 56, Lo: 0xFF}, {}} {
			a := make([]format.Record, n)
			for i := range a {
				k := format.Key{Hi: rng.Uint64() & mask.Hi, Lo: rng.Uint64() & mask.Lo}
				a[i] = format.MakeRecord(k, false, format.Price{Digits: uint64(i)}, 0, 0)
			}
			want := slices.Clone(a)
			slices.SortStableFunc(want, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
			sortRecords(a, make([]format.Record, n))
			if !slices.Equal(a, want) {
				t.Errorf("%d records, keys of %x: not sorted stably", n, mask)
			}
		}
	}
}
