package reader

import (
	"fmt"
	"io"

	"promostore/format"
)

// A fenceTable finds the block of a key.
//
// Fence 0 never decides anything: what sorts before fence 1 is in block 0. So
// the table is for the keys from fence 1 to the last, and outliers in the first
// and last block do no harm. A guess from a table of ranks is where the search
// among the fences begins, and is off by a block at most where ids are spread
// evenly.
type fenceTable struct {
	numBlocks   int64
	first, last format.Key // fences 1 and numBlocks-1
	ranks       *rankTable // nil if there are fewer than three blocks
}

// newFenceTable is the table of the file that x was opened from.
func newFenceTable(r io.ReaderAt, x *format.Index) (fenceTable, error) {
	t := fenceTable{numBlocks: x.Blocks()}
	var b [2][format.KeyLen]byte
	if t.numBlocks < 2 {
		return t, nil
	}
	for i, block := range [...]int64{1, t.numBlocks - 1} {
		if _, err := r.ReadAt(b[i][:], x.FenceOff(block)); err != nil {
			return t, readError(x.FenceOff(block), err)
		}
	}
	t.first, t.last = format.KeyAt(b[0][:]), format.KeyAt(b[1][:])
	if !t.first.Less(t.last) {
		return t, nil
	}
	l := newRanker(newRankTable(t.first, t.last, int(x.Records), recordsCoarse))
	err := x.Fences(r, func(block int64, fence format.Key) { l.sample(fence, int(block)*format.RecordsPerBlock) })
	t.ranks = l.done()
	return t, err
}

// newRanker is for a table that is learned from the records, or nil where none
// would pay.
func (t *fenceTable) newRanker(x *format.Index) *ranker {
	if t.ranks == nil {
		return nil
	}
	return newRanker(newRankTable(t.first, t.last, int(x.Records), recordsFine))
}

// block is the number of the block that has key if the file has it: that of the
// last fence not behind it, or 0. behind reports whether the fence of a block,
// neither the first nor the last, is behind key. There must be one block.
func (t *fenceTable) block(key format.Key, behind func(block int64) bool) int64 {
	if t.numBlocks < 2 || key.Less(t.first) {
		return 0
	}
	if !key.Less(t.last) {
		return t.numBlocks - 1
	}
	x, _ := t.ranks.position(key)
	guess := int64(t.ranks.guess(x)) / format.RecordsPerBlock
	return lastNotBehind(1, t.numBlocks-1, guess, behind)
}

// lastNotBehind is the last number from lo until before hi of which behind is
// not true; it is not true of lo, and of none behind which it is. The search
// goes from guess in steps that double, and then by halves.
func lastNotBehind(lo, hi, guess int64, behind func(int64) bool) int64 {
	at := max(min(guess, hi-1), lo)
	for step := int64(1); lo < at && at < hi; step *= 2 {
		if behind(at) {
			hi = at
			at -= step
		} else {
			break
		}
	}
	// Not behind at max(at, lo).
	lo = max(lo, at)
	for step := int64(1); lo+step < hi; step *= 2 {
		if behind(lo + step) {
			hi = lo + step
			break
		}
		lo += step
	}
	for lo+1 < hi {
		mid := int64(uint64(lo+hi) / 2)
		if behind(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
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
			return s.wrong(k)
		}
	}
	return nil
}

// wrong says that the block has k, which does not belong there.
func (s *span) wrong(k format.Key) error {
	return fmt.Errorf("%w: block %d, from %s to %s, has %s", format.ErrCorrupt, s.block, s.lo, s.hi, k)
}
