package reader

import (
	"fmt"
	"math"
	"math/bits"

	"promostore/format"
)

// A fenceTable finds the block of a key.
//
// Fence 0 never decides anything: what sorts before fence 1 is in block 0. So
// the table covers the fences from 1 to the last. It takes the bits behind the
// prefix that they share, and has for each value of those bits the range of
// fences that begin so. Ids that are alike in front (v7, or all alike in the
// first 8 bytes) thus spread over it as random ones do, and outliers in the
// first and last block do no harm. Where ids crowd in spite of that, a range
// is long and is searched by halves.
type fenceTable struct {
	fences      []format.Key
	first, last format.Key // fences 1 and len-1
	prefix      uint       // bits that they share
	drop        uint       // 64 - bits of the table's index
	starts      []uint32   // by those bits: the first fence that has them or more
}

func newFenceTable(fences []format.Key) fenceTable {
	t := fenceTable{fences: fences}
	if len(fences) < 2 {
		return t
	}
	t.first, t.last = fences[1], fences[len(fences)-1]
	t.prefix = uint(t.first.CommonPrefix(t.last))
	if len(fences) < 3 || len(fences) > math.MaxUint32 {
		return t // block searches by halves
	}
	// One entry a fence, rounded down to a power of two.
	width := min(uint(bits.Len(uint(len(fences))))-1, 128-t.prefix)
	t.drop = 64 - width
	t.starts = make([]uint32, 1<<width+1)
	next := uint64(0) // entries below this are set
	for i := 1; i < len(fences); i++ {
		for v := t.slot(fences[i]); next <= v; next++ {
			t.starts[next] = uint32(i)
		}
	}
	for ; next < uint64(len(t.starts)); next++ {
		t.starts[next] = uint32(len(fences))
	}
	return t
}

func (t *fenceTable) slot(k format.Key) uint64 { return bitsFrom(k, t.prefix) >> t.drop }

// block is the number of the block that has k if the file has it: that of the
// last fence not behind k, or 0. There must be one block at least.
func (t *fenceTable) block(k format.Key) int {
	if len(t.fences) < 2 || k.Less(t.first) {
		return 0
	}
	if !k.Less(t.last) {
		return len(t.fences) - 1
	}
	lo, hi := 1, len(t.fences)
	if t.starts != nil {
		v := t.slot(k)
		lo, hi = int(t.starts[v]), int(t.starts[v+1])
	}
	// fences[lo-1] <= k < fences[hi], with a key behind all as the last fence.
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if k.Less(t.fences[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}

// bitsFrom is the 64 bits of k that begin at bit from, 0 to 128, filled up
// with zeros. A shift of 64 or more, and so a negative one, gives zero.
func bitsFrom(k format.Key, from uint) uint64 {
	return k.Hi<<from | k.Lo>>(64-from) | k.Lo<<(from-64)
}

// A span is a block and what is known of it without reading it.
type span struct {
	block  int64
	n      int        // records in it
	lo, hi format.Key // its first id; the first id of the next block, or the last of the file
}

// guess is the record of the block where key, lo <= key <= hi, would be if the
// ids between lo and hi were evenly spread: 0 to n-1.
func (s *span) guess(key format.Key) int {
	// Behind the prefix that lo and hi share, hi begins with a one and lo with
	// a zero. The 63 bits there fit an int64, which converts in one
	// instruction; the 1 keeps neighbours from dividing by zero.
	from := uint(s.lo.CommonPrefix(s.hi))
	lo := bitsFrom(s.lo, from)
	num := float64(int64((bitsFrom(key, from) - lo) >> 1))
	den := float64(int64((bitsFrom(s.hi, from)-lo)>>1)) + 1
	return min(int(num/den*float64(s.n)), s.n-1)
}

// lowerBound is the number of records in window that sort before key.
func lowerBound(window []byte, key format.Key) int {
	lo, hi := 0, len(window)/format.RecordLen
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if format.KeyAt(window[mid*format.RecordLen:]).Less(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// absent is the answer when key is not in window, where it would be before
// record i: nil, or an error if the records around it do not belong into the
// block. That is how a page that was cut off shows, which reads as zeros.
func (s *span) absent(window []byte, i int) error {
	for _, j := range [...]int{i - 1, i} {
		if j < 0 || j >= len(window)/format.RecordLen {
			continue
		}
		if k := format.KeyAt(window[j*format.RecordLen:]); k.Less(s.lo) || s.hi.Less(k) {
			return fmt.Errorf("%w: block %d, from %s to %s, has %s", format.ErrCorrupt, s.block, s.lo, s.hi, k)
		}
	}
	return nil
}
