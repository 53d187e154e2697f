package tasks

import (
	"testing"

	"pgregory.net/rapid"
)

// Every byte of the inputs is in exactly one split, in their order. Parts of an
// input have the same size, up to a byte each, and groups are as large as they can
// be.
func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(0, 1000)), 1, 20).Draw(t, "sizes")
		cut := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(t, "cut")
		size := rapid.Int64Range(1, 200).Draw(t, "size")
		splits, ok := divide(sizes, cut, size)
		if !ok {
			t.Fatalf("%d sizes: more than %d splits", len(sizes), MaxSplits)
		}
		inputs := make([]Input, len(sizes))
		for i, n := range sizes {
			inputs[i].Size = n
		}
		if err := checkSplits(splits, inputs); err != nil {
			t.Fatal(err)
		}
		bytesOf := func(ranges []Range) (n int64) {
			for _, r := range ranges {
				n += r.To - r.From
			}
			return n
		}
		for i, ranges := range splits {
			first, whole := ranges[0], sizes[ranges[0].Input]
			switch n := bytesOf(ranges); {
			case n > size && (len(ranges) > 1 || cut[first.Input]):
				t.Errorf("split %d, %+v, has %d bytes", i, ranges, n)
			case first.To-first.From < whole && (whole <= size || !cut[first.Input]):
				t.Errorf("split %d, %+v, is part of an input of %d bytes", i, ranges, whole)
			case i > 0 && first.From == 0 && first.To == whole && first.To <= size:
				before := splits[i-1]
				if last := before[len(before)-1]; last.From == 0 && last.To == sizes[last.Input] && bytesOf(before) <= size && bytesOf(before)+whole <= size {
					t.Errorf("splits %d and %d, %+v and %+v, are not grouped", i-1, i, before, ranges)
				}
			case first.From > 0 && first.To < whole && first.To-first.From != splits[i-1][0].To-splits[i-1][0].From:
				t.Errorf("splits %d and %d, %+v and %+v, differ in size", i-1, i, splits[i-1], ranges)
			}
		}
	})
}

// Divide stops at the greatest number of splits, whatever the sizes.
func TestDivideIsBounded(t *testing.T) {
	const most = int64(1<<63 - 1)
	small := make([]int64, MaxSplits+1)
	for i := range small {
		small[i] = 2
	}
	for name, c := range map[string]struct {
		sizes []int64
		size  int64
		want  int // 0: too many
	}{
		"one large input": {[]int64{most}, 1, 0},
		"largest parts":   {[]int64{most}, most, 1},
		"two parts":       {[]int64{most}, most - 1, 2},
		"large and small": {[]int64{most, 1, most}, most/MaxSplits + 1, 0},
		"as many as fit":  {[]int64{MaxSplits * 3}, 3, MaxSplits},
		"one more":        {[]int64{MaxSplits*3 + 1}, 3, 0},
		"many inputs":     {small, 3, 0},
		"groups":          {small, 4, MaxSplits/2 + 1},
	} {
		cut := make([]bool, len(c.sizes))
		for i := range cut {
			cut[i] = true
		}
		if splits, ok := divide(c.sizes, cut, c.size); ok != (c.want > 0) || ok && len(splits) != c.want {
			t.Errorf("%s: %d splits, %v, want %d", name, len(splits), ok, c.want)
		}
	}
}
