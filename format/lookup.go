package format

import (
	"io"
	"slices"
)

// Get returns the record of key in the file of x. It reads a fence for each step
// of a binary search, and the only block that can have the record. It verifies
// the block, so that the absence of a record is proven as well. Package reader has
// faster lookups for a file that was verified.
func (x *Index) Get(r io.ReaderAt, key Key) (record Record, found bool, err error) {
	if x.Records == 0 || key.Less(x.MinKey) || x.MaxKey.Less(key) {
		return Record{}, false, nil
	}
	// Invariant: the fence of block lo is at most key, and that of block hi is
	// above it.
	lo, hi := int64(0), x.numBlocks
	var fence [KeyLen]byte
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if err := readFull(r, fence[:], x.FenceOff(mid)); err != nil {
			return Record{}, false, err
		}
		if key.Less(KeyAt(fence[:])) {
			hi = mid
		} else {
			lo = mid
		}
	}
	var p Segment
	records, err := p.ReadBlocks(x, r, lo, 1)
	if err != nil {
		return Record{}, false, err
	}
	// After OpenHead a fence may be damaged. Between the last id of a block and the
	// first of the next there is no record if both are good.
	if last := &records[len(records)-1]; !x.fencesChecked && last.Key().Less(key) && hi < x.numBlocks {
		if _, err := p.ReadBlocks(x, r, hi, 1); err != nil {
			return Record{}, false, err
		}
		return Record{}, false, nil
	}
	i, found := slices.BinarySearchFunc(records, key, func(r Record, key Key) int { return r.Key().Compare(key) })
	if found {
		record = records[i]
	}
	return record, found, nil
}
