package reader

import (
	"fmt"
	"io"

	"promostore/format"
	"promostore/reader/learned"
)

// A fenceIndex finds the block of a key.
//
// The first fence decides nothing: a key before the second is in the first
// block. A model trained from the fences predicts where the search among them
// begins. Where ids are uniform, it is off by a block at most.
type fenceIndex struct {
	numBlocks   int64
	first, last format.Key     // fences of the second and the last block
	model       *learned.Model // nil if there are fewer than three blocks
}

// newFenceIndex reads the fences of the file that x was opened from.
func newFenceIndex(r io.ReaderAt, x *format.Index) (fenceIndex, error) {
	t := fenceIndex{numBlocks: x.Blocks()}
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
	trainer := learned.FromFences(t.first, t.last, int(x.Records))
	err := x.Fences(r, func(block int64, fence format.Key) {
		trainer.Fence(fence, int(block)*format.RecordsPerBlock)
	})
	t.model = trainer.Model()
	return t, err
}

// newTrainer returns a Trainer for a model from the records, or nil if the file
// is too small for one.
func (t *fenceIndex) newTrainer(x *format.Index) *learned.Trainer {
	if t.model == nil {
		return nil
	}
	return learned.FromRecords(t.first, t.last, int(x.Records))
}

// block returns the number of the only block that can have key: the last whose
// fence is not after key, or 0. after reports whether the fence of a block,
// neither the first nor the last, is after key. The file has a block.
func (t *fenceIndex) block(key format.Key, after func(block int64) bool) int64 {
	if t.numBlocks < 2 || key.Less(t.first) {
		return 0
	}
	if !key.Less(t.last) {
		return t.numBlocks - 1
	}
	rank, _ := t.model.Predict(key)
	return lastNotAfter(1, t.numBlocks-1, int64(rank)/format.RecordsPerBlock, after)
}

// lastNotAfter returns the last number n with lo <= n < hi and not after(n).
// after must be false for lo, and once true remain true. The search gallops from
// guess, in steps that double, and ends with a binary search.
func lastNotAfter(lo, hi, guess int64, after func(int64) bool) int64 {
	at := max(min(guess, hi-1), lo)
	for step := int64(1); lo < at && at < hi; step *= 2 {
		if after(at) {
			hi = at
			at -= step
		} else {
			break
		}
	}
	// Invariant from here: !after(lo), and after(hi) unless hi is the end.
	lo = max(lo, at)
	for step := int64(1); lo+step < hi; step *= 2 {
		if after(lo + step) {
			hi = lo + step
			break
		}
		lo += step
	}
	for lo+1 < hi {
		mid := int64(uint64(lo+hi) / 2)
		if after(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// A span is the range of keys of a block, according to the fences.
type span struct {
	block  int64
	n      int        // records in the block
	lo, hi format.Key // first key of the block; first key of the next, or the last of the file
}

// interpolate returns the number of the record, 0 to n-1, that would have key,
// lo <= key <= hi, if the keys of the block were evenly spaced.
func (s *span) interpolate(key format.Key) int {
	// After the prefix that lo and hi share, hi begins with a one and lo with
	// a zero. The 63 bits there fit an int64, which converts to a float in one
	// instruction. The 1 prevents division by zero.
	from := uint(s.lo.CommonPrefix(s.hi))
	lo := s.lo.Bits(from)
	num := float64(int64((key.Bits(from) - lo) >> 1))
	den := float64(int64((s.hi.Bits(from)-lo)>>1)) + 1
	return min(int(num/den*float64(s.n)), s.n-1)
}

// lowerBound returns the number of records in b that sort before key.
func lowerBound(b []byte, key format.Key) int {
	lo, hi := 0, len(b)/format.RecordLen
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if format.KeyAt(b[mid*format.RecordLen:]).Less(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// checkAbsent returns nil if a key that is missing in b, where it would precede
// record i, is missing in the block. It returns an error if one of the records
// around it lies outside the span, as in a page that was truncated, which reads
// as zeros.
func (s *span) checkAbsent(b []byte, i int) error {
	for _, j := range [...]int{i - 1, i} {
		if j < 0 || j >= len(b)/format.RecordLen {
			continue
		}
		if k := format.KeyAt(b[j*format.RecordLen:]); k.Less(s.lo) || s.hi.Less(k) {
			return s.corrupt(k)
		}
	}
	return nil
}

// corrupt returns the error for a block that has k although it lies outside the
// span.
func (s *span) corrupt(k format.Key) error {
	return fmt.Errorf("%w: block %d, from %s to %s, has %s", format.ErrCorrupt, s.block, s.lo, s.hi, k)
}
